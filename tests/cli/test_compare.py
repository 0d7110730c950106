"""Tables: rows by seeds by columns, tuned equally, each cell run once."""

import json
import types

import ml_collections
import numpy as np
import pytest

from jaxrec.cli import compare
from jaxrec.options import plain
from jaxrec.runs.comparison import cells
from jaxrec.runs.comparison.tables import spread, summarize, to_markdown
from jaxrec.runs.comparison.tuning import TUNING_SEED, draw_trials, trial_cells
from jaxrec.runs.workdir import hold
from tests.runs.worlds import tiny

METRICS = {'auc', 'gauc', 'logloss', 'pcoc'}
PARTS = ('features', 'data', 'train', 'mesh')


@pytest.fixture(scope='module')
def table(tmp_path_factory):
    """Two rows, two columns, two seeds, two trials, on the world of 80 users."""
    cache = tmp_path_factory.mktemp('logs')
    train = {'epochs': 1, 'evals_per_epoch': 1, 'eval_batch_size': 64}
    rows = {name: {key: tiny(name, cache)[key] for key in ('task', 'model')} for name in ('LR', 'DNN')}
    main = {key: tiny('LR', cache, train)[key] for key in PARTS}
    null = ml_collections.ConfigDict(main).copy_and_resolve_references()
    null.data.arguments.pair_effect = 0.0
    return ml_collections.ConfigDict(
        {
            'title': 'A tiny table',
            'columns': {'main': main, 'null': null},
            'main': 'main',
            'rows': rows,
            'order': ('LR', 'DNN'),
            'reference': 'LR',
            'seeds': 2,
            'trials': 2,
            'search': {'train': {'row_learning_rate': (0.1, 0.2)}, 'model': {'dim': (4, 3)}},
            'slices': ('unseen_pairs', 'long_histories'),
            'judges': ('tests.runs.worlds:count_tables',),
            'shown': ('auc', 'auc_unseen', 'auc_minus_LR', 'null/auc', 'seconds'),
            'published': {'LR': {'Elsewhere AUC': '.7'}},
            'note': 'A note.',
            'quick': {'seeds': 1, 'trials': 0},
        }
    )


@pytest.fixture
def run_compare(monkeypatch, table):
    """Calls the main with flags."""

    def call(workdir, seeds=None, rows=None, quick=False, **changes):
        changed = table.copy_and_resolve_references()
        changed.update(changes)
        given = {
            'CONFIG': changed,
            'WORKDIR': str(workdir),
            'SEEDS': seeds,
            'ROWS': rows,
            'QUICK': quick,
            'CELLS': None,
            'WORKERS': 1,  # what is stubbed out here is not in another process
            'DATA_DIR': None,
        }
        for name, value in given.items():
            monkeypatch.setattr(compare, name, types.SimpleNamespace(value=value))
        compare.main.__wrapped__([])
        return json.loads((workdir / 'table.json').read_text())

    return call


def fake_fit(calls):
    """Stands in for training: a number that depends on the whole config."""

    def fit(run, folder):
        calls.append((folder, plain(run.config)))
        folder.mkdir(parents=True, exist_ok=True)
        line = {'step': 1, 'part': 'validation', 'auc': 0.5 + run.train['row_learning_rate']}
        (folder / 'metrics.jsonl').write_text(json.dumps(line) + '\n')
        return types.SimpleNamespace(best=0.5 + run.train['row_learning_rate'])

    return fit


@pytest.fixture
def faked(monkeypatch):
    """Training and testing stubbed out; the list takes (folder, config) of every training."""
    calls: list = []
    monkeypatch.setattr(cells, 'fit', fake_fit(calls))
    result = lambda run, *_: {
        'test': {'auc': 0.6 + 0.1 * run.config.seed, 'auc_unseen': 0.5},
        'ceiling': {'auc': 0.9, 'auc_unseen': 0.8},
    }
    monkeypatch.setattr(cells, 'test_cell', result)
    return calls


def test_a_table_is_trained_and_tested(run_compare, table, tmp_path, monkeypatch):
    summary = run_compare(tmp_path, quick=True, rows=['LR'])
    ours, best = summary['LR'], summary['true probabilities']
    for values in (ours, best):
        assert METRICS | {f'null/{m}' for m in METRICS} | {'auc_unseen', 'share_unseen'} <= values.keys()
        assert values['examples_long']['mean'] == pytest.approx(values['share_long']['mean'] * 320)
        assert all(set(value) == {'mean', 'sd', 'n'} and value['n'] == 1 for value in values.values())
    assert best['logloss']['mean'] < ours['logloss']['mean'] and best['auc']['mean'] > ours['auc']['mean']
    result = json.loads((tmp_path / 'main' / 'LR' / 'seed0' / 'result.json').read_text())
    assert len(list(tmp_path.rglob('result.json'))) == 2 == len(list(tmp_path.rglob('curves.png')))
    assert max(value for _, value in result['curve']) == result['validation']
    assert ours['tables']['mean'] > 0 and 'tables' not in best  # what a judge says has no ceiling
    assert json.loads(result['config'])[2:] == [list(table.slices), list(table.judges)]
    # Finished cells are read, not run.
    monkeypatch.setattr(cells, 'fit', lambda *_: pytest.fail('a finished cell was run again'))
    assert run_compare(tmp_path, quick=True, rows=['LR']) == summary


