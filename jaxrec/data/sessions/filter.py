"""High-quality sessions, which a generator learns (OneRec, arXiv 2502.18965, sec. 3.2).

The paper names three criteria and no values but the first: at least 5 items were really watched, the session was
watched for longer than a threshold, and there was some interaction. It does not say whether all or any of them must
hold. Each can be switched off here, and the sessions that meet it are counted.

Letters: N requests.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxrec.data.sessions.log import WATCH_TIME, SessionLog
from jaxrec.options import plain, read_options

INTERACTIONS = ('like', 'follow', 'share')
COMBINE = ('all', 'any')
_WHERE = 'session filter'


@dataclasses.dataclass(frozen=True)
class SessionFilter:
    """The criteria.

    At least one item has at least one of the labels in `interactions`; None takes those of like, follow and share that
    the log has. Without `seconds` and `quantile` there is no threshold of the watch time.
    """

    watched: int | None = 5  # items effectively watched (`view`) at least; None switches this off
    seconds: float | None = None  # the session was watched for longer than this; None leaves it to `quantile`
    quantile: float | None = 0.5  # as `seconds`, a quantile of the training split's sessions
    interactions: tuple[str, ...] | None = None  # () switches this off
    combine: str = 'all'  # 'all' or 'any' of the criteria that are on must hold

    def __post_init__(self) -> None:
        if self.combine not in COMBINE:
            raise ValueError(f'{_WHERE}: combine = {self.combine!r} is unknown: use {" or ".join(COMBINE)}')
        if self.seconds is not None and self.quantile is not None:
            raise ValueError(
                f'{_WHERE}: seconds = {self.seconds} and quantile = {self.quantile} are thresholds of the '
                'same watch time: set one of them to None'
            )
        for name, least, most in (('watched', 1, np.inf), ('seconds', 0, np.inf), ('quantile', 0, 1)):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not (number and least <= value <= most):
                limit = f'from {least} to {most}' if most < np.inf else f'at least {least}'
                raise ValueError(f'{_WHERE}: {name} = {value!r}: give a number, {limit}, or None')

    def select(self, log: SessionLog, train: np.ndarray) -> 'Selection':
        """Finds the sessions of high quality.

        Args:
          log: N requests.
          train: bool [N], those of the training split, of which the quantile is taken.

        Raises:
          ValueError: for a criterion on a column that the log lacks, or a quantile of no session.
        """
        met: dict[str, np.ndarray] = {}
        threshold = None
        if self.watched is not None:
            met[f'at least {self.watched} watched'] = log.totals('view') >= self.watched
        if self.seconds is not None or self.quantile is not None:
            seconds = log.totals(WATCH_TIME)
            threshold = self.seconds
            if threshold is None:
                threshold = quantile(log, seconds, train, float(self.quantile or 0))
            met[f'more than {threshold:g} seconds'] = seconds > threshold
        if names := self._interactions(log):
            met[' or '.join(names)] = np.any([log.totals(name) > 0 for name in names], 0)
        kept = np.ones(len(log), bool)
        if met:
            kept = (np.all if self.combine == 'all' else np.any)(list(met.values()), 0)
        return Selection(kept, {name: int(mask.sum()) for name, mask in met.items()}, self.combine, threshold)

    def _interactions(self, log: SessionLog) -> tuple[str, ...]:
        if self.interactions is not None:
            return self.interactions
        names = tuple(name for name in INTERACTIONS if name in log.shown)
        if not names:
            raise ValueError(
                f'{log.folder} has none of {", ".join(INTERACTIONS)}, so no session has an interaction: set '
                f'the interactions of the {_WHERE} to () to do without'
            )
        return names


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
    """Which sessions a filter keeps."""

    kept: np.ndarray  # bool [N]
    counts: Mapping[str, int]  # {criterion: sessions that meet it}, of those that are on
    combine: str  # 'all' or 'any'
    threshold: float | None  # seconds of the criterion on the watch time; None where it is off

    def describe(self) -> str:
        """Returns one line: how many sessions there are, meet each criterion and are kept."""
        criteria = '; '.join(f'{name}: {count}' for name, count in self.counts.items()) or 'no criterion'
        return f'{int(self.kept.sum())} of {len(self.kept)} sessions kept ({self.combine} of {criteria})'


def quantile(log: SessionLog, seconds: np.ndarray, train: np.ndarray, share: float) -> float:
    """The quantile `share` of watch times float [N] in training, bool [N]; a ValueError if that is empty."""
    if not train.any():
        raise ValueError(
            f'no request of {log.folder} is in the training split, so no quantile of watch times is known: '
            'give the threshold in seconds, or check the split'
        )
    return float(np.quantile(seconds[train], share))


def make_filter(config: Mapping[str, Any]) -> SessionFilter:
    """Builds a filter from fields of `SessionFilter`; a ValueError for an unknown field or value."""
    # Of the fields that may be None nothing is known of their type: they are checked above.
    options = read_options(
        plain(config), _WHERE, watched=None, seconds=None, quantile=None, interactions=None, combine='all'
    )
    given = {name: value for name, value in options.items() if name in config}
    if given.get('seconds') is not None and 'quantile' not in given:
        given['quantile'] = None  # a threshold in seconds takes the place of the default one
    named = given.get('interactions')
    if named is not None and not isinstance(named, tuple):
        raise ValueError(f'{_WHERE}: interactions = {named!r}: give a list of columns, () or None')
    return SessionFilter(**given)
