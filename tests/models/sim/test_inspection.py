"""What a model tells of its search: kept positions and the attention to all of the window, against numpy."""

import types

import jax
import numpy as np
import pytest

from jaxrec.models.sim.inspection import inspect_run, make_inspect_step, most_attended, whole_windows
from jaxrec.models.sim.interest import Sdim
from jaxrec.models.sim.options import SIM_OPTIONS
from jaxrec.ops.histories.simhash import hyperplanes
from jaxrec.runs.build import build
from jaxrec.runs.fit import fit
from jaxrec.runs.restore import restore_model
from jaxrec.runs.run import Run
from tests.conftest import slow_but_for
from tests.models import worlds
from tests.models.sim.test_model import BLOCKS, make
from tests.oracles import sim as oracle
from tests.runs.worlds import tiny_sim

KEEP = worlds.SIM['keep']


def inspect(model, batch):
    state = types.SimpleNamespace(params=model.params, model_state={}, tables=model.tables)
    return make_inspect_step(worlds.make_setup(model.task))(state, worlds.on_device(batch))


def positions(kept):
    """[b][c] sets of positions, whose slots beyond the length do not count."""
    index, length = np.asarray(kept.index), np.asarray(kept.length)
    return [[set(index[b, c, :n].tolist()) for c, n in enumerate(row)] for b, row in enumerate(length)]


def sets(found):
    return [[set(at) for at in row] for row in found]


@pytest.mark.parametrize(
    'name', slow_but_for(('hard', 'soft', 'ETA', 'TWIN'), [n for n in BLOCKS if 'window' not in n and n != 'SDIM'])
)
def test_what_was_kept_is_what_the_loop_keeps(name):
    model, batch = make(**BLOCKS[name])
    options = {**SIM_OPTIONS, **worlds.SIM, **BLOCKS[name]}
    planes = np.asarray(hyperplanes(8, options['hashes'] or 16, options['hash_seed']))
    own, (candidate, past) = model.params.get('interest', {}), parts(model, batch)
    gap = gaps(model, batch) if options['time_gap'] else past[..., :0]
    wanted, _ = oracle.search(own, candidate, past, gap, batch, options, planes)
    assert positions(inspect(model, batch).kept) == sets(wanted)


def parts(model, batch):
    return (oracle.read_parts(model.tables, batch, side) for side in ('candidate', 'long'))


def gaps(model, batch):
    return np.asarray(model.params['interest']['gaps']['embedding'], np.float64)[batch['long/gap']]


@pytest.mark.parametrize('name', slow_but_for(('hard', 'TWIN'), ('hard', 'soft', 'ETA', 'TWIN')))
def test_the_exact_unit_weighs_the_whole_window(name):
    model, batch = make(**BLOCKS[name])
    options = {**SIM_OPTIONS, **worlds.SIM, **BLOCKS[name]}
    found, own = inspect(model, batch), model.params['interest']
    (candidate, past), gap, lengths = parts(model, batch), gaps(model, batch), batch['long/length']
    attended = positions(most_attended(found.logits, batch['long/length'], KEEP))
    for b, c in np.ndindex(candidate.shape[:2]):
        if not lengths[b]:
            assert attended[b][c] == set()
            continue
        values = np.concatenate([past[b], gap[b]], -1)[: lengths[b]]
        if name == 'TWIN':
            logits = oracle.twin_logits(own, candidate[b, c], past[b], gap[b], options)[:, : lengths[b]]
        else:
            weights = (own['attention'][f'of_{x}'] for x in ('candidate', 'behaviour'))
            logits = oracle.projected_logits(candidate[b, c], values, *weights)
        np.testing.assert_allclose(found.logits[b, c][:, : lengths[b]], logits, rtol=1e-4, atol=1e-4)
        weights = sum(oracle.normalised(row) for row in logits)
        assert attended[b][c] == set(np.argsort(-weights)[:KEEP].tolist())


