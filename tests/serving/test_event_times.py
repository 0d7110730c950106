"""Which times of new behaviours are taken, in logs of several units and in those with times of their own."""

import types

import numpy as np
import pytest

from jaxrec.serving import messages
from jaxrec.serving.messages import EventTimes, read_event_times

NOW, DAY = 1_800_000_000, 86_400


def index(times, latest=0):
    """What is read of an index: the log's times, by user, and its latest behaviour."""
    offsets = np.cumsum([0, 0, *map(len, times), 0])
    together = np.concatenate([np.zeros(0, np.int64), *times])
    log = types.SimpleNamespace(has_time=True, user_offsets=offsets, events={'time': together})
    return types.SimpleNamespace(log=log, latest=latest)


@pytest.mark.parametrize('unit', [1, 10**3, 10**6, 10**9])
def test_a_log_of_the_clock_takes_a_day_beyond_now(unit):
    first, last = 1_600_000_000 * unit, 1_700_000_000 * unit
    times = read_event_times(index([[first + 5, last - 1], [first, last], [first + 9]]))
    assert times == EventTimes(first, last, DAY * unit, unit)
    assert times.limit(NOW) == (NOW + DAY) * unit
    assert times.limit(NOW - 10**9) == last + DAY * unit  # a clock that stands wrong


def test_a_log_with_times_of_its_own_takes_what_is_near_its_latest():
    times = read_event_times(index([[3, 70], [0, 80]], latest=75), 20)
    assert times == EventTimes(0, 80, 20, 0) and times.limit(NOW) == 100
    assert read_event_times(index([[3, 70]], latest=90)).limit(NOW) == 90 + DAY  # from the journal
    assert read_event_times(index([[0.5, 2.5]]), 0).limit(NOW) == 3
    assert times.unit == 'times'


def test_logs_without_times_or_events_have_no_limits():
    assert read_event_times(index([])) is None
    without = index([[3]])
    without.log.has_time = False
    assert read_event_times(without) is None
    with pytest.raises(ValueError, match="max_ahead is -1: give 0 or more, in the log's time unit"):
        read_event_times(index([[3]]), -1)


def test_refusals_say_field_limit_and_remedy(monkeypatch):
    monkeypatch.setattr(messages.time, 'time', lambda: float(NOW))
    times = EventTimes(1_600_000_000, 1_700_000_000, DAY, 1)
    messages._check_times([1_600_000_000, NOW + DAY], times)
    late = f"field 'time' of event 1 is {NOW + DAY + 1}, beyond {NOW + DAY}, {DAY} after .* send seconds since"
    with pytest.raises(messages.RefusalError, match=f'{late} 1970 as the log .* larger --max_ahead'):
        messages._check_times([NOW, NOW + DAY + 1], times)
    early = "'time' of event 0 is 5, before 1600000000, the log's earliest: no event was taken; .* extend the log"
    with pytest.raises(messages.RefusalError, match=early):
        messages._check_times([5], times)
