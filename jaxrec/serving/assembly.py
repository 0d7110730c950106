"""Batches of requests with many candidates, their histories read from a behaviour index.

A batch has one user side a request, and sizes are rounded up to a few, so that a prediction compiles once for each.

Letters: B requests, C candidates, S short window, L long window, K kept behaviours, G runs of M candidates of one value
of the searched column, W values of a multi-valued column.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxrec.data.features.gather import take
from jaxrec.data.features.lifelong import PLACE, SLOT, Lifelong
from jaxrec.data.features.pairs import SIDES
from jaxrec.data.features.time_gap import TimeGap
from jaxrec.data.logs.vocabulary import OUT_OF_VOCABULARY, PADDING
from jaxrec.data.sources.batch_source import Batch, check_features
from jaxrec.serving.behaviour_index import BehaviourIndex
from jaxrec.serving.user_view import UserView

RUN = 32  # M, candidates that share what was kept for them: a value with more of them has several runs


@dataclasses.dataclass(frozen=True)
class Request:
    """A request for scores.

    Attributes:
      user: id; out-of-vocabulary for an unknown user, who has no history.
      items: int32 [c], the candidates.
      time: behaviours strictly before it are the history; None takes all, and measures gaps from the latest of any
        user.
    """

    user: int
    items: np.ndarray
    time: float | None = None


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The sizes that B, C and G (below C; none without a hard search) are rounded up to, each ascending."""

    requests: Sequence[int] = (1, 2, 4)
    candidates: Sequence[int] = (16, 64, 400)
    groups: Sequence[int] = ()

    def __post_init__(self) -> None:
        for name in ('requests', 'candidates', 'groups'):
            sizes = getattr(self, name)
            if (not sizes and name != 'groups') or list(sizes) != sorted(set(sizes)) or min([1, *sizes]) < 1:
                raise ValueError(f'sizes of {name} are {sizes}: give ascending numbers from 1 on')

    @staticmethod
    def fit(sizes: Sequence[int], count: int) -> int:
        """The least size that holds a count."""
        return next(size for size in sizes if size >= count)


