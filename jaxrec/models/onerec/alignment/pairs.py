"""The pair log: what one iteration of alignment mined from its frozen model (arXiv 2502.18965, Algorithm 2).

A folder with one file for each chunk of requests, written completely or not at all, so that mining resumes where it
stopped. Every file carries the key of the log: the step of the frozen model and all else that decides what is mined.
Training reads pairs by index with the frozen model's log-probabilities, and never runs that model.

n requests of a chunk or a log, m items, N losers.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.logs.array_files import Described, load_arrays, save_arrays

KIND, VERSION = 'jaxrec.onerec.pairs', 1
_REMEDY = 'delete the folder, and the pairs are mined again'
_ARRAYS: Described = {
    'key': ('U', 0), 'index': ('i', 1), 'winner': ('i', 2), 'losers': ('i', 3), 'valid': ('b', 2),
    'rewards': ('f', 2), 'reference': ('f', 2), 'mean': ('f', 1), 'found': ('i', 1), 'repeated': ('i', 1),
}  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Mined:
    """What was mined from some requests."""

    index: np.ndarray  # int64 [n], examples of the training part
    winner: np.ndarray  # int32 [n, m], item ids
    losers: np.ndarray  # int32 [n, N, m], the worst first
    valid: np.ndarray  # bool [n, N], pairs that say something: two sessions, whose rewards are no tie
    rewards: np.ndarray  # float32 [n, 1 + N], of winner and losers
    reference: np.ndarray  # float32 [n, 1 + N], their log-probabilities under the frozen model
    mean: np.ndarray  # float32 [n], of the rewards of all sessions of the request
    found: np.ndarray  # int32 [n], how many sessions there were
    repeated: np.ndarray  # int32 [n], how many more were the same items as one before them

    def __getitem__(self, rows: Any) -> 'Mined':
        """Returns some of the requests."""
        return Mined(**{field.name: getattr(self, field.name)[rows] for field in dataclasses.fields(self)})

    def __len__(self) -> int:
        return len(self.index)

    def describe(self) -> str:
        """Returns one line: how many requests gave pairs, and their rewards."""
        some = self.valid.any(1)
        return (
            f'{int(some.sum())} of {len(self)} requests gave pairs ({int((~some).sum())} ties), of '
            f'{self.found.mean():.1f} sessions each ({int(self.repeated.sum())} repeated); reward of winners '
            f'{self.rewards[:, 0].mean():.4f}, of all {self.mean.mean():.4f}'
        )


def draw(examples: int, count: int, seed: int, step: int) -> np.ndarray:
    """Chooses requests, int64 [count], in random order, none twice; each frozen model's `step` draws anew."""
    return np.random.default_rng((seed, step)).permutation(examples)[:count].astype(np.int64)


def save_chunk(folder: str | Path, number: int, key: Mapping[str, Any], mined: Mined) -> None:
    """Writes a chunk; `key` has plain values, the folder is created if absent."""
    arrays = {field.name: getattr(mined, field.name) for field in dataclasses.fields(mined)}
    save_arrays(chunk_path(folder, number), KIND, VERSION, {'key': np.array(_text(key)), **arrays})


def load_chunk(folder: str | Path, number: int, key: Mapping[str, Any], index: np.ndarray) -> Mined | None:
    """Reads a chunk, None if it was not mined; a ValueError if damaged, or of another key or requests than `index`."""
    path = chunk_path(folder, number)
    if not path.exists():
        return None
    found = load_arrays(path, KIND, VERSION, _ARRAYS, _REMEDY)
    held, wanted = json.loads(str(found.pop('key'))), json.loads(_text(key))
    if differs := [name for name in wanted.keys() | held.keys() if held.get(name) != wanted.get(name)]:
        name = min(differs)
        raise ValueError(
            f'{path} holds pairs of {name} = {held.get(name)!r}, those of {wanted.get(name)!r} are wanted: {_REMEDY}'
        )
    mined = Mined(**found)
    if not np.array_equal(mined.index, index) or {len(x) for x in found.values()} != {len(index)}:
        raise ValueError(f'{path} holds pairs of other requests than chunk {number} has: {_REMEDY}')
    return mined


def join(parts: Sequence[Mined]) -> Mined:
    """Joins chunks in their order."""
    whole = lambda name: np.concatenate([getattr(part, name) for part in parts])
    return Mined(**{field.name: whole(field.name) for field in dataclasses.fields(Mined)})


def chunk_path(folder: str | Path, number: int) -> Path:
    """The file of a chunk."""
    return Path(folder) / f'chunk-{number:05d}.npz'


def _text(key: Mapping[str, Any]) -> str:
    return json.dumps(dict(key), sort_keys=True)
