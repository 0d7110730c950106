"""A cell of each kind of OneRec's table, on a tiny world: judged, and read again when finished.

Alignment trains. What `fit` trains, as it does any run, is drawn instead: steps compile slowly.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.onerec import table_simulated
from jaxrec.models.onerec import comparison as cells
from jaxrec.models.onerec.reward import train as reward_model
from jaxrec.models.onerec.task import CODES
from jaxrec.options import lay_over
from jaxrec.runs.comparison.cells import Cell
from jaxrec.runs.comparison.tuning import TUNING_SEED, trial_cells
from jaxrec.runs.workdir import claim, open_checkpoints
from jaxrec.training.state import abstract_state
from tests.models.onerec.run_worlds import NETWORK, SEQUENTIAL
from tests.runs.worlds import SESSIONS

REWARD = {'dim': 4, 'width': 8, 'heads': 2, 'attention': (4,), 'towers': (4,)}
TRAIN = {'batch_size': 16, 'eval_batch_size': 32, 'epochs': 1, 'log_every': 2, 'evals_per_epoch': 1}
ALL = (
    'judge_reward_mean',
    'judge_swt_max',
    'true_reward_mean',
    'true_ltr_max',
    'true_reward_first',
    'rank_correlation',
    'recall@10',
)


def tiny(cache):
    """The table's config on 60 users and 49 items, sessions of 2."""
    table = table_simulated.get_config()
    for name in table.columns:
        column = table.columns[name]
        known = {key: value for key, value in SESSIONS.items() if key != 'seed'}
        small = {
            'mesh': (1, 1),
            'data': {'arguments': known, 'cache': str(cache), 'history_length': 6},
            'files': {'ids': {'arguments': {'clusters': 8, 'levels': 1, 'behaviour': 4}}},
            'train': TRAIN,
            'judge': {'data': {'session': 2}, 'model': REWARD, 'train': TRAIN},
            'align': {'beams': 4, 'passes': 1.0, 'ratio': 0.1, 'chunk': 4, 'judged': 4},
            'judged': {'sessions': 3, 'items': 2, 'beams': 4, 'requests': 6, 'tuned_on': 4, 'chunk': 4},
        }
        lay_over(column, small)
        lay_over(column.judged, {'data': {'session': 2}})
        lay_over(column.judged, {'named': {'session': 2, 'quality': {'watched': 2}}})
    for name in table.rows:
        row = table.rows[name]
        one = 'size' not in row.model
        lay_over(row, {'model': SEQUENTIAL if one else NETWORK | {'experts': 0}})
        if row.data.source == 'sessions':
            row.data.session = row.model.session = 2
            row.data.quality = ConfigDict({'watched': 2})
    return table


def draw(run, folder, data_dir):
    """In place of `fit`: a checkpoint whose parameters are random."""
    folder.mkdir(parents=True, exist_ok=True)
    claim(folder, run.config)
    shapes, rng = (abstract_state(run.setup, run.example(run.source('train', shuffle=True))), np.random.default_rng(0))
    place = lambda x, value: jax.device_put(np.asarray(value, x.dtype), x.sharding)
    normal = lambda tree: jax.tree.map(lambda x: place(x, 0.4 * rng.normal(size=x.shape)), tree)
    zeros = lambda tree: jax.tree.map(lambda x: place(x, np.zeros(x.shape)), tree)
    state = shapes.replace(
        step=place(shapes.step, 7), params=normal(shapes.params), tables=normal(shapes.tables),
        opt_state=zeros(shapes.opt_state), row_opt_state=zeros(shapes.row_opt_state), scratch={},
        rng=jax.device_put(jax.random.key(0), shapes.rng.sharding),
        model_state={CODES: run.setup.task.codes} if CODES in shapes.model_state else {},
    )  # fmt: skip
    with open_checkpoints(run, folder) as checkpoints:
        rows = {name: spec.rows for name, spec in run.setup.task.tables.items()}
        checkpoints.save(state, {}, table_rows=rows, data=None, metrics={run.train['monitor']: 0.5})
    line = {'step': 7, 'part': 'validation', run.train['monitor']: 0.5}
    (folder / 'metrics.jsonl').write_text(json.dumps(line) + '\n')


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """The table, its folder, and the results of a cell of each kind."""
    folder = tmp_path_factory.mktemp('table')
    table = tiny(folder / 'logs')
    cell = lambda row: Cell(folder / 'main' / row / 'seed1', table.columns.main, table.rows[row], 1, {})
    rows = ('SASRec', 'OneRec', 'OneRec+IPA')
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cells, 'fit', draw)
        patched.setattr(reward_model, 'fit', draw)
        return table, folder, cell, {row: cells.run_cell(cell(row), None) for row in rows}