class RequestAssembler:
    """Builds batches from requests."""

    def __init__(
        self,
        index: BehaviourIndex,
        features: Mapping[str, Sequence[str]],
        length: int,
        lifelong: Lifelong | None = None,
        time_gap: TimeGap | None = None,
        sizes: Sizes | None = None,
    ):
        """Prepares the lookups.

        Args:
          index: where histories are looked up.
          features: {side: columns} of the model.
          length: S.
          lifelong, time_gap: what is read of older behaviours, and how gaps fall into buckets.
          sizes: that batches are rounded up to; None takes the defaults.

        Raises:
          ValueError: a feature that the log or the index does not have.
        """
        self.index, self.length, self.lifelong, self.time_gap = index, length, lifelong, time_gap
        self.sizes, log = sizes or Sizes(), index.log
        self.features = {side: tuple(features.get(side, ())) for side in SIDES}
        attributes = [name for name in log.items.names if name in log.schema]
        allowed = {
            'user': ['user', *(name for name in log.users.names if name in log.schema)],
            'candidate': ['item', *attributes],
            'history': [*dict.fromkeys((*index.columns, *attributes))],
        }
        for side in SIDES:
            check_features(log.folder, side, self.features[side], allowed[side], None)
        if lifelong is not None and lifelong.search and lifelong.column != index.category:
            raise ValueError(
                f'data.lifelong.column is {lifelong.column!r} and {index.folder} branches by '
                f'{index.category!r}: build an index of that column'
            )

    def build(self, requests: Sequence[Request]) -> Batch:
        """Builds one batch of as many requests and candidates as fit the sizes.

        Returns:
          {'side/column': array} as a source gives it for C candidates, `label` 0 and `valid` 1 for real ones. With
          sizes of groups a hard search's side is [B, G, K], a row a run of candidates of one value; `kept/slot` int32
          [B, G, M] names its candidates, `kept/place` int32 [B, C] the slot among G M of each candidate.
        """
        b = Sizes.fit(self.sizes.requests, len(requests))
        c = Sizes.fit(self.sizes.candidates, max(len(request.items) for request in requests))
        users, items = np.zeros(b, np.int32), np.zeros((b, c), np.int32)
        valid = np.zeros((b, c), np.float32)
        for n, request in enumerate(requests):
            users[n], items[n, : len(request.items)] = request.user, request.items
            valid[n, : len(request.items)] = 1
        batch: Batch = {f'user/{n}': self._attribute(n, users) for n in self.features['user']}
        batch |= {f'candidate/{n}': self._attribute(n, items) for n in self.features['candidate']}
        if self.features['history']:
            batch |= self._histories(requests, users, items)
        return batch | {'label': np.zeros((b, c), np.float32), 'valid': valid}

    def _attribute(self, name: str, ids: np.ndarray) -> np.ndarray:
        if name in ('user', 'item'):
            return ids
        log = self.index.log
        return take(log.side(name)[name], ids, log.schema[name].width)

    def _histories(self, requests: Sequence[Request], users: np.ndarray, items: np.ndarray) -> Batch:
        found = [self._look_up(request) for request in requests]
        when = np.asarray([time for _, _, time in found] + [0] * (len(users) - len(found)))
        ends = [(max(end - self.length, 0), end) for _, end, _ in found]
        views = [view for view, _, _ in found]
        batch = self._windows('history', views, ends, self.length, when)
        if self.lifelong is None:
            return batch
        bounds = [(max(first - self.lifelong.length, 0), first) for first, _ in ends]
        if self.lifelong.search is None:
            return batch | self._windows('long', views, bounds, self.lifelong.length, when)
        return batch | self._kept(views, bounds, items, [len(request.items) for request in requests], when)

    def _look_up(self, request: Request) -> tuple[UserView, int, float]:
        """A request's behaviours, how many of them are its history, and when it is."""
        known = request.user != OUT_OF_VOCABULARY
        view = self.index.view(request.user if known else PADDING)
        return view, view.before(request.time), self.index.latest if request.time is None else request.time

    def _windows(
        self, side: str, views: Sequence[UserView], bounds: Sequence[tuple[int, int]], slots: int, when: np.ndarray
    ) -> Batch:
        """A side that holds consecutive behaviours, [B, slots]."""
        length = np.zeros(len(when), np.int32)
        length[: len(bounds)] = [end - first for first, end in bounds]
        parts = [(slice(first, end), slice(0, end - first)) for first, end in bounds]
        return self._read(side, views, parts, length, (slots,), when)

    def _kept(
        self,
        views: Sequence[UserView],
        bounds: Sequence[tuple[int, int]],
        items: np.ndarray,
        counts: Sequence[int],
        when: np.ndarray,
    ) -> Batch:
        """The side of a hard search: the K latest behaviours of each value among the candidates."""
        assert self.lifelong is not None
        keep, wanted = self.lifelong.keep, self._attribute(self.index.category, items)
        m, shared = min(RUN, items.shape[1]), bool(self.sizes.groups)
        runs = [cut_runs(row[:count] if shared else row, m) for row, count in zip(wanted, counts, strict=False)]
        most = max(len(values) for values, _, _ in runs)
        g = Sizes.fit((*(s for s in self.sizes.groups if s < items.shape[1]), items.shape[1]), most)
        length, parts = np.zeros((len(when), g), np.int32), []
        slot, place = np.zeros((len(when), g, m), np.int32), np.zeros(items.shape, np.int32)
        for n, (view, (first, end)) in enumerate(zip(views, bounds, strict=True)):
            values, of_run, of_candidate = runs[n]
            slot[n, : len(of_run)], place[n, : len(of_candidate)] = of_run, of_candidate
            newest = [
                view.matching(int(value), keep, first, end) if value != PADDING else view.order[:0] for value in values
            ]
            length[n, : len(newest)] = [len(positions) for positions in newest]
            slots = np.nonzero(np.arange(keep) < length[n][:, None])
            parts.append((np.concatenate([positions[::-1] for positions in newest]), slots))
        batch = self._read('kept', views, parts, length, (g, keep), when)
        if shared:
            return batch | {SLOT: slot, PLACE: place}
        spread = lambda array: np.stack([kept[which] for kept, which in zip(array, place // m, strict=True)])
        return {name: spread(array) for name, array in batch.items()}

    def _read(
        self,
        side: str,
        views: Sequence[UserView],
        parts: Sequence[tuple[Any, Any]],
        length: np.ndarray,
        slots: tuple[int, ...],
        when: np.ndarray,
    ) -> Batch:
        """The columns of a side: what the views hold at the first of each part goes to its second."""
        names = [*dict.fromkeys(('item', *(n for n in self.features['history'] if n in self.index.columns)))]
        stored = {name: np.zeros((len(when), *slots), self.index.dtypes[name]) for name in names}
        times = np.zeros((len(when), *slots), self.index.dtypes['time']) if self.time_gap else None
        for n, (view, (source, target)) in enumerate(zip(views, parts, strict=True)):
            for name, array in stored.items():
                array[n][target] = view.columns[name][source]
            if times is not None:
                times[n][target] = view.columns['time'][source]
        batch: Batch = {}
        for name in self.features['history']:
            array = stored[name] if name in stored else self._attribute(name, stored['item'])
            kind = np.float32 if self.index.log.schema[name].kind == 'numeric' else np.int32
            batch[f'{side}/{name}'] = array.astype(kind, copy=False)
        batch[f'{side}/length'] = length
        if self.time_gap is not None and times is not None:
            present = np.arange(slots[-1], dtype=np.int32) < length[..., None]
            batch[f'{side}/gap'] = self.time_gap.bucket(when, times, present)
        return batch


def cut_runs(values: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts candidates' values [c] into runs of one value, of at most M candidates each.

    Returns:
      The value of each run [r]; its candidates, int32 [r, M], 0 behind the last; each candidate's place in them, int32
      [c].
    """
    order = np.argsort(values, kind='stable')
    ordered = values[order]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    begins = rank % most == 0
    filled = (np.cumsum(begins) - 1) * most + rank % most
    slot, place = np.zeros(begins.sum() * most, np.int32), np.zeros(len(values), np.int32)
    slot[filled], place[order] = order, filled
    return ordered[begins], slot.reshape(-1, most), place
