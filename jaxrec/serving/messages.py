"""What the service reads and refuses: JSON bodies, checked field by field.

A `RefusalError` has an HTTP status: 400 for no JSON, 404 for an unknown user, 413 for a large body, 415 for one that is
not declared as JSON, 422 for a field that is missing, unknown or of a wrong type, size or value.

The latest time of any user is the "now" of every request without a time, and one event in milliseconds in a log of
seconds would move all gaps into the oldest bucket. So events are accepted from the log's earliest time up to
`max_ahead` beyond the latest behaviour at opening or beyond the clock. The clock counts for a log whose latest time, in
s, ms, us or ns since 1970, is between 1990 and 2100.

c candidates, n events.
"""

import dataclasses
import json
import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.vocabulary import OUT_OF_VOCABULARY, Vocabulary
from jaxrec.serving.assembly import Request
from jaxrec.serving.behaviour_index import BehaviourIndex

UNITS = {1: 'seconds', 10**3: 'milliseconds', 10**6: 'microseconds', 10**9: 'nanoseconds'}
YEARS = 631_152_000, 4_102_444_800  # the beginning of 1990 and of 2100, in seconds since 1970
DAY = 86_400


@dataclasses.dataclass(frozen=True)
class EventTimes:
    """The times that are accepted: from the earliest of the log to `max_ahead` behind the latest or the clock.

    `max_ahead` is in the log's time unit; `per_second` is units a second where the log keeps to the clock, otherwise 0.
    """

    earliest: float
    latest: float
    max_ahead: int
    per_second: int

    def limit(self, now: float) -> int:
        """The last time that is accepted at `now`, in seconds since 1970."""
        return math.ceil(max(self.latest, now * self.per_second)) + self.max_ahead

    @property
    def unit(self) -> str:
        """What is to be sent, for messages."""
        return f'{UNITS[self.per_second]} since 1970' if self.per_second else 'times'


def read_event_times(index: BehaviourIndex, max_ahead: int | None = None) -> EventTimes | None:
    """Finds which times an index may ingest; None for a log without times.

    Args:
      index: just opened.
      max_ahead: in the log's time unit; None is a day where the log keeps to the clock, otherwise 86,400.

    Raises:
      ValueError: a negative number.
    """
    if max_ahead is not None and max_ahead < 0:
        raise ValueError(f"max_ahead is {max_ahead}: give 0 or more, in the log's time unit")
    offsets = index.log.user_offsets
    users = np.flatnonzero(np.diff(offsets))
    if not index.log.has_time or not len(users):
        return None
    times = index.log.events['time']  # ascending within a user: two numbers of each are read
    earliest, last = times[offsets[users]].min().item(), times[offsets[users + 1] - 1].max().item()
    per_second = next((unit for unit in UNITS if YEARS[0] <= last / unit < YEARS[1]), 0)
    ahead = DAY * max(per_second, 1) if max_ahead is None else max_ahead
    return EventTimes(earliest, max(last, index.latest), ahead, per_second)


INT64 = 2**63
MAX_TEXT = 1024  # characters of a value: numpy makes all values of a list as wide as the widest
SHOWN = 40  # characters of what is refused that its refusal repeats
# numpy drops a NUL at the end, so that another string would be looked up; half a surrogate is no character.
NO_TEXT = re.compile(r'[\0\ud800-\udfff]')


