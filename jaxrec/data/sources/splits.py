"""Splits of a log into training, validation and test events.

Each split is a function of (log, positive bool [N], its arguments) that marks every event, int8 [N]; `make_split`
builds it from a config. Fractions cut a sequence of n at floor(n * (1 - validation - test)) and floor(n * (1 - test)),
so rounding favours the later part.

Letters: N events.
"""

import functools
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


def leave_last_out(log: Log, positive: np.ndarray) -> np.ndarray:
    """Each user's last positive event is test and the one before it validation.

    Every event before that one trains, positive or not; the other events from there on are unused. Users with fewer
    than three positive events only train. The log's order decides between positive events in the same second.
    """
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


def per_user_time(
    log: Log,
    positive: np.ndarray,
    validation: float = 0.1,
    test: float = 0.2,
    column: str | None = None,
    among: Sequence[Any] = (),
    train: float | None = None,
) -> np.ndarray:
    """The last `test` of each user's events is test, the `validation` before it validation.

    With `column` only events whose value of it is one of `among` are cut, and the others are history and no examples.
    With `train` only that share of a user's events trains, those right before validation: a slow model sees fewer
    examples and is evaluated on the same ones. A user with a single event is all test. Events of one second may fall on
    both sides of a cut; the strict history rule keeps either from seeing the other.
    """
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


def global_time(log: Log, positive: np.ndarray, validation: float = 0.1, test: float = 0.2) -> np.ndarray:
    """Two instants cut the whole log; the events of the very instant of a cut go to the later part."""
    return _by_instant(_times(log, 'global_time'), validation, test)


def latest_generation(log: Log, positive: np.ndarray, validation: float = 0.1, test: float = 0.2) -> np.ndarray:
    """Two instants cut the events that the log's last ingest added; earlier ones are history and no examples.

    The events of the very instant of a cut go to the later part.
    """
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


def user_holdout(
    log: Log,
    positive: np.ndarray,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    column: str | None = None,
    among: Sequence[Any] = (),
    train: float | None = None,
) -> np.ndarray:
    """All examples of a user fall in one part; users are ordered by a seeded hash and cut by number.

    With `column` only events whose value of it is one of `among` are examples, the others history. With `train` only
    that share of the users trains: a slow model sees fewer examples and is evaluated on the same.
    """
    log = _by_user(log, 'user_holdout')
    users = np.flatnonzero(np.diff(log.user_offsets))
    of_user = np.full(log.schema['user'].rows, UNUSED, np.int8)
    of_user[users] = _by_hash(users, validation, test, seed, train)
    return np.where(_examples(log, column, among), of_user[log.events['user']], np.int8(UNUSED))


def last_item_user_holdout(
    log: Log, positive: np.ndarray, validation: float = 0.1, test: float = 0.2, seed: int = 0
) -> np.ndarray:
    """One example a user, the last positive event, and all of a user in one part (CAN, arXiv 2011.05625).

    Users with fewer than two positive events, whose last one has no history, are left out, and the others are ordered
    by a seeded hash and cut by number. All events but the last positive ones are unused; histories still hold them. The
    log's order decides between positive events in the same second.
    """
    log = _by_user(log, 'last_item_user_holdout')
    before = offsets_of(positive)  # positives in rows < n
    first, last = before[log.user_offsets[:-1]], before[log.user_offsets[1:]]
    users = np.flatnonzero(last - first >= 2)
    part = np.full(len(log), UNUSED, np.int8)
    part[np.flatnonzero(positive)[last[users] - 1]] = _by_hash(users, validation, test, seed)
    return part


def row_holdout(
    log: Log, positive: np.ndarray, validation: float = 0.1, test: float = 0.2, seed: int = 0
) -> np.ndarray:
    """Events fall in parts one by one: they are ordered by a seeded hash of their row and cut by number."""
    return _by_hash(np.arange(len(log)), validation, test, seed)


def days(log: Log, positive: np.ndarray, held_out: int = 1, validation: float = 0.5, seed: int = 0) -> np.ndarray:
    """All days but the last `held_out` train; a share `validation` of the rest is validation, chosen by hash.

    Days are those of UTC that hold an event.
    """
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


def by_column(
    log: Log, positive: np.ndarray, column: str, validation: Sequence[Any] = (), test: Sequence[Any] = ()
) -> np.ndarray:
    """The value of an event column decides an event's part; values not named train.

    A categorical column is compared by its raw values, any other by its numbers.
    """
    part = np.full(len(log), TRAIN, np.int8)
    for values, number in ((validation, VALIDATION), (test, TEST)):
        if values:
            part[log.is_one_of(column, values)] = number
    return part


_SPLITS: dict[str, Callable[..., np.ndarray]] = {
    function.__name__: function
    for function in (
        leave_last_out, per_user_time, global_time, latest_generation, user_holdout, last_item_user_holdout,
        row_holdout, days, by_column,
    )
}  # fmt: skip


def make_split(config: Mapping[str, Any]) -> Split:
    """Builds a split (log, positive bool [N]) -> int8 [N] of TRAIN, VALIDATION, TEST = 0, 1, 2 and UNUSED = -1.

    `config` has `kind`, the name of one of the functions above, and that function's arguments.

    Raises:
      ValueError: an unknown kind or argument, or fractions that leave nothing to train on.
    """
    arguments = {name: config[name] for name in config}
    kind = arguments.pop('kind', None)
    if kind not in _SPLITS:
        raise ValueError(f'split kind {kind!r} is unknown: use one of {", ".join(_SPLITS)}')
    signature = inspect.signature(_SPLITS[kind])
    allowed = list(signature.parameters)[2:]
    for name in arguments:
        if name not in allowed:
            raise ValueError(f'split kind {kind!r} has no argument {name!r}: it has {", ".join(allowed) or "none"}')
    given = signature.bind(None, None, **arguments)
    given.apply_defaults()
    _check_arguments(kind, given.arguments)
    return functools.partial(_SPLITS[kind], **arguments)


def _check_arguments(kind: str, given: Mapping[str, Any]) -> None:
    validation, test = given.get('validation', 0.0), given.get('test', 0.0)
    if kind == 'days':
        if given['held_out'] < 1 or not 0 <= validation < 1:
            raise ValueError(
                f'days with held_out={given["held_out"]}, validation={validation}: hold out at least 1 day, and give a '
                'share of it from 0 to below 1'
            )
    elif kind == 'by_column':
        if set(validation) & set(test) or not (validation or test):
            raise ValueError(
                f'by_column with validation={tuple(validation)}, test={tuple(test)}: name values, and none in both'
            )
    elif validation < 0 or test < 0 or validation + test >= 1:
        raise ValueError(f'fractions validation={validation}, test={test}: both from 0, together below 1')
    if 'among' in given:
        column, among, train = given['column'], given['among'], given['train']
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
