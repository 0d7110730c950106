"""Splits of a log into training, validation and test events.

Each split is a function of (log, positive) that marks every event; which one a config means is said by
`make_split`. Fractions cut a sequence of n at floor(n * (1 - validation - test)) and floor(n * (1 - test)),
so rounding favours the later part.

Letters: N events.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxrec.data.behaviour_log import BehaviourLog
from jaxrec.data.columns import offsets_of
from jaxrec.data.vocabulary import hash64

TRAIN, VALIDATION, TEST, UNUSED = 0, 1, 2, -1
PARTS = {'train': TRAIN, 'validation': VALIDATION, 'test': TEST}
Split = Callable[[BehaviourLog, np.ndarray], np.ndarray]


def leave_last_out() -> Split:
    """Each user's last positive event is test and the one before it validation.

    Every event before that one trains, positive or not; the other events from there on are unused. Users with
    fewer than three positive events only train. Of positive events in the same second, the order of the log
    decides.
    """

    def split(log: BehaviourLog, positive: np.ndarray) -> np.ndarray:
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


def per_user_time(validation: float = 0.1, test: float = 0.2) -> Split:
    """The last `test` of each user's events is test, the `validation` before it validation.

    A user with a single event is all test. Events of one second may fall on both sides of a cut; the strict
    history rule keeps either from seeing the other.
    """
    _check_fractions(validation, test)

    def split(log: BehaviourLog, positive: np.ndarray) -> np.ndarray:
        offsets, users = log.user_offsets, log.events['user']
        position = np.arange(len(log)) - offsets[users]
        train_end, validation_end = _cuts(np.diff(offsets), validation, test)
        return _parts(position, train_end[users], validation_end[users])

    return split


def global_time(validation: float = 0.1, test: float = 0.2) -> Split:
    """Two instants cut the whole log; the events of the very instant of a cut go to the later part."""
    _check_fractions(validation, test)

    def split(log: BehaviourLog, positive: np.ndarray) -> np.ndarray:
        if not log.has_time:
            raise ValueError(
                f'{log.folder} has no times, so global_time cannot cut it: use per_user_time or user_holdout'
            )
        times = log.events['time']
        train_end, validation_end = _cuts(np.asarray([len(log)]), validation, test)
        places = np.minimum([train_end[0], validation_end[0]], len(log) - 1)
        first, second = np.partition(times, places)[places]
        # A fraction of 0 cuts behind the last event instead of at it.
        second = np.inf if validation_end[0] == len(log) else second
        first = np.inf if train_end[0] == len(log) else first
        return _parts(times, first, second)

    return split


def user_holdout(validation: float = 0.1, test: float = 0.2, seed: int = 0) -> Split:
    """All events of a user fall in one part; users are ordered by a seeded hash and cut by number."""
    _check_fractions(validation, test)

    def split(log: BehaviourLog, positive: np.ndarray) -> np.ndarray:
        users = np.flatnonzero(np.diff(log.user_offsets))
        rank = np.zeros(log.schema['user'].rows, np.int64)
        rank[users[np.argsort(hash64(users, seed), kind='stable')]] = np.arange(len(users))
        train_end, validation_end = _cuts(np.asarray([len(users)]), validation, test)
        return _parts(rank[log.events['user']], train_end[0], validation_end[0])

    return split


_SPLITS: dict[str, Callable[..., Split]] = {
    function.__name__: function for function in (leave_last_out, per_user_time, global_time, user_holdout)
}


def make_split(config: Mapping[str, Any]) -> Split:
    """Builds a split from its description.

    Args:
      config: `kind` ('leave_last_out', 'per_user_time', 'global_time' or 'user_holdout') and that function's
        arguments.

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
            raise ValueError(
                f'split kind {kind!r} has no argument {name!r}: it has {", ".join(allowed) or "none"}'
            )
    return _SPLITS[kind](**arguments)


def _check_fractions(validation: float, test: float) -> None:
    if validation < 0 or test < 0 or validation + test >= 1:
        raise ValueError(f'fractions validation={validation}, test={test}: both from 0, together below 1')


def _cuts(number: np.ndarray, validation: float, test: float) -> tuple[np.ndarray, np.ndarray]:
    # The small addend keeps floor(10 * (1 - .1 - .2)) at 7: the product is 6.999... in binary.
    train_end = np.floor(number * (1 - validation - test) + 1e-9).astype(np.int64)
    return train_end, np.floor(number * (1 - test) + 1e-9).astype(np.int64)


def _parts(position: np.ndarray, train_end: Any, validation_end: Any) -> np.ndarray:
    return ((position >= train_end).astype(np.int8) + (position >= validation_end)).astype(np.int8)