class RefusalError(Exception):
    """A request that is answered with a 4xx, its `status`."""

    def __init__(self, status: int, message: str):
        """Keeps both."""
        super().__init__(message)
        self.status = status


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request for scores in ids, whether its user is known, and how many candidates have no id."""

    request: Request
    known_user: bool
    unknown: int


def read_json(body: bytes, fields: Mapping[str, bool]) -> dict[str, Any]:
    """Reads a JSON object of `fields`, {name: whether it must be there}, or raises a RefusalError of 400 or 422."""
    try:
        found = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # undecodable bytes and huge integers are ValueErrors too
        raise RefusalError(400, f'the body is no JSON ({str(error)[:200]}): send an object') from None
    if not isinstance(found, dict):
        raise RefusalError(422, f'the body is a {type(found).__name__}: send an object with {_listed(fields)}')
    for name, wanted in fields.items():
        if wanted and name not in found:
            raise RefusalError(422, f'field {name!r} is missing: send an object with {_listed(fields)}')
    for name in found:
        if name not in fields:
            raise RefusalError(422, f'field {_shown(name)} is unknown: send an object with {_listed(fields)}')
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f'{name} is no JSON number')


def _shown(value: Any) -> str:
    """What was sent, cut, and escaped where an answer could not hold it."""
    return repr(str(value)[:SHOWN])


def _keys(names: Iterable[str]) -> str:
    return ', '.join(_shown(name) for name in names)[: 4 * SHOWN]


def _listed(fields: Mapping[str, bool]) -> str:
    return ', '.join(name if wanted else f'{name} (optional)' for name, wanted in fields.items())


def _read_list(found: Mapping[str, Any], name: str, most: int, what: str) -> list[Any]:
    values = found[name]
    if not isinstance(values, list) or not 1 <= len(values) <= most:
        given = f'{len(values)} values' if isinstance(values, list) else type(values).__name__
        raise RefusalError(422, f'field {name!r} is {given}: send a list of 1 to {most} {what}')
    return values


def read_score(body: bytes, log: BehaviourLog, most: int) -> Asked:
    """Reads `user`, `candidates` and maybe `time`, or raises a RefusalError of 400 or 422."""
    found = read_json(body, {'user': True, 'candidates': True, 'time': False})
    candidates = _read_list(found, 'candidates', most, 'items')
    user = int(encode(log.vocabulary('user'), 'user', [found['user']])[0])
    items = encode(log.vocabulary('item'), 'candidates', candidates)
    when = found.get('time')
    if when is not None:
        if not log.has_time:
            raise RefusalError(422, "field 'time' is given, but the log has no times: leave it out")
        when = read_number('time', when)
    known = user != OUT_OF_VOCABULARY
    return Asked(Request(user, items, when), known, int((items == OUT_OF_VOCABULARY).sum()))


def read_events(
    body: bytes, log: BehaviourLog, columns: Sequence[str], most: int, times: EventTimes | None
) -> tuple[np.ndarray, dict[str, np.ndarray], int]:
    """Reads new behaviours: `events`, a list of objects with `user`, `item`, `time` and the event columns.

    Args:
      columns: those that the index stores.
      most: events at most.
      times: those that are taken; None for a log without any.

    Returns:
      Users int32 [n], {column: [n]}, and how many values of the events have no id.

    Raises:
      RefusalError: 400, 404 or 422; then no event is taken.
    """
    events = _read_list(read_json(body, {'events': True}), 'events', most, 'objects')
    wanted = ('user', *columns, *(('time',) if log.has_time else ()))
    for n, event in enumerate(events):
        if not isinstance(event, dict) or event.keys() != set(wanted):
            what = _keys(event) if isinstance(event, dict) else type(event).__name__
            raise RefusalError(422, f'event {n} has {what or "nothing"}: send an object with {", ".join(wanted)}')
    users = encode(log.vocabulary('user'), 'user', [event['user'] for event in events])
    if (users == OUT_OF_VOCABULARY).any():
        n = int(np.argmax(users == OUT_OF_VOCABULARY))
        raise RefusalError(
            404,
            f'event {n} is of user {events[n]["user"]!r:.{SHOWN}}, whom the log does not know: no event was '
            'taken; leave these out, and extend the log for new users',
        )
    read: dict[str, np.ndarray] = {}
    unknown = 0
    for name in wanted[1:]:
        values = [event[name] for event in events]
        if name == 'time' or log.schema[name].kind == 'numeric':
            whole = name == 'time' and log.events['time'].dtype.kind in 'iu'
            read[name] = np.asarray([read_number(name, value, whole) for value in values])
            if name == 'time' and times is not None:
                _check_times(values, times)
            continue
        read[name] = encode(log.vocabulary(str(log.schema[name].vocabulary)), name, values)
        unknown += int((read[name] == OUT_OF_VOCABULARY).sum())
    return users, read, unknown


def _check_times(values: Sequence[float], times: EventTimes) -> None:
    """Refuses times that no event of the log can have."""
    limit = times.limit(time.time())
    for n, value in enumerate(values):
        if not times.earliest <= value <= limit:
            early = f"before {times.earliest}, the log's earliest"
            late = f'beyond {limit}, {times.max_ahead} after the latest that is known or now'
            remedy = 'extend the log by what is older' if value < limit else 'serve with a larger --max_ahead'
            raise RefusalError(
                422,
                f"field 'time' of event {n} is {value}, {early if value < limit else late}: no event was "
                f'taken; send {times.unit} as the log has them, or {remedy}',
            )


def read_number(name: str, value: Any, whole: bool = False) -> int | float:
    """Checks that a value is a number that fits 64 bits, an integer where `whole`, or raises a RefusalError of 422."""
    # An integer of 400 digits is JSON too, and no float holds it.
    finite = type(value) is int or (type(value) is float and math.isfinite(value))
    if not finite or not -INT64 <= value < INT64 or (whole and value != int(value)):
        wanted = 'whole number' if whole else 'number'
        raise RefusalError(422, f'field {name!r} is {_shown(value)}: send a {wanted} of 64 bits')
    return value


def encode(vocabulary: Vocabulary, name: str, values: Sequence[Any]) -> np.ndarray:
    """Looks up the ids of values [n], int32 [n], 1 for what the vocabulary does not hold; `name` is the field.

    Raises:
      RefusalError: 422 for values of another type, strings that are no text, or integers beyond 64 bits.
    """
    text = vocabulary.keys.dtype.kind == 'U'
    if vocabulary.buckets is not None:  # hashed: whatever was hashed, all of one type
        text = bool(values) and isinstance(values[0], str)
    for value in values:
        if type(value) is not (str if text else int):
            raise RefusalError(422, f'field {name!r} has {_shown(value)}: send {"strings" if text else "integers"}')
    if text and max(map(len, values)) > MAX_TEXT:
        raise RefusalError(422, f'field {name!r} has a string of more than {MAX_TEXT} characters: send less')
    if text:
        for value in values:
            if NO_TEXT.search(value):
                raise RefusalError(
                    422, f'field {name!r} has {_shown(value)}: send text, without NUL and lone surrogates'
                )
        return vocabulary.encode(np.asarray(values, str))
    if not all(-INT64 <= value < INT64 for value in values):
        raise RefusalError(422, f'field {name!r} has an integer beyond 64 bits: no id is that large')
    return vocabulary.encode(np.asarray(values, np.int64))
