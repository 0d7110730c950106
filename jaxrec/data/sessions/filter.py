"""High-quality sessions (OneRec, arXiv 2502.18965, sec. 3.2): which of them a generator learns to write.

The paper names three criteria and no values but the first: at least 5 items were really watched, the session
was watched for longer than a threshold, and there was some interaction. It does not say whether all or any of
them must hold. Each can be switched off here, and how many sessions meet it is counted.

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

    Attributes:
      watched: so many items at least were watched effectively (`view`); None switches this off.
      seconds: the session was watched for longer than this; None leaves it to `quantile`.
      quantile: as `seconds`, given as a quantile of the sessions of the training split; with both None the
        criterion is off.
      interactions: at least one item has at least one of these labels; None takes those of like, follow and
        share that the log has; none of them, (), switches this off.
      combine: 'all' or 'any' of the criteria that are on must hold.
    """

    watched: int | None = 5
    seconds: float | None = None
    quantile: float | None = 0.5
    interactions: tuple[str, ...] | None = None
    combine: str = 'all'

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

        Returns:
          Which they are, and how many meet each criterion.

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
    """Which sessions a filter keeps.

    Attributes:
      kept: bool [N].
      counts: {criterion: sessions that meet it}, of those that are on.
      combine: 'all' or 'any'.
      threshold: seconds of the criterion on the watch time; None where it is off.
    """

    kept: np.ndarray
    counts: Mapping[str, int]
    combine: str
    threshold: float | None

    def describe(self) -> str:
        """One line: how many sessions there are, meet each criterion and are kept."""
        criteria = '; '.join(f'{name}: {count}' for name, count in self.counts.items()) or 'no criterion'
        return f'{int(self.kept.sum())} of {len(self.kept)} sessions kept ({self.combine} of {criteria})'


def quantile(log: SessionLog, seconds: np.ndarray, train: np.ndarray, share: float) -> float:
    """A quantile of the watch times of the training split.

    Args:
      log: for the message.
      seconds: float [N].
      train: bool [N].
      share: from 0 to 1.

    Raises:
      ValueError: when nothing is in the training split.
    """
    if not train.any():
        raise ValueError(
            f'no request of {log.folder} is in the training split, so no quantile of watch times is known: '
            'give the threshold in seconds, or check the split'
        )
    return float(np.quantile(seconds[train], share))


def make_filter(config: Mapping[str, Any]) -> SessionFilter:
    """Builds a filter from its description.

    Args:
      config: fields of `SessionFilter`; one that is left out has its default.

    Raises:
      ValueError: an unknown field or a value that is not allowed.
    """
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