def test_a_table_is_written(run_compare, faked, tmp_path, capsys):
    summary = run_compare(tmp_path)
    assert list(summary) == ['LR', 'DNN', 'true probabilities']
    assert 'auc_minus_LR' in summary['DNN'] and 'auc_minus_LR' not in summary['LR']
    text = (tmp_path / 'table.md').read_text()
    assert text in capsys.readouterr().out and 'A note.' in text
    assert '| LR | 0.6500 ± 0.0707 |' in text and '| .7 |' in text and '| DNN | 0.6500' in text
    assert (tmp_path / 'table.png').read_bytes()[:4] == b'\x89PNG'
    assert not list(tmp_path.glob('*.partial'))


def test_every_row_is_tuned_equally_and_every_cell_run_once(run_compare, faked, tmp_path):
    summary = run_compare(tmp_path)
    assert len(faked) == 2 * 2 * (2 + 2)  # columns x rows x (trials + seeds)
    trials = json.loads((tmp_path / 'trials.json').read_text())
    for column in ('main', 'null'):
        tried = [[trial['values'] for trial in trials[column][row]] for row in ('LR', 'DNN')]
        assert tried[0] == tried[1] and len(tried[0]) == 2
    by_folder = {folder.relative_to(tmp_path).as_posix(): config for folder, config in faked}
    world = lambda cell: by_folder[cell]['data']['arguments']
    assert world('main/DNN/trial0')['seed'] == by_folder['main/DNN/trial0']['seed'] == TUNING_SEED
    assert world('null/LR/seed1') == world('null/DNN/seed1')
    assert world('null/LR/seed1') == world('main/LR/seed1') | {'pair_effect': 0.0}
    assert 'dim' not in by_folder['main/LR/trial1']['model']
    # The best trial is what the seeds run.
    best = max(trials['main']['DNN'], key=lambda trial: trial['validation'])['values']
    assert by_folder['main/DNN/seed0']['train']['row_learning_rate'] == best['train.row_learning_rate']
    assert by_folder['main/DNN/seed0']['model']['dim'] == best['model.dim']
    assert summary['DNN']['auc'] == {'mean': pytest.approx(0.65), 'sd': pytest.approx(0.1 / 2**0.5), 'n': 2}
    faked.clear()
    assert run_compare(tmp_path) == summary and faked == []
    run_compare(tmp_path, seeds=3)
    assert sorted(folder.name for folder, _ in faked) == ['seed2'] * 4


def test_a_row_goes_on_from_what_was_chosen_of_another(run_compare, faked, tmp_path, table, monkeypatch):
    monkeypatch.setitem(table._fields, 'search', ml_collections.ConfigDict())
    search = {'train': {'row_learning_rate': (0.1, 0.2, 0.3)}}
    own = {'LR': search, 'DNN': {'train': {'learning_rate': (1e-3, 2e-3)}}}
    given = {'row_search': own, 'after': {'DNN': 'LR'}, 'only': {'null': ()}}
    run_compare(tmp_path, seeds=1, trials=3, **given)
    trials = json.loads((tmp_path / 'trials.json').read_text())['main']
    best = max(trials['LR'], key=lambda trial: trial['validation'])['values']
    assert best == {'train.row_learning_rate': 0.3} and len(trials['DNN']) == 2
    assert all(trial['values'].items() >= best.items() for trial in trials['DNN'])
    folders = [folder.relative_to(tmp_path).as_posix() for folder, _ in faked]
    wanted = ['LR/trial0', 'LR/trial1', 'LR/trial2', 'DNN/trial0', 'DNN/trial1', 'LR/seed0', 'DNN/seed0']
    assert folders == [f'main/{cell}' for cell in wanted]
    assert dict(faked)[tmp_path / 'main/DNN/seed0']['train']['row_learning_rate'] == 0.3
    with pytest.raises(ValueError, match="row 'DNN' goes on from what is chosen of 'LR': add this to --rows"):
        run_compare(tmp_path, rows=['DNN'], trials=3, after={'DNN': 'LR'})
    run_compare(tmp_path / 'untuned', seeds=1, rows=['DNN'], trials=0, after={'DNN': 'LR'})


