"""Which times new behaviours may have: the latest of any user is the "now" of every request without a time.

One event in milliseconds in a log of seconds would move all gaps into the oldest bucket. So events are accepted from
the log's earliest time up to `max_ahead` beyond the latest behaviour at opening or beyond the clock, whichever is
later. The clock counts for a log whose latest time, in s, ms, us or ns since 1970, is between 1990 and 2100.
"""

import dataclasses
import math

import numpy as np

from jaxrec.serving.behaviour_index import BehaviourIndex

UNITS = {1: 'seconds', 10**3: 'milliseconds', 10**6: 'microseconds', 10**9: 'nanoseconds'}
YEARS = 631_152_000, 4_102_444_800  # the beginning of 1990 and of 2100, in seconds since 1970
DAY = 86_400


@dataclasses.dataclass(frozen=True)
class EventTimes:
    """The times that are accepted.

    Attributes:
      earliest, latest: of the log (or the index when it was opened).
      max_ahead: how far beyond the latest or the clock, in the log's time unit.
      per_second: units a second where the log keeps to the clock, otherwise 0.
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
