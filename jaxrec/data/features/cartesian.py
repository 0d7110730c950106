"""Cartesian products: an id for every (candidate, other) pair of ids that occurs in training.

A pair is named by 64 bits, which never reach a device: the host finds ids while it assembles a batch. A vocabulary is
one sorted array of hashed keys, 8 bytes a pair, of the training part alone, memory-mapped from the log's cache; an id
is 2 + the key's place in it. The hash is one to one, so no two pairs share an id, and it spreads ids over the table.
Pairs that training does not have get id 1, pairs with padding id 0.

B examples, C candidates, L history, N keys.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from jaxrec.data.features.labels import SampledNegatives, make_label
from jaxrec.data.features.pairs import Pair, read_pairs
from jaxrec.data.logs.columns import cached_array
from jaxrec.data.logs.log import Log
from jaxrec.data.logs.schema import Column
from jaxrec.data.logs.vocabulary import FIRST, MAX_ROWS, OUT_OF_VOCABULARY, PADDING, hash64
from jaxrec.keys import CHUNK, DistinctKeys, join_ids
from jaxrec.options import read_options


class Examples(Protocol):
    """What is read of a source: a dataclass whose items are batches, such as `BatchSource`."""

    features: Mapping[str, Sequence[str]]
    label: Mapping[str, Any]
    split: Mapping[str, Any]
    epochs: int
    seed: int


@dataclasses.dataclass(frozen=True, eq=False)
class PairVocabulary:
    """The ids of one pair of columns."""

    pair: Pair  # the columns
    keys: np.ndarray  # uint64 [N], hashed keys of the pairs that have an id, ascending

    @property
    def name(self) -> str:
        """`<candidate>x<column>`, the name of the column of ids and of its table."""
        return _name(self.pair)

    @property
    def column(self) -> Column:
        """What a model may know of the ids."""
        return Column('categorical', self.name, FIRST + len(self.keys), 1)

    def encode(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Finds the ids of a batch's pairs: 0 where an id is padding, 1 for pairs without an id.

        `batch` is {'side/column': ids}, `candidate/*` [B, C], `history/*` [B, L], `user/*` [B]. Returns int32 [B, C, L]
        for a history column, else [B, C].
        """
        keys, real = _hashed(batch, self.pair)
        ids = np.full(real.shape, PADDING, np.int32)
        ids[real] = self._find(keys)
        return ids

    def _find(self, keys: np.ndarray) -> np.ndarray:
        if not len(self.keys):
            return np.full(len(keys), OUT_OF_VOCABULARY, np.int32)
        order = np.argsort(keys)  # in order they are found several times faster than at random
        wanted = keys[order]
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        found = np.empty(len(keys), np.int32)
        found[order] = np.where(self.keys[place] == wanted, place + FIRST, OUT_OF_VOCABULARY)
        return found


def open_vocabularies(source: Examples, log: Log, described: Mapping[str, Any]) -> tuple[PairVocabulary, ...]:
    """Reads the vocabulary of each pair that a source needs; what the log's cache lacks is collected first.

    Args:
      source: its training part counts, whichever part it serves.
      log: the source's.
      described: `pairs` as in `jaxrec.data.features.pairs`; `min_count` (1), occurrences in training that an id needs;
        `epochs` (the source's), whose drawn negatives are training examples.

    Raises:
      ValueError: an unknown key, pairs not among the source's features, two of one name, or more pairs than 32-bit ids.
    """
    where = 'data.cartesian'
    if not hasattr(described, 'keys'):
        raise ValueError(
            f"{where} is {described!r}: give a description, such as {{'pairs': (('item', 'history/item'),)}}"
        )
    options = read_options(described, where, pairs=(), min_count=1, epochs=source.epochs)
    for name in ('min_count', 'epochs'):
        if options[name] < 1:
            raise ValueError(f'{where}.{name} = {options[name]}: give at least 1')
    features = [(side, column) for side, columns in source.features.items() for column in columns]
    pairs = read_pairs(options['pairs'], features, log.schema, f'{where}.pairs')
    names = [_name(pair) for pair in pairs]
    for name in names:
        if names.count(name) > 1 or name in log.schema:
            raise ValueError(
                f'{where}.pairs: two columns would be called {name!r}; take one of the pairs out, or rename '
                'a column of the log'
            )
    return tuple(_open(source, log, pair, options['min_count'], options['epochs']) for pair in pairs)


def _open(source: Examples, log: Log, pair: Pair, min_count: int, epochs: int) -> PairVocabulary:
    """Opens one vocabulary by the digest of all that its content depends on."""
    drawn = isinstance(make_label(source.label), SampledNegatives)
    epochs = epochs if drawn else 1  # without draws every epoch has the same examples
    histories = [getattr(source, name, None) for name in ('history_length', 'min_history')]
    depends = [
        log.manifest['fingerprint'], dataclasses.astuple(pair), source.label, source.split, *histories,
        min_count, epochs, source.seed if drawn else None,
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:24]
    path = log.folder / 'cache' / f'{_name(pair)}.{digest}.npy'
    keys = cached_array(path, lambda partial: np.save(partial, _collect(source, pair, min_count, epochs)))
    if len(keys) > MAX_ROWS - FIRST:
        raise ValueError(
            f'{len(keys)} pairs {_name(pair)!r} do not fit 32-bit ids: raise data.cartesian.min_count or '
            'lower data.history_length'
        )
    return PairVocabulary(pair, keys)


def _collect(source: Examples, pair: Pair, min_count: int, epochs: int) -> np.ndarray:
    """The distinct hashed keys of the training part, uint64 [N] ascending."""
    features: dict[str, tuple[str, ...]] = {'candidate': (pair.candidate,)}
    features[pair.side] = (*features.get(pair.side, ()), pair.column)
    apart = ('history_negatives', 'lifelong', 'time_gap')  # no pair is made of these
    without: dict[str, Any] = {name: None for name in apart if hasattr(source, name)}
    training: Any = dataclasses.replace(
        source,  # type: ignore[type-var]
        part='train', features=features, cartesian={}, shuffle=False, remainder='pad', epochs=epochs,
        batch_size=max(1, CHUNK // getattr(source, 'history_length', 1)), process_index=0, process_count=1,
        **without,
    )  # fmt: skip
    distinct = DistinctKeys(counted=min_count > 1)
    for index in range(len(training)):
        distinct.add(_hashed(training[index], pair)[0])
    return distinct.result(min_count)


def _hashed(batch: Mapping[str, np.ndarray], pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """The pairs without padding: keys uint64 [N], in the order of the true ones of real, bool [B, C(, L)]."""
    candidate, other = (batch[key] for key in pair.keys)
    if pair.side == 'history':
        candidate, other = candidate[:, :, None], other[:, None]
    elif pair.side == 'user':
        other = other[:, None]
    real = (candidate != PADDING) & (other != PADDING)
    return hash64(join_ids(candidate, other)[real]), real


def _name(pair: Pair) -> str:
    return f'{pair.candidate}x{pair.column}'
