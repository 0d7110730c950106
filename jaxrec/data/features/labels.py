"""Labels of events, and the history of each event.

A rule marks the positive events. They make up histories; the history of an event is its user's positive events STRICTLY
earlier in time: an event of the same second is not known yet (in MovieLens a third of all ratings share one).

Letters: N events, P positive events.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from jaxrec.data.features.negatives import SAMPLERS
from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.columns import begins, offsets_of, place_in_run
from jaxrec.data.logs.log import Log


@dataclasses.dataclass(frozen=True)
class Impressions:
    """Label from shown items: `column` is 1 where the user responded, else 0."""

    kind: ClassVar[str] = 'impressions'
    column: str = 'click'

    def positive(self, log: Log) -> np.ndarray:
        """bool [N], true where the event is positive."""
        values = _event_column(log, self.column, self.kind)
        if (wrong := ~np.isin(values, (0, 1))).any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f'{log.folder} event {row} has {self.column}={values[row]}: impressions are 0 or 1, '
                "use label kind 'rating' with a threshold for graded values"
            )
        return values.astype(bool)


@dataclasses.dataclass(frozen=True)
class Rating:
    """Label from graded feedback: positive where `column` >= `threshold`."""

    kind: ClassVar[str] = 'rating'
    column: str = 'rating'
    threshold: float = 4.0

    def positive(self, log: Log) -> np.ndarray:
        """bool [N], true where the event is positive."""
        return _event_column(log, self.column, self.kind) >= self.threshold


@dataclasses.dataclass(frozen=True)
class OneOf:
    """Label from a kind of behaviour: positive where the raw value of `column` is one of `among`."""

    kind: ClassVar[str] = 'one_of'
    column: str = 'behaviour'
    among: Sequence[Any] = ('pv',)

    def positive(self, log: Log) -> np.ndarray:
        """bool [N], true where the event is positive."""
        return log.is_one_of(self.column, self.among)


@dataclasses.dataclass(frozen=True)
class SampledNegatives:
    """Positive events only, each with `per_positive` drawn items that its user never responded to."""

    kind: ClassVar[str] = 'sampled_negatives'
    sampler: str = 'uniform'  # 'uniform', 'popularity' or 'same_category'; see `jaxrec.data.features.negatives`
    per_positive: int = 1  # drawn items for each positive event
    category: str = 'category'  # item attribute of 'same_category'
    positives: Impressions | Rating | OneOf | None = None  # marks the positive events; None takes every event

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ValueError(f'sampler {self.sampler!r} is unknown: use one of {", ".join(SAMPLERS)}')
        if self.per_positive < 1:
            raise ValueError(f'per_positive is {self.per_positive}: draw at least 1 negative for each positive event')

    def positive(self, log: Log) -> np.ndarray:
        """bool [N], true where the event is positive."""
        return np.ones(len(log), bool) if self.positives is None else self.positives.positive(log)


Rule = Impressions | Rating | OneOf | SampledNegatives
_RULES: dict[str, type] = {rule.kind: rule for rule in (Impressions, Rating, OneOf, SampledNegatives)}


def make_label(config: Mapping[str, Any]) -> Rule:
    """Builds a label rule from its description; a ValueError for an unknown kind or field.

    `config` has `kind` ('impressions', 'rating', 'one_of' or 'sampled_negatives') and the fields of that rule;
    `positives` of 'sampled_negatives' is such a description in turn.
    """
    fields = {name: config[name] for name in config}
    kind = fields.pop('kind', None)
    if kind not in _RULES:
        raise ValueError(f'label kind {kind!r} is unknown: use one of {", ".join(_RULES)}')
    if fields.get('positives') is not None:
        fields['positives'] = make_label(fields['positives'])
    allowed = [field.name for field in dataclasses.fields(_RULES[kind])]
    for name in fields:
        if name not in allowed:
            raise ValueError(f'label kind {kind!r} has no field {name!r}: it has {", ".join(allowed)}')
    return _RULES[kind](**fields)


def history_bounds(log: BehaviourLog, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the history of each event: its user's positive events strictly earlier in time; without times, in order.

    `positive` is bool [N]. Returns the rows of the positive events, int64 [P], and `start`, `end`, int64 [N]; the
    history of event n, oldest first, is `positives[start[n]:end[n]]`.
    """
    positives = np.flatnonzero(positive)
    before = offsets_of(positive)  # positives in rows < n
    users = log.events['user']
    start = before[log.user_offsets[users]]
    end = before[first_of_instant(users, log.events['time'])] if log.has_time else before[:-1]
    return positives, start, end


def first_of_instant(users: np.ndarray, times: np.ndarray) -> np.ndarray:
    """int64 [N]: the first row of the same user and time; users and times [N] are sorted by both."""
    return np.arange(len(users)) - place_in_run(begins(users, times))


def _event_column(log: Log, column: str, kind: str) -> np.ndarray:
    if column not in log.events:
        raise ValueError(
            f'label kind {kind!r} wants event column {column!r}, {log.folder} has '
            f"{', '.join(log.events.names)}: name one of these as the label's `column`"
        )
    return log.events[column]


def positive_events(log: Log, label: Mapping[str, Any] | None) -> np.ndarray:
    """bool [N]: the events that are positive by a label's description, see `make_label`; all where there is none."""
    return make_label(label).positive(log) if label else np.ones(len(log), bool)
