"""The catalogue's trie in a file: serving needs neither the IDs nor a build.

V items, L levels, N_l nodes of depth l.
"""

from pathlib import Path

import jax
import numpy as np

from jaxrec.data.logs.array_files import Described, load_arrays, save_arrays
from jaxrec.ops.generation.trie import Trie

KIND, VERSION = 'jaxrec.onerec.trie', 1
_RAGGED = ('starts', 'codes')  # an array a level; they lie end to end
_ARRAYS: Described = {
    'starts': ('i', 1), 'starts_at': ('i', 1), 'codes': ('i', 1), 'codes_at': ('i', 1), 'first': ('i', 1),
    'items': ('i', 1), 'sizes': ('i', 1), 'widest': ('i', 1),
}  # fmt: skip
_REMEDY = 'tokenize the items again'


def save_trie(trie: Trie, path: str | Path) -> None:
    """Writes a trie to an `.npz` file."""
    arrays = {name: np.asarray(getattr(trie, name)) for name in ('first', 'items', 'sizes', 'widest')}
    for name in _RAGGED:
        levels = [np.asarray(level) for level in getattr(trie, name)]
        arrays[name] = np.concatenate(levels)
        arrays[f'{name}_at'] = np.cumsum([0, *map(len, levels)])
    save_arrays(path, KIND, VERSION, arrays)


def load_trie(path: str | Path) -> Trie:
    """Reads a trie to the default device; a ValueError for a missing or damaged file, or one that holds none."""
    found = load_arrays(path, KIND, VERSION, _ARRAYS, _REMEDY)
    sizes, widest = (tuple(found[name].tolist()) for name in ('sizes', 'widest'))
    levels: dict[str, list[np.ndarray]] = {}
    for name in _RAGGED:
        at, flat = found[f'{name}_at'], found[name]
        cuts = at[1:-1] if len(at) else at
        if len(at) != len(sizes) + 1 or at[0] or at[-1] != len(flat) or (np.diff(at) < 1).any():
            raise ValueError(f'{path}: {name} do not fit {len(sizes)} levels: {_REMEDY}')
        levels[name] = np.split(flat.astype(np.int32), cuts)
    first, items = (found[name].astype(np.int32) for name in ('first', 'items'))
    begins = [*levels['starts'], first]  # a level's ranges end where the next depth's nodes do
    limits = [*map(len, levels['codes']), len(items)]
    for starts, limit in zip(begins, limits, strict=True):
        if not len(starts) or starts[0] or (np.diff(starts) < 0).any() or starts[-1] > limit:
            raise ValueError(f'{path}: ranges of nodes run from {starts[:1]} to {starts[-1:]} of {limit}: {_REMEDY}')
    for codes, size in zip(levels['codes'], sizes, strict=True):
        if codes.min() < 0 or codes.max() >= size:
            raise ValueError(f'{path}: codes {codes.min()}..{codes.max()} of a level of {size}: {_REMEDY}')
    if len(widest) != len(sizes) or min(widest, default=0) < 1:
        raise ValueError(f'{path}: widths {widest} of {len(sizes)} levels: {_REMEDY}')
    placed = jax.device_put((tuple(levels['starts']), tuple(levels['codes']), first, items))
    return Trie(placed[0], placed[1], placed[2], placed[3], sizes, widest)
