"""Which rows the long window needs: before a hard search, after it, and when the loader has searched."""

import chex
import jax
import numpy as np
import pytest

from jaxrec.models.age.model import AgeTask
from jaxrec.parallel import put_batch
from jaxrec.training.export import export_scorer, load_scorer
from jaxrec.training.state import init_state
from jaxrec.training.step import make_predict_step, make_train_step
from tests.models import worlds
from tests.oracles import sim as oracle


def searched(batch, keep=3, column='category'):
    """The batch that a loader makes which searches itself: 'kept/...' in place of 'long/...'."""
    kept = oracle.hard(batch[f'long/{column}'], batch[f'candidate/{column}'], batch['long/length'], keep)
    out = {key: value for key, value in batch.items() if not key.startswith('long/')}
    out['kept/length'] = np.array([[len(at) for at in row] for row in kept], np.int32)
    for key, value in batch.items():
        if key.startswith('long/') and key != 'long/length':
            mine = np.zeros((*batch['label'].shape, keep, *value.shape[2:]), value.dtype)
            for b, c in np.ndindex(batch['label'].shape):
                mine[b, c, : len(kept[b][c])] = value[b, kept[b][c]]
            out[key.replace('long/', 'kept/')] = mine
    return out


@pytest.mark.parametrize('features', [worlds.RICH, pytest.param(worlds.FEATURES, marks=pytest.mark.slow)])
def test_loader_and_model_search_alike(features):
    batch = worlds.make_batch(features=features, seed=3)
    for key in ('long/category', 'candidate/category'):  # unknown to both, and then equal to nothing
        batch[key] = np.where(batch[key] == 1, 0, batch[key])
    assert (batch['long/category'] == 0)[batch['long/length'] > 0].any()
    model, by_loader = worlds.make_model('SIM-hard', batch, features, std=0.5), searched(batch)
    assert {0, 3} <= set(by_loader['kept/length'].ravel())
    ids, theirs = model.task.ids(batch), model.task.ids(by_loader)
    assert {table: set(keys) for table, keys in ids.items()} == {t: set(keys) for t, keys in theirs.items()}
    jax.tree.map(np.testing.assert_array_equal, ids, theirs)
    np.testing.assert_allclose(model.logits(by_loader), model.logits(batch), rtol=1e-5, atol=1e-6)


def test_only_what_was_kept_is_looked_up_and_all_is_checked():
    batch = worlds.make_batch(features=worlds.FEATURES)
    hard, soft = (worlds.make_task(name, worlds.FEATURES) for name in ('SIM-hard', 'SIM-soft'))
    assert hard.ids(batch)['item']['kept/item'].shape == (6, 3, 3) and 'long/item' not in hard.ids(batch)['item']
    assert soft.ids(batch)['item']['long/item'].shape == (6, worlds.LONG)
    for task in (hard, soft):
        given = task.given_ids(batch)['item']
        assert set(given) == {'candidate/item', 'history/item', 'long/item'}
        np.testing.assert_array_equal(given['long/item'], batch['long/item'])
    assert set(hard.given_ids(searched(batch))['item']) == {'candidate/item', 'history/item', 'kept/item'}
    assert soft.given_ids(batch) == soft.ids(batch)


def test_another_column_may_be_compared():
    batch = worlds.make_batch(features=worlds.FEATURES)
    batch['long/item'] %= 4
    batch['candidate/item'] %= 4
    task = worlds.make_task('SIM-hard', worlds.FEATURES, column='item')
    want = searched(batch, column='item')
    np.testing.assert_array_equal(task.ids(batch)['category']['kept/category'], want['kept/category'])


@pytest.mark.slow
def test_a_whole_step_and_a_scorer_on_the_model_s_own_search(tmp_path):
    """The step's work space, its trace and the exported program are made from shapes before the search."""
    batch = worlds.make_batch(features=worlds.FEATURES)
    setup = worlds.make_setup(worlds.make_task('SIM-hard', worlds.FEATURES))
    state = init_state(setup, worlds.on_device(batch), seed=0)
    chex.clear_trace_counter()
    step = jax.jit(chex.assert_max_traces(make_train_step(setup).__wrapped__, n=1), donate_argnums=0)
    sent = put_batch(batch, setup.mesh)
    for _ in range(2):
        state, metrics = step(state, sent)
    assert np.isfinite(metrics['loss']) and metrics['grad_norm'] > 0
    want = make_predict_step(setup)(state, sent)['probability']
    manifest = export_scorer(tmp_path / 'scorer', setup, state, batch)
    assert manifest['id_rows']['long/item'] == 30 and 'kept/item' not in manifest['id_rows']
    scorer = load_scorer(tmp_path / 'scorer')
    np.testing.assert_allclose(scorer(batch)['probability'], want, rtol=1e-5)
    with pytest.raises(ValueError, match=r"input 'long/item' holds id 99, outside \[0, 30\)"):
        scorer({**batch, 'long/item': np.full_like(batch['long/item'], 99)})


