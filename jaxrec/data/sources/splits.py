"""Splits of a log into training, validation and test events.

Each split is a function of (log, positive) that marks every event; which one a config means is said by `make_split`.
Fractions cut a sequence of n at floor(n * (1 - validation - test)) and floor(n * (1 - test)), so rounding favours the
later part.

Letters: N events.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxrec.data.logs.behaviour_log import UserLog
from jaxrec.data.logs.columns import offsets_of
from jaxrec.data.logs.log import Log
from jaxrec.data.logs.vocabulary import hash64

TRAIN, VALIDATION, TEST, UNUSED = 0, 1, 2, -1
SECONDS_A_DAY = 86_400
PARTS = {'train': TRAIN, 'validation': VALIDATION, 'test': TEST}
Split = Callable[[Log, np.ndarray], np.ndarray]


def leave_last_out() -> Split:
    """Each user's last positive event is test and the one before it validation.

    Every event before that one trains, positive or not; the other events from there on are unused. Users with fewer
    than three positive events only train. Of positive events in the same second, the order of the log decides.
    """

    def split(log: Log, positive: np.ndarray) -> np.ndarray:
        log = _by_user(log, 'leave_last_out')
        part = np.full(len(log), TRAIN, np.int8)
        before = offsets_of(positive)  # positives in rows < n
        first, last = log.user_offsets[:-1], log.user_offsets[1:]
        enough = before[last] - before[first] >= 3
        positives = np.flatnonzero(positive)
        test, validation = positives[before[last[enough]] - 1], positives[before[last[enough]] - 2]
        cut = np.full(len(first), len(log))
        cut[enough] = validation
        part[np.arange(len(log)) >= cut[log.events['user']]] = UNUSED
        part[validation], part[test] = VALIDATION, TEST
        return part

    return split


def per_user_time(
    validation: float = 0.1,
    test: float = 0.2,
    column: str | None = None,
    among: Sequence[Any] = (),
    train: float | None = None,
) -> Split:
    """The last `test` of each user's events is test, the `validation` before it validation.

    With `column` only events whose value of it is one of `among` are cut, and the others are history and no examples.
    With `train` only that share of a user's events trains, those right before validation: a slow model sees fewer
    examples and is judged on the same ones. A user with a single event is all test. Events of one second may fall on
    both sides of a cut; the strict history rule keeps either from seeing the other.
    """
    _check_fractions(validation, test)
    _check_examples('per_user_time', validation, test, column, among, train)

    def split(log: Log, positive: np.ndarray) -> np.ndarray:
        log = _by_user(log, 'per_user_time')
        cut = _examples(log, column, among)
        before, users = offsets_of(cut), log.events['user']  # cut events in rows < n
        offsets = before[log.user_offsets]
        position = before[:-1] - offsets[users]
        train_end, validation_end = _cuts(np.diff(offsets), validation, test)
        part = _parts(position, train_end[users], validation_end[users])
        if train is not None:
            begin = train_end - np.floor(np.diff(offsets) * train + 1e-9).astype(np.int64)
            part[position < begin[users]] = UNUSED
        return np.where(cut, part, np.int8(UNUSED))

    return split


def global_time(validation: float = 0.1, test: float = 0.2) -> Split:
    """Two instants cut the whole log; the events of the very instant of a cut go to the later part."""
    _check_fractions(validation, test)

    def split(log: Log, positive: np.ndarray) -> np.ndarray:
        return _by_instant(_times(log, 'global_time'), validation, test)

    return split


def latest_generation(validation: float = 0.1, test: float = 0.2) -> Split:
    """Two instants cut the events that the log's last ingest added; earlier ones are history and no examples.

    The events of the very instant of a cut go to the later part.
    """
    _check_fractions(validation, test)

    def split(log: Log, positive: np.ndarray) -> np.ndarray:
        if 'generation' not in log.events:
            raise ValueError(
                f'{log.folder} extends no other log, so latest_generation has nothing to go by: use '
                'global_time, or ingest the new files with --extend'
            )
        generation = log.events['generation']
        rows = np.flatnonzero(generation == generation.max())
        part = np.full(len(log), UNUSED, np.int8)
        part[rows] = _by_instant(_times(log, 'latest_generation')[rows], validation, test)
        return part

    return split


def user_holdout(
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    column: str | None = None,
    among: Sequence[Any] = (),
    train: float | None = None,
) -> Split:
    """All examples of a user fall in one part; users are ordered by a seeded hash and cut by number.

    With `column` only events whose value of it is one of `among` are examples, the others history. With `train` only
    that share of the users trains: a slow model sees fewer examples and is judged on the same.
    """
    _check_fractions(validation, test)
    _check_examples('user_holdout', validation, test, column, among, train)

    def split(log: Log, positive: np.ndarray) -> np.ndarray:
        log = _by_user(log, 'user_holdout')
        users = np.flatnonzero(np.diff(log.user_offsets))
        of_user = np.full(log.schema['user'].rows, UNUSED, np.int8)
        of_user[users] = _by_hash(users, validation, test, seed, train)
        return np.where(_examples(log, column, among), of_user[log.events['user']], np.int8(UNUSED))

    return split


def last_item_user_holdout(validation: float = 0.1, test: float = 0.2, seed: int = 0) -> Split:
    """One example a user, the last positive event, and all of a user in one part (CAN, arXiv 2011.05625).

    Users with fewer than two positive events, whose last one has no history, are left out, and the others are ordered
    by a seeded hash and cut by number. All events but the last positive ones are unused; histories still hold them. Of
    positive events in the same second, the order of the log decides.
    """
    _check_fractions(validation, test)

    def split(log: Log, positive: np.ndarray) -> np.ndarray:
        log = _by_user(log, 'last_item_user_holdout')
        before = offsets_of(positive)  # positives in rows < n
        first, last = before[log.user_offsets[:-1]], before[log.user_offsets[1:]]
        users = np.flatnonzero(last - first >= 2)
        part = np.full(len(log), UNUSED, np.int8)
        part[np.flatnonzero(positive)[last[users] - 1]] = _by_hash(users, validation, test, seed)
        return part

    return split


def row_holdout(validation: float = 0.1, test: float = 0.2, seed: int = 0) -> Split:
    """Events fall in parts one by one: they are ordered by a seeded hash of their row and cut by number."""
    _check_fractions(validation, test)

    def split(log: Log, positive: np.ndarray) -> np.ndarray:
        return _by_hash(np.arange(len(log)), validation, test, seed)

    return split


def days(held_out: int = 1, validation: float = 0.5, seed: int = 0) -> Split:
    """All days but the last `held_out` train; a share `validation` of the rest is validation, chosen by hash.

    Days are those of UTC that hold an event.
    """
    if held_out < 1 or not 0 <= validation < 1:
        raise ValueError(
            f'days with held_out={held_out}, validation={validation}: hold out at least 1 day, and give a '
            'share of it from 0 to below 1'
        )

    def split(log: Log, positive: np.ndarray) -> np.ndarray:
        day = np.floor_divide(_times(log, 'days'), SECONDS_A_DAY).astype(np.int64)
        distinct = np.unique(day)
        if len(distinct) <= held_out:
            raise ValueError(
                f'{log.folder} has events on {len(distinct)} days and {held_out} are held out: hold out '
                'fewer, or split by row_holdout'
            )
        held = np.flatnonzero(day >= distinct[-held_out])
        part = np.full(len(log), TRAIN, np.int8)
        # Of the held-out rows none trains: the cut leaves the fraction 0 for the first part.
        part[held] = VALIDATION + (_by_hash(held, 0.0, 1 - validation, seed) > TRAIN)
        return part

    return split


def by_column(column: str, validation: Sequence[Any] = (), test: Sequence[Any] = ()) -> Split:
    """An event's part is told by the value of an event column; values not named train.

    A categorical column is compared by its raw values, any other by its numbers.
    """
    both = sorted(set(validation) & set(test))
    if both or not (validation or test):
        raise ValueError(
            f'by_column with validation={tuple(validation)}, test={tuple(test)}: name values, and none in both'
        )

    def split(log: Log, positive: np.ndarray) -> np.ndarray:
        part = np.full(len(log), TRAIN, np.int8)
        for values, number in ((validation, VALIDATION), (test, TEST)):
            if values:
                part[log.is_one_of(column, values)] = number
        return part

    return split


_SPLITS: dict[str, Callable[..., Split]] = {
    function.__name__: function
    for function in (
        leave_last_out,
        per_user_time,
        global_time,
        latest_generation,
        user_holdout,
        last_item_user_holdout,
        row_holdout,
        days,
        by_column,
    )
}


def make_split(config: Mapping[str, Any]) -> Split:
    """Builds a split from its description.

    Args:
      config: `kind`, the name of one of the functions above, and that function's arguments.

    Returns:
      A function (log, positive bool [N]) -> int8 [N] of TRAIN, VALIDATION, TEST = 0, 1, 2 and UNUSED = -1.

    Raises:
      ValueError: for an unknown kind or argument, or fractions that leave nothing to train on.
    """
    arguments = {name: config[name] for name in config}
    kind = arguments.pop('kind', None)
    if kind not in _SPLITS:
        raise ValueError(f'split kind {kind!r} is unknown: use one of {", ".join(_SPLITS)}')
    allowed = list(inspect.signature(_SPLITS[kind]).parameters)
    for name in arguments:
        if name not in allowed:
            raise ValueError(f'split kind {kind!r} has no argument {name!r}: it has {", ".join(allowed) or "none"}')
    return _SPLITS[kind](**arguments)


def _check_fractions(validation: float, test: float) -> None:
    if validation < 0 or test < 0 or validation + test >= 1:
        raise ValueError(f'fractions validation={validation}, test={test}: both from 0, together below 1')


def _check_examples(
    kind: str, validation: float, test: float, column: str | None, among: Sequence[Any], train: float | None
) -> None:
    if train is not None and not 0 < train < 1 - validation - test + 1e-9:
        raise ValueError(
            f'{kind} with train={train}: above 0, and with validation={validation} and test={test} '
            'at most 1; None trains on all that is left'
        )
    if (column is None) != (not among):
        raise ValueError(
            f'{kind} with column={column!r}, among={tuple(among)}: name a column and some of its values, or neither'
        )


def _examples(log: UserLog, column: str | None, among: Sequence[Any]) -> np.ndarray:
    """bool [N]: the events to be cut; all of them where no column is named."""
    return np.ones(len(log), bool) if column is None else log.is_one_of(column, among)


def _by_user(log: Log, kind: str) -> UserLog:
    if not isinstance(log, UserLog):
        raise ValueError(
            f'{log.folder} is a {log.KIND} without users, so {kind} cannot cut it: use global_time, days, '
            'row_holdout or by_column'
        )
    return log


def _times(log: Log, kind: str) -> np.ndarray:
    if not log.has_time:
        raise ValueError(
            f'{log.folder} has no times, so {kind} cannot cut it: use per_user_time, user_holdout or row_holdout'
        )
    return log.events['time']


def _by_instant(times: np.ndarray, validation: float, test: float) -> np.ndarray:
    """int8 [N]: two instants cut the events."""
    train_end, validation_end = _cuts(np.asarray([len(times)]), validation, test)
    places = np.minimum([train_end[0], validation_end[0]], len(times) - 1)
    first, second = np.partition(times, places)[places]
    # A fraction of 0 cuts behind the last event instead of at it.
    second = np.inf if validation_end[0] == len(times) else second
    first = np.inf if train_end[0] == len(times) else first
    return _parts(times, first, second)


def _by_hash(keys: np.ndarray, validation: float, test: float, seed: int, train: float | None = None) -> np.ndarray:
    """int8 [N]: keys are ordered by a seeded hash and cut by number; with `train` the first are unused."""
    rank = np.empty(len(keys), np.int64)
    rank[np.argsort(hash64(keys, seed), kind='stable')] = np.arange(len(keys))
    train_end, validation_end = _cuts(np.asarray([len(keys)]), validation, test)
    part = _parts(rank, train_end[0], validation_end[0])
    if train is not None:
        part[rank < train_end[0] - np.floor(len(keys) * train + 1e-9)] = UNUSED
    return part


def _cuts(number: np.ndarray, validation: float, test: float) -> tuple[np.ndarray, np.ndarray]:
    # The small addend keeps floor(10 * (1 - .1 - .2)) at 7: the product is 6.999... in binary.
    train_end = np.floor(number * (1 - validation - test) + 1e-9).astype(np.int64)
    return train_end, np.floor(number * (1 - test) + 1e-9).astype(np.int64)


def _parts(position: np.ndarray, train_end: Any, validation_end: Any) -> np.ndarray:
    return ((position >= train_end).astype(np.int8) + (position >= validation_end)).astype(np.int8)
