"""The base of all sources: which examples batch i holds.

Batch i is a pure function of the source's arguments and i. So an iterator's state is one number, a resumed run sees the
batches of an unbroken one, and processes that share a batch agree on it without communication. Epochs are inside the
source, because each has its own permutation and its own draws.

B examples a batch (on this process), E examples an epoch.
"""

import abc
import dataclasses
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.features.cartesian import PairVocabulary, open_vocabularies
from jaxrec.data.features.pairs import SIDES
from jaxrec.data.logs.log import Log
from jaxrec.data.sources.splits import PARTS
from jaxrec.options import plain

Batch = dict[str, np.ndarray]


@dataclasses.dataclass(eq=False)
class BatchSource(abc.ABC):
    """Random access to the batches of one part of a log.

    A kind of source opens its log in `_open` and fills a batch in `_assemble`; ids of pairs are added here, as
    `cartesian/<pair>`. Arguments that do not fit the log or each other are a ValueError.

    Args:
      log_folder: of a compiled log.
      features: {'user': columns, 'candidate': columns, 'history': columns}, of columns that the log's schema describes.
      label, split: descriptions, see `make_label` and `make_split`.
      part: 'train', 'validation' or 'test'.
      batch_size: examples a batch over all processes.
      epochs: passes over the part.
      seed: of permutations and draws.
      shuffle: a new order each epoch, or the order of the log.
      process_index, process_count: this process takes that slice of each batch.
      remainder: 'drop' an incomplete last batch, or 'pad' it with examples of `valid` 0.
      cartesian: description of the pairs that get ids, see `jaxrec.data.features.cartesian.open_vocabularies`.

    Attributes:
      events: rows of the log that the examples come from.
      examples: E, examples an epoch over all processes.
      steps: batches an epoch; `len(source)` is steps * epochs.
      vocabularies: of the pairs.
    """

    log_folder: str | Path
    _: dataclasses.KW_ONLY
    features: Mapping[str, Sequence[str]]
    label: Mapping[str, Any]
    split: Mapping[str, Any]
    part: str
    batch_size: int
    epochs: int = 1
    seed: int = 0
    shuffle: bool = True
    process_index: int = 0
    process_count: int = 1
    remainder: str = 'drop'
    cartesian: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_arguments(self)
        self.log_folder = str(self.log_folder)
        self.features = {side: tuple(self.features.get(side, ())) for side in SIDES}
        self.label, self.split, self.cartesian = map(plain, (self.label, self.split, self.cartesian))
        self._lock = threading.Lock()
        self._orders: dict[int, np.ndarray] = {}
        log, self.events, self.examples = self._open()
        whole, rest = divmod(self.examples, self.batch_size)
        self.steps = whole + (rest > 0 and self.remainder == 'pad')
        if not self.steps:
            raise ValueError(
                f'part {self.part!r} of {self.log_folder} has {self.examples} examples, no batch of '
                f'{self.batch_size}: lower batch_size or min_history, or check label and split'
                f'{self._left_out()}'
            )
        opened = open_vocabularies(self, log, self.cartesian) if self.cartesian else ()
        self.vocabularies: tuple[PairVocabulary, ...] = opened

    def _left_out(self) -> str:
        """Why there are not more examples, to end a sentence with; '' where nothing is known of it."""
        return ''

    @abc.abstractmethod
    def _open(self) -> tuple[Log, int, int]:
        """Opens the log, prepares what batches are made of, and returns the log, its events used, and E."""

    @abc.abstractmethod
    def _assemble(self, pick: np.ndarray, epoch: int) -> Batch:
        """Builds the batch of the examples `pick`, int [B] in [0, E)."""

    def __len__(self) -> int:
        return self.steps * self.epochs

    def __getitem__(self, index: int) -> Batch:
        index = int(index)
        if not 0 <= index < len(self):
            raise IndexError(f'batch {index} of {len(self)}')
        epoch, step = divmod(index, self.steps)
        share = self.batch_size // self.process_count
        begin = step * self.batch_size + self.process_index * share
        pick = self._order(epoch)[begin : begin + share] if self.shuffle else np.arange(begin, begin + share)
        pick = pick[pick < self.examples]
        batch = self._assemble(pick, epoch)
        for vocabulary in self.vocabularies:
            batch[f'cartesian/{vocabulary.name}'] = vocabulary.encode(batch)
        return batch if len(pick) == share else _pad(batch, share)

    def _order(self, epoch: int) -> np.ndarray:
        """The permutation of an epoch; two are kept, since prefetching straddles epochs."""
        with self._lock:
            if epoch not in self._orders:
                dtype = np.int32 if self.examples < 2**31 else np.int64
                generator = np.random.default_rng((self.seed, epoch))
                while len(self._orders) > 1:
                    del self._orders[min(self._orders)]
                order = generator.permutation(np.arange(self.examples, dtype=dtype))
                self._orders[epoch] = self._arrange(order, generator)
            return self._orders[epoch]

    def _arrange(self, order: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """How a kind of source orders an epoch, given its permutation and the generator it was drawn from."""
        del generator
        return order

    def __reduce__(self):
        arguments = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return _rebuild, (type(self), arguments)


def _rebuild(kind: type[BatchSource], arguments: Mapping[str, Any]) -> BatchSource:
    return kind(**arguments)


def _pad(batch: Batch, size: int) -> Batch:
    padded = {name: np.zeros((size, *array.shape[1:]), array.dtype) for name, array in batch.items()}
    padded['host/event'][:] = -1
    for name, array in batch.items():
        padded[name][: len(array)] = array
    return padded


def _check_arguments(source: BatchSource) -> None:
    for name in ('batch_size', 'epochs', 'process_count'):
        check_count(name, getattr(source, name))
    if source.part not in PARTS:
        raise ValueError(f'part {source.part!r} is unknown: use one of {", ".join(PARTS)}')
    if source.remainder not in ('drop', 'pad'):
        raise ValueError(f"remainder {source.remainder!r} is unknown: use 'drop' or 'pad'")
    last = source.process_count - 1
    if not 0 <= source.process_index <= last:
        raise ValueError(f'process_index {source.process_index} must lie in 0..{last} (process_count - 1)')
    if source.batch_size % source.process_count:
        raise ValueError(
            f'batch_size {source.batch_size} cannot be cut among {source.process_count} processes: make it a multiple'
        )
    if unknown := set(source.features.keys()) - set(SIDES):
        raise ValueError(f'features have no side {sorted(unknown)[0]!r}: use {", ".join(SIDES)}')


def check_count(name: str, value: int) -> None:
    """Refuses an argument below 1."""
    if value < 1:
        raise ValueError(f'{name} is {value}: it must be at least 1')


def check_features(folder: Path, side: str, names: Sequence[str], allowed: Sequence[str], label: str | None) -> None:
    """Refuses features that a `side` of a log does not have, or that are the label; a ValueError names the column.

    `names` are the columns asked for, `allowed` those that the side has, `label` is the label's event column, if any.
    """
    for name in names:
        if name not in allowed:
            raise ValueError(f'{folder} has no {side} feature {name!r}: use any of {", ".join(allowed) or "none"}')
        if side == 'candidate' and name == label:
            raise ValueError(f'candidate feature {name!r} is the label itself: take it out of the features')