def test_dins_attention_weighs_the_window_as_it_weighs_what_was_kept():
    model, batch = make(search='soft', attention='din', keep=worlds.LONG)  # keeps all
    logits = inspect(model, batch).logits
    assert logits.shape == (*batch['label'].shape, 1, worlds.LONG)
    own, (candidate, past) = model.params['interest'], parts(model, batch)
    values = np.concatenate([past, gaps(model, batch)], -1)
    weights = jax.nn.softmax(logits[1, 0, 0])  # the second history is full
    wanted = oracle.interest_of(own, candidate[1, 0], values[1], {**SIM_OPTIONS, **worlds.SIM, 'attention': 'din'})
    np.testing.assert_allclose(np.asarray(weights) @ values[1], wanted, rtol=1e-4, atol=1e-5)


def test_sdim_keeps_those_that_collide_most():
    model, batch = make(**BLOCKS['SDIM'])
    found, (candidate, past) = inspect(model, batch), parts(model, batch)
    assert isinstance(model.task.module.interest, Sdim) and found.logits is None
    planes = np.asarray(hyperplanes(8, 12, 0))
    ours, theirs = (oracle.bits(x, planes).reshape(*x.shape[:2], 6, 2) for x in (candidate, past))
    collisions = (ours[:, :, None] == theirs[:, None]).all(-1).sum(-1)
    assert positions(found.kept) == sets(oracle.top(collisions, batch['long/length'], KEEP))


@pytest.mark.parametrize('attention', ['mean', 'mha'])
def test_without_a_search_nothing_was_kept(attention):
    model, batch = make(search='none', attention=attention)
    found = inspect(model, batch)
    assert found.kept is None and (found.logits is None) == (attention == 'mean')


def test_what_the_loader_searched_has_no_positions():
    model, batch = make(search='hard')
    ones = lambda *more: np.ones((*batch['label'].shape, *more), np.int32)
    searched = {**batch, 'kept/length': ones(), 'kept/item': ones(KEEP), 'kept/category': ones(KEEP)}
    with pytest.raises(ValueError, match=r'on batches made with data\.lifelong\.search = None'):
        inspect(model, searched)


def test_models_of_other_rooms_tell_nothing():
    model = worlds.make_model('DIN', worlds.make_batch(features=worlds.FEATURES), worlds.FEATURES)
    with pytest.raises(ValueError, match=r'Din keeps nothing of .* inspect a model of jaxrec\.models\.sim'):
        make_inspect_step(worlds.make_setup(model.task))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Runs whose loaders search, or whose models do."""
    folder = tmp_path_factory.mktemp('sim')
    for name in ('SIM-hard', 'DIN-full'):
        fit(build(tiny_sim(name, folder)), folder / name)
    return {name: Run(folder / name) for name in ('SIM-hard', 'DIN-full')}


def test_a_run_keeps_what_the_loop_keeps_of_whole_windows(trained):
    run = trained['SIM-hard']
    batch = whole_windows(run.experiment)[0]
    found = inspect_run(run, batch)
    for b, c in np.argwhere(batch['valid'] > 0)[:10]:
        category = batch['long/category'][b, : batch['long/length'][b]]
        same = np.flatnonzero(category == batch['candidate/category'][b, c])[-5:]
        assert np.flatnonzero(found.kept[b, c]).tolist() == same.tolist()
    assert found.kept.any()


def test_attention_is_the_softmax_over_what_was_kept(trained):
    run = trained['SIM-hard']
    batch = whole_windows(run.experiment)[0]
    found = inspect_run(run, batch)
    state, _ = restore_model(run.experiment, run.workdir)
    logits = np.asarray(make_inspect_step(run.experiment.setup)(state, batch).logits)
    kept = found.kept.any(-1)
    for b, c in np.argwhere((batch['valid'] > 0) & kept)[:10]:
        places = np.flatnonzero(found.kept[b, c])
        wanted = np.mean([oracle.normalised(row.astype(np.float64)) for row in logits[b, c][:, places]], 0)
        np.testing.assert_allclose(found.attention[b, c, places], wanted, rtol=1e-5)
    assert not found.attention[~found.kept].any()


def test_runs_that_keep_nothing_are_refused(trained, tmp_path):
    run = trained['DIN-full']
    with pytest.raises(ValueError, match=r"has model\.search = 'none', which keeps nothing"):
        inspect_run(run, whole_windows(run.experiment)[0])
    with pytest.raises(ValueError, match='reads no long window: give a run with'):
        whole_windows(build(tiny_sim('DIN-short', tmp_path)))