@pytest.mark.parametrize('name', ['SIM-hard', 'SIM-soft'])
@pytest.mark.parametrize(
    ('key', 'remedy'),
    [
        ('long/length', r"give data\.lifelong a window, such as \{'length': 400\}"),
        ('long/category', 'Give the source and the model the same features'),
        ('long/gap', r'give data\.time_gap a description, .*, or set model\.time_gap = 0'),
    ],
)
def test_a_batch_without_a_part_of_the_window_is_refused_by_name(name, key, remedy):
    batch = worlds.make_batch(features=worlds.FEATURES)
    model = worlds.make_model(name, batch, worlds.FEATURES)
    del batch[key]
    with pytest.raises(ValueError, match=f"lacks '{key}', which the model reads; it has .*{remedy}"):
        model.logits(batch)


def test_a_soft_model_refuses_what_a_loader_has_searched():
    batch = searched(worlds.make_batch(features=worlds.FEATURES))
    task = worlds.make_task('SIM-soft', worlds.FEATURES)
    for ids in (task.ids, task.given_ids):
        with pytest.raises(ValueError, match=r"lacks 'long/length'.*set data\.lifelong\.search = None, or model"):
            ids(batch)


def test_kept_behaviours_without_gaps_are_refused():
    batch = searched(worlds.make_batch(features=worlds.FEATURES))
    model = worlds.make_model('SIM-hard', batch, worlds.FEATURES)
    del batch['kept/gap']
    with pytest.raises(ValueError, match=r"lacks 'kept/gap'.*give data\.time_gap .* or set model\.time_gap = 0"):
        model.logits(batch)


WINDOW, GAPS = {'length': 9}, {'unit': 60}
KEPT = {'length': 9, 'search': 'hard', 'keep': 3}


@pytest.mark.parametrize(
    ('name', 'data', 'message'),
    [
        ('SIM-soft', {'lifelong': WINDOW, 'time_gap': GAPS}, None),
        ('SIM-hard', {'lifelong': WINDOW | {'column': 'item'}, 'time_gap': GAPS}, None),  # nobody reads it
        ('SIM-hard', {'lifelong': KEPT, 'time_gap': GAPS}, None),
        (
            'SIM-hard',
            {'lifelong': KEPT | {'column': 'item'}, 'time_gap': GAPS},
            r"data\.lifelong\.column = 'item' .* model\.column = 'category'.*give both the same column",
        ),
        (
            'SIM-soft',
            {'lifelong': KEPT, 'time_gap': GAPS},
            r"data\.lifelong\.search = 'hard'.*set data\.lifelong\.search = None, or model\.search = 'hard'",
        ),
        ('DIN-long', {'lifelong': KEPT, 'time_gap': GAPS}, r'set data\.lifelong\.search = None'),
        ('TWIN', {'lifelong': WINDOW, 'time_gap': None}, r'model\.time_gap .* give data\.time_gap'),
        ('SIM-hard', {'lifelong': None}, r'model\.search .* give data\.lifelong a window'),
        ('DIN', {'lifelong': KEPT | {'column': 'item'}}, None),
    ],
)
def test_loader_and_model_are_told_the_same(name, data, message):
    task = worlds.make_task(name, worlds.FEATURES)
    for outer in (task, AgeTask(task, None, None)):
        if message is None:
            outer.check_data(data)
            continue
        with pytest.raises(ValueError, match=message):
            outer.check_data(data)


def test_a_loader_that_keeps_another_number_is_refused():
    batch = worlds.make_batch(features=worlds.FEATURES)
    task = worlds.make_task('SIM-hard', worlds.FEATURES, keep=5)
    with pytest.raises(ValueError, match=r'kept 3 behaviours .* wants 5: give data.lifelong.keep and model.keep'):
        task.ids(searched(batch))