def test_a_row_may_be_set_against_another_than_the_reference(run_compare, faked, tmp_path):
    summary = run_compare(tmp_path, trials=0, against={'LR': 'DNN'})
    assert summary['LR']['auc_minus_DNN'] == {'mean': 0, 'sd': 0, 'n': 2}
    assert 'null/auc_minus_DNN' in summary['LR'] and 'auc_minus_DNN' not in summary['DNN']
    assert 'auc_minus_LR' in summary['DNN']


def test_rows_and_seeds_may_be_chosen(run_compare, faked, tmp_path):
    summary = run_compare(tmp_path, seeds=1, rows=['DNN'])
    assert set(summary) == {'DNN', 'true probabilities'} and summary['DNN']['auc']['n'] == 1
    assert {folder.parent.name for folder, _ in faked} == {'DNN'}
    with pytest.raises(ValueError, match=r"--rows names 'SIM'; the table has \[.*'LR'"):
        run_compare(tmp_path, rows=['DNN', 'SIM'])
    with pytest.raises(ValueError, match=r'--seeds=0: a table needs at least 1 seed'):
        run_compare(tmp_path, seeds=0)


def test_of_a_cell_that_was_stopped_in_between_no_time_is_told(run_compare, faked, tmp_path):
    (tmp_path / 'main/LR/seed1/checkpoints').mkdir(parents=True)
    summary = run_compare(tmp_path, trials=0)
    told = ['seconds' in json.loads((tmp_path / f'main/LR/seed{s}/result.json').read_text()) for s in range(2)]
    assert told == [True, False]
    assert 'seconds' in summary['DNN'] and 'seconds' not in summary['LR']


def test_a_row_may_have_fewer_seeds_than_the_others(run_compare, faked, tmp_path):
    summary = run_compare(tmp_path, trials=0, row_seeds={'DNN': 1})
    cells = [folder.relative_to(tmp_path).as_posix() for folder, _ in faked]
    assert [cell for cell in cells if 'main' in cell] == ['main/LR/seed0', 'main/DNN/seed0', 'main/LR/seed1']
    assert [summary[row]['auc']['n'] for row in ('LR', 'DNN')] == [2, 1]
    first = json.loads((tmp_path / 'main/LR/seed0/result.json').read_text())['test']['auc']
    assert summary['DNN']['auc_minus_LR'] == spread([summary['DNN']['auc']['mean'] - first])
    text = (tmp_path / 'table.md').read_text()
    assert '2 seeds, of `DNN` 1, mean ± sample' in text and f'| DNN | {summary["DNN"]["auc"]["mean"]:.4f} |' in text
    run_compare(tmp_path, seeds=1, trials=0, row_seeds={'DNN': 1})
    assert (tmp_path / 'table.md').read_text().splitlines()[2].startswith('1 seeds, mean')
    with pytest.raises(ValueError, match=r"row_seeds names 'DIN'; the table has \[.*'LR'"):
        run_compare(tmp_path, row_seeds={'DIN': 1})


def test_a_column_may_have_some_rows_or_none(run_compare, faked, tmp_path):
    summary = run_compare(tmp_path / 'one', seeds=1, trials=0, only={'null': ('DNN',)})
    assert 'null/auc' in summary['DNN'] and 'null/auc' not in summary['LR']
    none = run_compare(tmp_path / 'none', seeds=1, trials=0, only={'null': ()})
    assert list(none) == ['LR', 'DNN', 'true probabilities']
    assert not any(metric.startswith('null/') for values in none.values() for metric in values)
    assert not (tmp_path / 'none' / 'null').exists()


def test_a_row_adds_to_sections_and_takes_them_out(tmp_path):
    base = ml_collections.ConfigDict(
        {'data': {'lifelong': {'length': 9}, 'arguments': {'seed': 3}}, 'train': {'epochs': 4}}
    )
    cell = lambda row: cells.Cell(tmp_path, base, ml_collections.ConfigDict(row), 7, {}).config()
    added = cell({'data': {'lifelong': {'search': 'hard'}, 'time_gap': {'unit': 1}}, 'train': {'epochs': 1}})
    assert plain(added.data) == {
        'arguments': {'seed': 7}, 'lifelong': {'length': 9, 'search': 'hard'}, 'time_gap': {'unit': 1},
    }  # fmt: skip
    assert added.train.epochs == 1 and added.seed == 7
    assert cell({'data': {'lifelong': None}}).data.lifelong is None
    assert plain(base.data) == {'arguments': {'seed': 3}, 'lifelong': {'length': 9}}