@pytest.mark.slow
def test_a_cell_of_each_kind_is_trained_and_judged(made):
    _, folder, _, results = made
    for row, result in results.items():
        test = result['test']
        assert set(ALL) <= test.keys() and test['written'] == 3, row
        for who in ('judge', 'true'):
            of_heads = sum(test[f'{who}_{head}_mean'] for head in ('swt', 'vtr', 'wtr', 'ltr'))
            np.testing.assert_allclose(test[f'{who}_reward_mean'], of_heads, rtol=1e-5)
            assert test[f'{who}_reward_max'] >= test[f'{who}_reward_mean']
        assert ('ntp' in test) == row.startswith('OneRec') and result['parameters'] > 500
        assert ('trained' in result) == ('validation' in result) == ('+' not in row)
    before = results['OneRec']['test']
    test = results['OneRec+IPA']['test']
    assert test['ntp_before'] == before['ntp'] != test['ntp']
    assert test['recall@10_before'] == before['recall@10']
    for who in ('judge', 'true'):
        gain = test[f'{who}_reward_mean'] - before[f'{who}_reward_mean']
        np.testing.assert_allclose(test[f'{who}_gain'], gain, rtol=1e-9)
    # Of the parts that cells share there is one each.
    kinds = sorted(path.parent.name.partition('-')[0] for path in (folder / 'shared').glob('*/done'))
    assert kinds == ['generator', 'judge', 'tested']


@pytest.mark.slow
def test_the_judge_learns_from_other_users_than_the_rows(made):
    cell, users = made[2], []
    for config in (
        cells.judge_config(cell('OneRec')),
        *(cells.own_run(cell(r).config()) for r in ('OneRec', 'TIGER', 'SASRec')),
    ):
        source = cells.build(config).source('train')
        users.append({int(user) for batch in cells.batches(source) for user in batch['host/group']} - {0})
    assert len(users[0]) > 10 and all(len(of) > 10 and not users[0] & of for of in users[1:])


@pytest.mark.slow
def test_a_finished_cell_is_read(made, monkeypatch):
    _, _, cell, results = made
    monkeypatch.setattr(cells, 'build', None)
    monkeypatch.setattr(cells, 'prepare', None)
    for row, result in results.items():
        found = cells.run_cell(cell(row), None)
        assert json.loads(json.dumps(result)) == found


@pytest.mark.slow
def test_a_trial_reads_validation_alone(made):
    table, folder, _, results = made
    chosen = {'align.beta': 0.3, 'train.learning_rate': 0.5}
    trial = lambda row: Cell(folder / 'main' / row / 'trial0', table.columns.main, table.rows[row], 1, chosen, False)
    assert trial('OneRec+IPA').config().align.beta == 0.3
    chosen.clear()  # the generator is found
    result = cells.run_cell(trial('OneRec'), None)
    assert 'test' not in result and result['validation'] == results['OneRec']['validation'] == -0.5  # the loss
    assert set(cells.JUDGED) == result['judged'].keys()


