"""Benchmarks run on small shapes and print the promised keys; how fast they are is nobody's test."""

import json

import jax
import numpy as np
import pytest

from configs.onerec.amazon_beauty import get_config as get_beauty
from experiments import benchmark
from experiments.benchmarks import (
    age,
    can,
    histories,
    ingest,
    loader,
    moe,
    onerec,
    replay,
    sim,
    sim_lengths,
    sim_search,
    sms,
    tables,
    tokens,
)
from experiments.benchmarks.histories import Shapes
from jaxrec.models.onerec.options import read_network
from jaxrec.runs import timing
from tests.conftest import slow_but_for

KEYS = {
    'task',
    'shapes',
    'params',
    'step_ms',
    'examples_per_s',
    'peak_rss_mb',
    'windows',
    'min_ms',
    'max_ms',
    'device',
    'versions',
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(timing, 'WINDOWS', 5)
    monkeypatch.setattr(timing, 'WINDOW_S', 0.01)
    for module, name, value in (
        (can, 'BATCH', 16), (can, 'LENGTH', 4), (can, 'ITEMS', 50), (can, 'CATEGORIES', 9),
        (tables, 'BATCH', 16), (tables, 'IDS', 3), (loader, 'BATCH', 32), (loader, 'LENGTH', 5),
        (loader, 'WORLD', {'users': 40, 'items': 50, 'impressions': 20, 'categories': 5}),
        (loader, 'LIFELONG_WORLD', {'users': 40, 'items': 50, 'impressions': 40, 'categories': 5}),
        (loader, 'SHORT', 3), (loader, 'LONG', 7), (loader, 'KEPT', 2),
        (sim, 'PEER', Shapes(16, 3, 7, 40, 8, keep=2, dim=4)),
        (sim, 'NVIDIA', Shapes(16, 2, 4, 40, 8, users=9, keep=2, dim=4)),
        (age, 'ROWS', 30), (age, 'KEYS', 2), (replay, 'VISITS', 300), (replay, 'BATCH', 100),
        (sim_lengths, 'LENGTHS', (10, 20)), (sim_lengths, 'BATCH', 16), (histories, 'EVENTS', 400),
        (sim_search, 'CANDIDATES', 5), (sim_search, 'LENGTH', 400), (sim_search, 'KEEP', 3),
        (sim_search, 'ITEMS', 60), (moe, 'TOKENS', 64), (moe, 'EXPERTS', 4), (moe, 'WIDTH', 6),
        (moe, 'HIDDEN', 5), (onerec, 'BATCH', 4), (onerec, 'BEAM_BATCH', 2), (onerec, 'TOKENS', 20),
        (onerec, 'CODES', 6), (onerec, 'ITEMS', 50), (onerec, 'WIDTH', 8), (onerec, 'HEADS', 2),
        (onerec, 'HEAD', 3), (onerec, 'HIDDEN', 10), (onerec, 'LAYERS', 1), (onerec, 'EXPERTS', 4),
        (sms, 'SIZE', 32), (sms, 'TRAIN_SIZE', 32), (sms, 'BATCH', 2), (sms, 'SCENE', 32),
        (sms, 'NETWORK', {'size': 'tiny', 'read_stride': 2}),
        (onerec, 'BEAMS', (2, 3)), (tokens, 'WIDTH', 4), (tokens, 'KINDS', 5), (tokens, 'PIECE', 60),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


# Models that others of the list do not time are built below, and train in tests of their own.
@pytest.mark.parametrize(
    'run',
    [
        lambda: can.train('can_train'),
        pytest.param(lambda: can.infer('can_din_infer', base='din'), marks=pytest.mark.slow),
        pytest.param(lambda: sim.train('sim_train'), marks=pytest.mark.slow),
        pytest.param(lambda: sim.train('sim_train_twin', 'twin'), marks=pytest.mark.slow),
        pytest.param(lambda: sim.train('sim_train_din', 'din'), marks=pytest.mark.slow),
        pytest.param(lambda: sim.train_nvidia('sim_train_nvidia'), marks=pytest.mark.slow),
        lambda: sim.infer('sim_infer'),
        lambda: age.age('age_score', direction='fgm'),
        pytest.param(
            lambda: age.age('age_batch', 3, 4, direction='pgd', uncertainty='ucb', passes=2), marks=pytest.mark.slow
        ),
        pytest.param(lambda: age.neural_ucb('age_score_neural_ucb'), marks=pytest.mark.slow),
        lambda: replay.run('replay_linucb', 'linucb'),
        lambda: loader.run('loader_ctr'),
        lambda: loader.lifelong('loader_hard'),
        lambda: loader.lifelong('loader_long', None),
        pytest.param(lambda: tables.train('tables_train', 200, 4, strategy='scratch'), marks=pytest.mark.slow),
        pytest.param(lambda: sms.infer('sms_infer_dla_tiny', 'dla_tiny'), marks=pytest.mark.slow),
        pytest.param(lambda: sms.train('sms_train_dla_tiny', 'dla_tiny'), marks=pytest.mark.slow),
        lambda: sms.render('sms_render'),
    ],
)
def test_a_record_has_the_keys_and_sane_figures(run, capsys):
    timing.emit(run())
    line = json.loads(capsys.readouterr().out)
    assert KEYS <= line.keys()
    assert 0 < line['min_ms'] <= line['step_ms'] <= line['max_ms'] and line['windows'] == 5


def test_the_record_of_an_ingest_is_of_the_command(capsys):
    timing.emit(ingest.run('ingest', rows=2_000, runs=1))
    line = json.loads(capsys.readouterr().out)
    assert KEYS <= line.keys() and line['windows'] == 1 and line['peak_rss_mb'] > 50
    assert line['examples_per_s'] == pytest.approx(2_000_000 / line['step_ms'], rel=1e-3)


def test_temporaries_do_not_grow_with_the_table():
    lines = [tables.train('tables_train', rows, 4, strategy='scratch') for rows in (200, 20_000)]
    assert lines[0]['temp_mb'] == lines[1]['temp_mb'] and lines[0]['strategy'] == 'scratch'
    assert tables.train('tables_train', 100, 4)['strategy'] == 'dense'


def write(folder, shapes, events=400):
    """The log of `open_log`, made here: a process of its own is slow."""
    histories.write_log(folder, shapes, events)
    return histories.BehaviourLog(folder)


@pytest.mark.slow
def test_a_hard_search_is_timed_from_the_log_on(capsys):
    timing.emit(sim.train_from_log('sim_train_hard'))
    line = json.loads(capsys.readouterr().out)
    assert KEYS <= line.keys() and line['examples_per_s'] == pytest.approx(16e3 / line['step_ms'], rel=1e-3)
    assert 0 < line['filled'] < 1 and 'loader and search included, 720 events' in line['shapes']


def test_every_window_of_the_log_is_full_and_a_search_finds_habits(tmp_path):
    shapes = Shapes(16, 3, 30, 40, 8, keep=4)
    log = write(tmp_path / 'log', shapes)
    assert len(log) == 400 // 33 * 41
    batches = {side: histories.make_source(log, shapes, side)[0] for side in ('long', 'kept', 'history')}
    assert (batches['long']['long/length'] == 30).all() and batches['long']['long/item'].shape == (16, 30)
    assert (batches['history']['history/length'] == 33).all()
    kept, length = batches['kept']['kept/category'], batches['kept']['kept/length']
    assert kept.shape == (16, 1, 4) and length.max() == 4
    same = kept == batches['kept']['candidate/category'][..., None]
    assert (same.sum(-1) == length).all()
    shares = [histories.filled(histories.make_source(log, shapes, side), side) for side in ('long', 'kept')]
    assert shares[0] == 1 and 0.5 < shares[1] < 1


@pytest.mark.parametrize('model', list(sim.MODELS))
def test_batches_are_what_the_models_read(model):
    """The ids that a step looks up are those of the promised shapes, and nothing is drawn in vain."""
    shapes = sim.NVIDIA if model == 'soft_dien' else sim.PEER
    setup = sim.make_setup(model, shapes)
    if sim.MODELS[model].side == 'kept':
        return
    batches = sim.make_batches(model, shapes)
    assert len(batches) == 4 and (batches[0]['candidate/item'] != batches[1]['candidate/item']).any()
    ids = setup.task.ids(batches[0])
    read = {key: x.shape for features in ids.values() for key, x in features.items()}
    unread = set(batches[0]) - set(read) - {'label', 'valid'}
    assert unread <= {'history/length', 'long/length'}
    assert sum(shape[1] for key, shape in read.items() if key in ('history/item', 'long/item')) == (
        shapes.short + shapes.long
    )


@pytest.mark.slow
def test_cost_against_length_has_a_line_a_length_and_a_picture(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(histories, 'open_log', lambda folder, shapes: log_of(folder, shapes))
    monkeypatch.setattr(sim_lengths, 'MODELS', ('hard', 'din'))  # searched by the loader, and not
    log_of = lambda folder, shapes: histories.BehaviourLog(folder) if folder.exists() else write(folder, shapes)
    benchmark.run('sim_lengths', str(tmp_path / 'plots' / 'lengths.png'))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = [(line['model'], line['length']) for line in lines]
    assert found == [(model, length) for model in ('hard', 'din') for length in (10, 20)]
    assert all(KEYS <= line.keys() and line['task'] == 'sim_lengths' for line in lines)
    assert [line['filled'] for line in lines[2:]] == [1] * 2
    assert (tmp_path / 'plots' / 'lengths.png').read_bytes().startswith(b'\x89PNG')
    monkeypatch.setattr(sim_lengths, 'MODELS', ('hard',))
    monkeypatch.setattr(sim_lengths, 'LENGTHS', (10,))
    scored = list(sim_lengths.run('sim_lengths_infer', training=False))
    assert [line['length'] for line in scored] == [10] and 'row_optimizer' not in scored[0]


def test_a_benchmark_that_is_none_and_a_plot_of_nothing_are_refused():
    with pytest.raises(ValueError, match=r"--name='sim' is no benchmark; choose one of .*'sim_train'"):
        benchmark.run('sim')
    with pytest.raises(ValueError, match=r"which sim_train does not vary: leave it out, .* 'sim_lengths"):
        benchmark.run('sim_train', 'plot.png')


def test_the_promised_names_exist():
    wanted = {
        'can_train',
        'can_din_train',
        'can_dien_train',
        'can_infer',
        'can_din_infer',
        'sim_train',
        'sim_infer',
        'sim_train_hard',
        'sim_train_eta',
        'sim_train_sdim',
        'sim_train_twin',
        'sim_train_din',
        'sim_train_nvidia',
        'sim_lengths',
        'tables_train_100k',
        'tables_train_1m',
        'tables_train_10m',
        'tables_train_100m_d16',
        'loader_ctr',
        'loader_hard',
        'loader_long',
        'ingest_1m',
        'age_score',
        'age_score_pgd',
        'age_score_ucb',
        'age_score_neural_ucb',
        'age_batch',
        'ingest_10m',
        'moe',
        'onerec_train',
        'onerec_train_moe',
        'onerec_train_row',
        'onerec_train_session',
        'onerec_beam',
        'onerec_beam_trie',
        'onerec_beam_row',
        'tokens_pass_10m',
        'sms_infer_dla34',
        'sms_infer_resnet18',
        'sms_infer_dla34_full',
        'sms_infer_resnet18_full',
        'sms_train',
        'sms_render',
    }
    assert wanted <= benchmark.BENCHMARKS.keys()


def test_searches_have_a_line_each_and_the_exact_ones_find_all(capsys):
    benchmark.run('sim_search')
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line['search'] for line in lines] == list(sim_search.SEARCHES)
    assert all(KEYS <= line.keys() and 0 <= line['recall'] <= 1 for line in lines)
    assert all(line['recall'] == 1 for line in lines if line['search'] != 'approx_max_k')


@pytest.mark.slow
def test_mixtures_stand_beside_the_dense_feed_forward(capsys):
    benchmark.run('moe')
    dense, own, *mixtures = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(KEYS <= line.keys() for line in mixtures)
    assert [line['mixture'] for line in (dense, own, *mixtures)] == [*moe.DENSE, *moe.MIXTURES]
    assert dense['params'] == own['params'] == 3 * 6 * 10 and mixtures[0]['params'] == 4 * 3 * 6 * 5 + 6 * 4
    ragged = {line['mixture']: line for line in mixtures if 'capacity' not in line['mixture']}
    assert all(line['dropped'] == 0 for line in ragged.values())
    assert 1 <= ragged['balanced']['load'] < ragged['skewed']['load'] <= 2
    assert all(line['of_dense'] > 0 < line['of_feed_forward'] for line in mixtures) and mixtures[-1]['dropped'] > 0


@pytest.mark.slow
def test_sessions_are_timed_by_examples_and_by_codes(capsys):
    timing.emit(onerec.train('onerec_train_session_moe', levels=3, session=2, experts=4))
    line = json.loads(capsys.readouterr().out)
    assert KEYS <= line.keys() and line['windows'] == 5
    assert line['tokens_per_s'] == pytest.approx(6 * line['examples_per_s'], rel=1e-2)
    assert 'B4 history20 session8 tokens L3' in line['shapes'] and '4 experts top 2 of ff5' in line['shapes']


@pytest.mark.slow
@pytest.mark.parametrize('name', slow_but_for(('onerec_beam_trie',), ('onerec_beam', 'onerec_beam_trie')))
def test_numbers_of_beams_have_a_line_each(name, capsys):
    benchmark.run(name)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line['beams'] for line in lines] == [2, 3] and all(KEYS <= line.keys() for line in lines)
    assert all(('trie of 50 items' in line['shapes']) == (name == 'onerec_beam_trie') for line in lines)


def test_experts_are_together_as_wide_as_the_dense_net():
    dense, mixed = onerec.make_task(4, 1).network, onerec.make_task(4, 1, 4).network
    assert dense.history * dense.tokens == onerec.TOKENS and not dense.experts
    assert mixed.experts == 4 and mixed.active * mixed.expert_hidden == dense.hidden


def test_batches_are_what_the_network_of_relation_segmentation_trains_on():
    task = sms.build_task('dla_tiny')
    assert sms.build_task('dla_tiny', read_stride=1).network.read_stride == 1 != task.network.read_stride
    batches = sms.make_batches(task.network)
    assert len(batches) == 4 and (batches[0]['image'] != batches[1]['image']).any()
    batch = batches[0]
    params, state = jax.eval_shape(task.init, jax.random.key(0), batch)
    _, (losses, _) = jax.eval_shape(lambda *x: task.loss(*x, {}, batch, None), params, state)
    assert {'mask', 'displacement', 'part', 'parsing'} <= set(losses)
    assert (batch['relation/subject'] != batch['relation/object']).all()
    assert (batch['relation/subject'] % 2 == 0).all() and not batch['entity/category'][:, ::2].any()
    assert batch['entity/valid'].sum() == 2 * 12 and batch['entity/mask'].any((2, 3)).mean() > 0.9
    words = sms.described(task.network, 1, sms.SIZE)
    assert words == 'B1 32x32 dla_tiny heads32 C141 V23 P25 8 masks 1/2 12 points 12 triplets float32'


def test_dense_feed_forwards_are_the_same_function():
    draw = np.random.default_rng(0)
    given = [draw.normal(size=shape).astype(np.float32) for shape in ((5, 6), (6, 20), (10, 6))]
    one, two = (jax.jit(run)(*given) for run in moe.DENSE.values())
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_the_row_that_is_timed_is_that_of_the_table():
    config, (task, batch) = get_beauty('OneRec'), onerec.row_task()
    given = {name: config.model[name] for name in config.model if name not in ('ids', 'beams')}
    ids, ranks = config.files.ids.arguments, task.network.levels[-1]
    assert task.network == read_network({**given, 'levels': (*[ids.clusters] * ids.levels, ranks)})
    assert batch == config.train.batch_size and task.network.experts == 8
    assert task.codes.shape == (52, 4) and (task.codes < task.network.levels).all()


@pytest.mark.slow
def test_the_row_of_the_table_is_timed(monkeypatch, capsys):
    small = {'width': 8, 'heads': 2, 'hidden': 8, 'expert_hidden': 4, 'history': 4}
    monkeypatch.setattr(onerec, 'ROW', onerec.ROW | small)
    monkeypatch.setattr(onerec, 'ROW_BATCH', 6)
    timing.emit(onerec.train('onerec_train_row', row=True))
    benchmark.run('onerec_beam_row')
    train, *beams = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    shapes = 'B6 history20 session5 tokens L4 C256 d8'
    assert shapes in train['shapes'] and '8 experts top 2' in train['shapes']
    assert train['tokens_per_s'] == pytest.approx(4 * train['examples_per_s'], rel=1e-2)
    assert [line['beams'] for line in beams] == [2, 3] and all(KEYS <= line.keys() for line in beams)


def test_a_pass_over_a_file_takes_every_vector_once(tmp_path, capsys):
    timing.emit(tokens.run('tokens_pass', items=130, clusters=8, windows=3))
    line = json.loads(capsys.readouterr().out)
    assert KEYS <= line.keys() and line['windows'] == 3 and line['process_rss_mb'] >= line['peak_rss_mb']
    assert line['load'] == pytest.approx(17 * 8 / 130, abs=1e-4) and line['shapes'].endswith('one pass')
    assert line['min_ms'] <= line['step_ms'] <= line['max_ms']
    tokens.write_vectors(tmp_path / 'vectors.npy', 130)
    written = np.load(tmp_path / 'vectors.npy')
    assert written.dtype == np.float32 and written.shape == (130, 4) and len(np.unique(written, axis=0)) == 130
