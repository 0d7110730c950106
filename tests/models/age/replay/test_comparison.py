"""AGE's table of replays as laid out: equal trials, thresholds in the world's units, published figures."""

import importlib
import json

import pytest
from ml_collections import ConfigDict

from configs.age import histories, simulated
from jaxrec.models.age.presets import CLICKS, PUBLISHED, THRESHOLDS
from jaxrec.models.age.replay import comparison as cells
from jaxrec.models.age.replay.replayer import walk
from jaxrec.models.age.tuning import UnreachedError
from jaxrec.runs.comparison.cells import Cell
from jaxrec.runs.comparison.tuning import choose, trial_cells
from tests.models.age.run_worlds import tiny


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp('logs')


def test_rows_with_a_network_are_tuned_alike(tmp_path):
    """The same number of trials, which try the same learning rates; what has nothing to tune has none."""
    table = importlib.import_module('configs.age.table_replay').get_config()
    for row in table.order:
        trials = [cell.chosen for cell in trial_cells(table, 'simulated', row, tmp_path)]
        rates = [trial.get('train.learning_rate') for trial in trials]
        if row in ('random', 'beta-TS'):
            assert trials == []
        elif row == 'LinUCB':
            assert len(trials) == 3 and set(rates) == {None}
        else:
            assert sorted(rates) == [3e-4, 1e-3, 3e-3] and rates[0] == 1e-3
            assert len({tuple(trial) for trial in trials}) == 1  # of the same numbers
            assert len(trials[0]) == 1 + (row not in ('DNN', 'Ensemble-TS'))


def test_no_model_of_the_table_reads_what_skipped_visits_taught():
    columns = importlib.import_module('configs.age.table_replay').get_config().columns
    assert all(set(column.features) == {'user', 'candidate'} for column in columns.values())
    assert set(histories.get_config().features) == {'user', 'candidate', 'history'}


def test_fixed_thresholds_keep_their_share_of_what_random_earns():
    files = {name: importlib.import_module(f'configs.age.{name}') for name in ('yahoo', 'open_bandit')}
    files['simulated'] = simulated
    earned = {'yahoo': 0.036, 'open_bandit': 0.0035, 'simulated': 0.036}
    assert list(THRESHOLDS.values()) == [0.02, 0.01, 0.005]
    for row, published in THRESHOLDS.items():
        for name, file in files.items():
            options = file.get_config(row).options
            assert options.gate == 'fixed'
            assert options.gate_threshold == pytest.approx(published / 0.036 * earned[name], abs=6e-5)
        assert abs(published / 0.036 - int(row[-3:-1]) / 100) < 0.01


def test_published_figures_are_of_all_and_of_half_the_stream():
    assert set(PUBLISHED) == set(CLICKS)
    assert PUBLISHED['AGE-TS'] == {
        'R6B clicks': '50,111', 'R6B clicks over random': '1.91',
        '50% of R6B clicks': '24,875', '50% of R6B clicks over random': '1.87',
    }  # fmt: skip
    assert set(PUBLISHED['AGE-TS FGM']) == {'R6B clicks', 'R6B clicks over random'}
    shown = importlib.import_module('configs.age.table_replay').get_config().shown
    assert {'early_clicks', 'early_regret', 'early_changed'} <= set(shown)


@pytest.mark.slow
def test_a_trial_that_no_lambda_opens_is_put_down_as_failed(cache, tmp_path, monkeypatch):
    closed = {'options': {'direction': 'fgm', 'gate': 'fixed', 'gate_threshold': 1.0}}
    table = ConfigDict({'columns': {'main': tiny('AGE-TS', cache, **closed)}, 'search': {}, 'trials': 1})
    cell = Cell(tmp_path / 'trial0', table.columns.main, ConfigDict({}), 0, {}, False)
    failed = cells.run_cell(cell, None)
    assert failed['validation'] is None and failed['failed'].startswith('no lambda up to 1e+06 changes 10.0%')
    assert cells.run_cell(cell, None) == failed == json.loads((tmp_path / 'trial0/result.json').read_text())
    with pytest.raises(ValueError, match=r'every trial of .* has failed, the first with: no lambda up to'):
        choose(table, 'main', [cell], [failed])
    judged = [failed, {'validation': 0.1, 'seconds': 1.0}, {'validation': 0.2, 'seconds': 1.0}]
    tried = [Cell(tmp_path, table.columns.main, ConfigDict({}), 0, {'a.b': n}, False) for n in range(3)]
    chosen, told = choose(table, 'main', tried, judged)
    assert chosen == {'a.b': 2} and told[0]['failed'] == failed['failed'] and 'failed' not in told[1]

    def closed_gate(*_):
        raise UnreachedError(failed['failed'])

    monkeypatch.setattr(cells, 'walk', closed_gate)  # it costs as much as a trial
    with pytest.raises(UnreachedError, match=r'no lambda up to 1e\+06'):
        cells.run_cell(Cell(tmp_path / 'seed0', table.columns.main, ConfigDict({}), 0, {}), None)


def test_a_test_that_falls_short_is_tuned_as_far_as_it_goes_and_says_so(cache, tmp_path, monkeypatch):
    asked = []

    def walked(config, *_):
        asked.append(config.stream.changed)
        if len(asked) == 1:
            raise UnreachedError('no lambda does', 0.07)
        return walk(config)

    monkeypatch.setattr(cells, 'walk', walked)
    cell = Cell(tmp_path / 'seed0', tiny('DNN', cache), ConfigDict({}), 0, {})
    result = cells.run_cell(cell, None)
    assert asked == [0.1, 0.07] and 'no lambda does; tuned to 7.0% instead' in result['caveat']
    assert cells.run_cell(cell, None) == result and len(asked) == 2  # finished, as the config asks for it
