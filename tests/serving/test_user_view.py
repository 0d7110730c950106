"""A user's view against lists that are sorted anew after each event."""

import numpy as np
import pytest

from jaxrec.serving.user_view import UserView

NONE = {'item': np.array([], np.int32), 'time': np.array([], np.int64)}


def empty(columns=NONE):
    return UserView(columns, np.array([], np.int32), np.array([], np.int32), np.zeros(1, np.int64))


def grown(seed, events=40, most=1):
    """A view and the same events in a list [(time, item, category)], some late and many at one time.

    They come up to `most` at once.
    """
    rng, view, naive, item = np.random.default_rng(seed), empty(), [], 0
    while item < events:
        count = min(int(rng.integers(1, most + 1)), events - item)
        items, times = np.arange(item, item + count), rng.integers(0, 12, count)
        categories = rng.choice([2, 3, 7], count)
        before, kept = view, [column.copy() for column in view.columns.values()]
        view = view.merged({'item': items, 'time': times}, categories)
        naive += zip(times.tolist(), items.tolist(), categories.tolist(), strict=True)
        naive.sort(key=lambda event: event[0])  # stable: behind its like
        for column, then in zip(before.columns.values(), kept, strict=True):
            np.testing.assert_array_equal(column, then)
        item += count
    return view, naive


@pytest.mark.parametrize('most', [1, 6, 100])
@pytest.mark.parametrize('seed', range(4))
def test_events_lie_in_time_order_and_by_category(seed, most):
    view, naive = grown(seed, most=most)
    assert list(zip(view.columns['time'], view.columns['item'], strict=True)) == [e[:2] for e in naive]
    for category in (1, 2, 3, 5, 7, 9):
        places = [at for at, event in enumerate(naive) if event[2] == category][::-1]
        assert view.matching(category, 100).tolist() == places
        for count, start, end in [(3, 0, None), (100, 5, None), (100, 0, 20), (2, 7, 31), (4, 20, 20)]:
            inside = [at for at in places if start <= at < (len(naive) if end is None else end)]
            assert view.matching(category, count, start, end).tolist() == inside[:count]


@pytest.mark.parametrize('seed', range(2))
def test_the_past_is_what_is_strictly_earlier(seed):
    view, naive = grown(seed)
    assert view.before(None) == len(view) == len(naive)
    for time in range(-1, 14):
        assert view.before(time) == sum(event[0] < time for event in naive)
    assert view.recent(3).tolist() == [39, 38, 37]
    assert view.recent(3, 2).tolist() == [1, 0]
    assert view.recent(3, 0).tolist() == empty().recent(3).tolist() == []


def test_without_times_events_keep_the_order_they_came_in():
    view = empty({'item': NONE['item']})
    for item, category in [(5, 2), (4, 3), (9, 2)]:
        view = view.merged({'item': np.asarray([item])}, np.asarray([category]))
    view = view.merged({'item': np.asarray([8, 7, 6])}, np.asarray([3, 2, 1]))
    assert view.columns['item'].tolist() == [5, 4, 9, 8, 7, 6] and view.before(0.0) == 6
    assert view.matching(2, 5).tolist() == [4, 2, 0] and view.matching(3, 5).tolist() == [3, 1]
    assert view.matching(1, 5).tolist() == [5]


def test_no_events_change_nothing_and_types_stay():
    view, _ = grown(0)
    assert view.merged({name: column[:0] for name, column in view.columns.items()}, np.zeros(0, int)) is view
    kinds = [array.dtype for array in (*view.columns.values(), view.order, view.categories, view.starts)]
    assert kinds == [np.dtype(kind) for kind in ('i4', 'i8', 'i4', 'i4', 'i8')]
    assert view.nbytes == 40 * (4 + 8 + 4) + 3 * 4 + 4 * 8