@pytest.mark.slow
def test_rewards_are_of_all_requests_and_names_of_those_of_quality(made):
    _, _, cell, _ = made
    row = cells._Row(cell('SASRec'), cell('SASRec').config(), None)
    run = cells.build(row.run_config)
    every, named = (row._requests(run, 'test', which) for which in ('data', 'named'))
    assert every.selection is None and every.choose == 'first' and every.left_out.keys() == {'other users'}
    assert named.selection is not None and named.choose == 'positive' and every.examples > named.examples > 5
    users = lambda source: {int(user) for batch in cells.batches(source) for user in batch['host/group']}
    assert users(named) <= users(every)


def test_a_ranking_has_room_beside_what_it_has_to_name(monkeypatch):
    made = []
    monkeypatch.setattr(cells, 'make_recommender', lambda run, state, **sizes: made.append(sizes['beams']))
    row = object.__new__(cells._Row)
    row.options, row._made = cells.JUDGED_OPTIONS, None
    row._writes_sessions = lambda run: run == 'OneRec'
    for run, beams in (('OneRec', [32, 32]), ('TIGER', [4 * 8 * 5])):
        row._recommenders(run, run)
        assert made == beams
        made.clear()


def test_first_sessions_are_shown_and_paired():
    table = table_simulated.get_config()
    assert {'judge_reward_first', 'true_reward_first', 'null/true_reward_first'} <= set(table.shown)
    paired = {name.rpartition('/')[2].partition('_minus_')[0] for name in table.shown if '_minus_' in name}
    assert paired <= set(table.paired) and 'true_reward_first' in paired
    # Alignments are chosen by what rows of both kinds are compared by.
    assert cells.MONITOR == 'judge_reward_first' and cells.MONITOR in table.paired
    for name in table.columns:
        judged = table.columns[name].judged
        assert judged.data.quality is None and judged.named.quality.watched == 5


def test_what_cells_share_is_made_once(tmp_path):
    made, config = [], ConfigDict({'a': 1})
    make = lambda folder, config: made.append(folder.name)
    first = cells.made_once(tmp_path, 'x', config, make)
    assert cells.made_once(tmp_path, 'x', config, make) == first and made == [first.name]
    assert cells.made_once(tmp_path, 'x', ConfigDict({'a': 2}), make) != first and len(made) == 2

    def stopped(folder, config):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cells.made_once(tmp_path, 'y', config, stopped)
    cells.made_once(tmp_path, 'y', config, make)  # what was stopped goes on
    assert len(made) == 3


def test_another_process_waits_for_what_is_being_made(tmp_path):
    config, made = ConfigDict({'a': 1}), []

    def slow(folder, config):
        made.append(folder)
        time.sleep(0.3)

    with ThreadPoolExecutor(2) as pool:  # each opens the lock for itself, as processes do
        for _ in range(2):
            pool.submit(cells.made_once, tmp_path, 'x', config, slow)
    assert len(made) == 1


def test_every_preference_loss_has_as_many_trials(tmp_path):
    table = table_simulated.get_config()
    counts = {row: len(trial_cells(table, 'main', row, tmp_path)) for row in table.order}
    assert {row for row, count in counts.items() if not count} == {'OneRec+NTP'}
    assert set(counts.values()) == {0, table.trials}
    trials = trial_cells(table, 'main', 'OneRec+SimPO', tmp_path)
    assert {cell.seed for cell in trials} == {TUNING_SEED} and not any(cell.test for cell in trials)
    first = trials[0].config()
    assert first.align.beta == table.rows['OneRec+SimPO'].align.beta == 2.0 and first.align.method == 'simpo'
    # All alignments of a seed begin at one generator, that which was chosen.
    best = trial_cells(table, 'main', 'OneRec', tmp_path)[2]
    runs = [cells.own_run(cell.config()) for row in table.order if table.after.get(row) == 'OneRec'
            for cell in trial_cells(table, 'main', row, tmp_path, best.chosen)]  # fmt: skip
    assert len(runs) == 8 * table.trials and all(run == cells.own_run(best.config()) for run in runs)


@pytest.mark.slow
def test_a_table_of_sessions_has_no_slices(made):
    with pytest.raises(ValueError, match='has neither slices nor judges: leave them out'):
        cells.run_cell(made[2]('OneRec'), None, ('unseen_pairs',))