def test_a_workdir_that_another_process_fills_is_refused(run_compare, faked, tmp_path):
    with hold(tmp_path), pytest.raises(ValueError, match=rf'{tmp_path} is in use by another run .* another --workdir'):
        run_compare(tmp_path)
    assert faked == [] and [path.name for path in tmp_path.iterdir()] == ['.lock']
    assert run_compare(tmp_path) == run_compare(tmp_path)


def test_a_cell_whose_config_changed_is_not_taken_for_finished(run_compare, tmp_path, table, monkeypatch, faked):
    run_compare(tmp_path, seeds=1, rows=['LR'])
    faked.clear()
    monkeypatch.setitem(table.columns.main.train._fields, 'learning_rate', 0.123)
    run_compare(tmp_path, seeds=1, rows=['LR'])
    assert {folder.relative_to(tmp_path).parts[0] for folder, _ in faked} == {'main'}


def test_trials_are_drawn_by_seed_and_the_first_is_the_default():
    search = {'train.learning_rate': (1e-3, 3e-3), 'model.row_l2': (0.0, 1e-3, 1e-2)}
    trials = draw_trials(search, 30, 0)
    assert trials == draw_trials(search, 30, 0) != draw_trials(search, 30, 1)
    assert trials[0] == {'train.learning_rate': 1e-3, 'model.row_l2': 0.0}
    assert len({tuple(trial.values()) for trial in trials}) == 6


def test_trials_may_be_shorter_than_cells(tmp_path, table):
    shorter = ml_collections.ConfigDict({**table, 'trial': {'data': {'arguments': {'users': 7}}}})
    for given, users in ((table, table.columns.main.data.arguments.users), (shorter, 7)):
        trials = trial_cells(given, 'main', 'DNN', tmp_path)
        assert [trial.config().data.arguments.users for trial in trials] == [users] * 2
    assert shorter.columns.main.data.arguments.users != 7


@pytest.mark.parametrize(
    ('values', 'maximize', 'expected'),
    [
        ([0.5, 0.7, 0.6], True, True),  # peaked
        ([0.5, 0.6, 0.7], True, False),  # still rising
        ([0.7, 0.7002, 0.7004], True, True),  # gained less than .001
        ([0.7], True, False),
        ([0.7, 0.6, 0.5], False, False),  # still falling
        ([0.7, 0.5, 0.6], False, True),
    ],
)
def test_when_a_row_counts_as_trained(tmp_path, values, maximize, expected):
    lines = [{'step': i, 'part': 'validation', 'm': value} for i, value in enumerate(values)]
    (tmp_path / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    assert cells.trained(tmp_path, 'm', maximize) == expected


def test_a_summary_pairs_the_seeds(caplog):
    table = ml_collections.ConfigDict(
        {'columns': {'a': {}}, 'main': 'a', 'reference': 'LR', 'title': 't', 'shown': ('auc',)}
    )
    cell = lambda auc: {'test': {'auc': auc}, 'trained': True, 'seconds': 1.0, 'parameters': 2000}
    summary = summarize(table, {'a': {'LR': [cell(0.5), cell(0.7)], 'DNN': [cell(0.6), cell(0.9)]}})
    assert summary['DNN']['auc_minus_LR'] == {
        'mean': pytest.approx(0.15), 'sd': pytest.approx(np.std([0.1, 0.2], ddof=1)), 'n': 2,
    }  # fmt: skip
    assert spread([0.5]) == {'mean': 0.5, 'sd': 0.0, 'n': 1}
    assert '| DNN | 0.7500 ± 0.2121 |' in to_markdown(table, summary, 2)
    assert not caplog.messages
    table.shown = ('auc', 'uac')
    assert to_markdown(table, summary, 2).count('|\n') == 4 and 'no row that was run has uac' in caplog.text


def test_a_summary_holds_what_all_seeds_have():
    table = ml_collections.ConfigDict({'columns': {'a': {}}, 'main': 'a', 'reference': 'LR'})
    cell = lambda test: {'test': test, 'ceiling': {'auc': 0.9, 'x': 1}, 'trained': True, 'seconds': 1.0}
    results = {
        'LR': [cell({'auc': 0.5}), cell({'auc': 0.6})],
        'SIM': [cell({'auc': 0.7, 'auc_long': 0.6, 'recall': 0.3}), cell({'auc': 0.7, 'recall': 0.5})],
    }
    summary = summarize(table, {'a': results})
    assert summary['SIM'].keys() == {'auc', 'recall', 'auc_minus_LR', 'trained', 'seconds'}
    assert summary['SIM']['recall']['mean'] == pytest.approx(0.4)
    assert summary['true probabilities'].keys() == {'auc'}
