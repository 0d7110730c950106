import numpy as np
import pytest

from jaxrec.data.features.negatives import (
    HISTORY_SAMPLERS,
    SAMPLERS,
    history_pool,
    negative_tables,
    sample_beside,
    sample_negatives,
)
from jaxrec.data.logs.behaviour_log import ColumnSpec, compile_log
from tests.data.worlds import small_log


def chi_square(draws, expected):
    """Statistic of counts against probabilities."""
    counts = np.asarray([np.sum(draws == item) for item in expected])
    means = np.asarray(list(expected.values())) * len(draws)
    assert counts.sum() == len(draws)
    return ((counts - means) ** 2 / means).sum(), len(means) - 1


@pytest.fixture(scope='module')
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp('negatives') / 'log', users=30, items=40, events=300)


@pytest.fixture(scope='module')
def positive(log):
    return log.events['click'] == 1


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_never_an_item_the_user_responded_to(log, positive, sampler):
    tables = negative_tables(log, positive, sampler)
    events = np.repeat(np.flatnonzero(positive), 50)
    drawn = sample_negatives(tables, events, np.tile(np.arange(50), positive.sum()), seed=0, epoch=0)
    assert drawn.dtype == np.int32 and drawn.min() >= 2 and drawn.max() < log.schema['item'].rows
    taken = {(u, i) for u, i, p in zip(log.events['user'], log.events['item'], positive, strict=True) if p}
    assert not taken & set(zip(log.events['user'][events], drawn, strict=True))


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_a_draw_depends_on_its_counter_alone(log, positive, sampler):
    tables = negative_tables(log, positive, sampler)
    events = np.repeat(np.flatnonzero(positive), 3)
    slots = np.tile([1, 2, 3], positive.sum())
    whole = sample_negatives(tables, events, slots, seed=5, epoch=2)
    order = np.random.default_rng(0).permutation(len(events))
    np.testing.assert_array_equal(sample_negatives(tables, events[order], slots[order], seed=5, epoch=2), whole[order])
    one = [sample_negatives(tables, events[m : m + 1], slots[m : m + 1], seed=5, epoch=2)[0] for m in range(60)]
    assert one == whole[:60].tolist()
    for other in ({'seed': 6, 'epoch': 2}, {'seed': 5, 'epoch': 3}):
        assert (sample_negatives(tables, events, slots, **other) != whole).mean() > 0.5
    by_slot = whole.reshape(-1, 3)
    assert (by_slot[:, 0] != by_slot[:, 1]).mean() > 0.5


def expected_distribution(log, positive, sampler, event):
    """What the sampler promises for one event, by plain counting."""
    user, item = log.events['user'][event], log.events['item'][event]
    mine = set(log.events['item'][positive & (log.events['user'] == user)].tolist())
    weights = {int(i): 1.0 for i in np.unique(log.events['item'])}
    if sampler == 'popularity':
        weights = {i: float(np.sum(log.events['item'][positive] == i)) for i in weights}
    if sampler == 'same_category':
        category = log.items['category']
        weights = {i: w for i, w in weights.items() if category[i] == category[item]}
    weights = {i: w for i, w in weights.items() if i not in mine and w}
    return {i: w / sum(weights.values()) for i, w in weights.items()}


@pytest.mark.parametrize('sampler', SAMPLERS)
def test_draws_follow_the_promised_distribution(log, positive, sampler):
    event = int(np.flatnonzero(positive)[7])
    expected = expected_distribution(log, positive, sampler, event)
    draws = 20_000
    tables = negative_tables(log, positive, sampler)
    drawn = sample_negatives(tables, np.full(draws, event), np.arange(draws), seed=1, epoch=0)
    statistic, freedom = chi_square(drawn, expected)
    assert statistic < freedom + 5 * np.sqrt(2 * freedom)


@pytest.mark.parametrize('sampler', HISTORY_SAMPLERS)
def test_beside_an_entry_the_others_are_drawn(log, positive, sampler):
    items, pool = log.events['item'], history_pool(log, positive, sampler)
    some = items if sampler == 'uniform' else items[positive]
    weights = {int(i): 1.0 if sampler == 'uniform' else float(np.sum(some == i)) for i in np.unique(some)}
    for entry in (min(weights), max(weights, key=weights.get), max(weights), 1):
        others = {item: weight for item, weight in weights.items() if item != entry}
        expected = {item: weight / sum(others.values()) for item, weight in others.items()}
        entries = np.full((2000, 10), entry, np.int32)
        drawn = sample_beside(pool, entries, np.arange(2000), seed=1, epoch=0)
        assert drawn.dtype == np.int32 and drawn.shape == entries.shape
        statistic, freedom = chi_square(drawn.ravel(), expected)
        assert statistic < freedom + 5 * np.sqrt(2 * freedom)


def test_padding_has_nothing_beside_it(log, positive):
    entries = np.array([[5, 0, 0], [0, 0, 0]], np.int32)
    drawn = sample_beside(history_pool(log, positive), entries, np.arange(2), seed=0, epoch=0)
    assert drawn[0, 0] >= 2 and (drawn > 0).sum() == 1


def test_one_item_leaves_nothing_to_draw_beside_it(tmp_path):
    events = {'user': np.arange(3), 'item': np.zeros(3, int), 'click': np.ones(3, int)}
    log = compile_log(tmp_path / 'log', events)
    with pytest.raises(ValueError, match=r"has 1 items for history_negatives 'uniform'.*leave .* out"):
        history_pool(log, log.events['click'] == 1)


def nearly_everything(tmp_path, left):
    """A user who responded to all items but `left`, and another who met every item once."""
    items = 500
    events = {
        'user': np.concatenate([np.zeros(items - left, int), np.ones(items, int)]),
        'item': np.concatenate([np.arange(items - left), np.arange(items)]),
        'click': np.concatenate([np.ones(items - left, int), np.arange(items) == 0]),
    }
    kinds = {'item': np.arange(items), 'category': (np.arange(items) >= items - 10).astype(int)}
    return compile_log(tmp_path / 'log', events, kinds, columns={'category': ColumnSpec('categorical')})


def test_the_scan_is_exact_when_almost_nothing_is_left(tmp_path):
    log = nearly_everything(tmp_path, left=2)
    positive = log.events['click'] == 1
    mine = log.vocabulary('user').encode(np.asarray([0]))[0]
    event = int(np.flatnonzero((log.events['user'] == mine) & positive)[0])
    tables = negative_tables(log, positive, 'uniform')
    drawn = sample_negatives(tables, np.full(400, event), np.arange(400), seed=0, epoch=0)
    assert set(log.vocabulary('item').decode(drawn).tolist()) == {498, 499}
    assert 130 < (drawn == drawn[0]).sum() < 270


def test_an_exhausted_category_falls_back_and_is_counted(tmp_path):
    log = nearly_everything(tmp_path, left=10)  # user 0 knows all of category 0 and nothing of category 1
    positive = log.events['click'] == 1
    tables = negative_tables(log, positive, 'same_category')
    assert tables.fallbacks == 490
    mine = np.flatnonzero((log.events['user'] == log.vocabulary('user').encode(np.asarray([0]))[0]) & positive)
    drawn = sample_negatives(tables, mine, np.zeros(len(mine), int), seed=0, epoch=0)
    assert log.vocabulary('item').decode(drawn).min() >= 490


def test_a_user_who_knows_everything_is_named(tmp_path):
    log = nearly_everything(tmp_path, left=0)
    with pytest.raises(ValueError, match=r'user 0 .* each of the 500 items.*drop that user'):
        negative_tables(log, log.events['click'] == 1)
