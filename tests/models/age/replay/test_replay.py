"""AGE's replay: over any base, resumed, as a table, from what every method starts from."""

import importlib
import json
import os
import subprocess
import sys

import chex
import jax
import numpy as np
import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

from configs.age import histories, simulated
from jaxrec.configurable import resolve
from jaxrec.evaluation.replay import without_host
from jaxrec.evaluation.tallies import Tally, interval, summarise
from jaxrec.models.age.presets import ABLATED, ADDED, COMPARED, ROWS, SEARCH
from jaxrec.models.age.replay import comparison as cells
from jaxrec.models.age.replay import replayer as main
from jaxrec.models.age.replay.estimates import estimate
from jaxrec.models.age.replay.streams import build_policy, open_stream, warm
from jaxrec.runs.comparison.cells import Cell
from jaxrec.runs.comparison.fill import fill
from tests.conftest import REPOSITORY
from tests.data.extracts import open_bandit
from tests.models.age.run_worlds import shrink, tiny

RATE = {'train.learning_rate': 1e-3}
FIRST = {'stream.changed': SEARCH['AGE-TS']['stream']['changed'][0], **RATE}
# A gate that 400 visits have taught lets too few pass for every share to be reached.
FAST = {'options': {'direction': 'fgm', 'gate': 'none'}}
TASKS = {'DIN': 'jaxrec.models.baselines.din', 'SIM': 'jaxrec.models.sim', 'CAN': 'jaxrec.models.can'}


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp('logs')


def started(config):
    stream = open_stream(config)
    policy = build_policy(config, stream)
    return policy, stream, warm(config, policy, stream)


@pytest.fixture(scope='module')
def plain_dnn(cache):
    """The DNN after the warm-up, and at the end."""
    config = tiny('DNN', cache)
    return started(config)[2][0], main.walk(config)


@pytest.mark.slow
@pytest.mark.parametrize('base', TASKS)
def test_age_explores_over_any_base_by_one_field(cache, base):
    config = tiny('AGE-TS', cache, histories, **FAST)
    assert 'history' in config.features
    config.model.task = f'{TASKS[base]}:make_task'
    done = main.walk(config)
    found = summarise(done.state.tally)
    assert found['changed'] > 0 and found['visits'] == 1_100 and found['pcoc'] > 0
    assert done.tuned['explore_lambda'] > 0 and 0.02 < done.tuned['changed'] < 0.3


def test_a_base_without_widths_is_given_as_the_whole_section(cache):
    """As README and configs/age/histories.py say: the DNN's `dim` and `widths` go with its task."""
    task = 'jaxrec.models.baselines.lr:make_task'
    file = REPOSITORY / 'configs/age/histories.py'
    argv = ['replay', f'--config={file}:AGE-TS', f"--config.model={{'task': '{task}'}}"]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file('config', lock_config=True, flag_values=values, sys_argv=argv)
    values(argv)
    assert values.config.model.to_dict() == {'task': task}
    config = tiny('AGE-TS', cache, histories)
    stream = open_stream(config)
    config.model = values.config.model
    assert jax.tree.leaves(build_policy(config, stream).abstract(stream.before()))
    config.model = ConfigDict({'task': task, 'widths': (6, 4)})
    with pytest.raises(ValueError, match=r'model\.widths is not an option'):
        build_policy(config, stream)


def test_without_a_lambda_age_picks_what_the_dnn_picks(cache, plain_dnn):
    done = main.walk(tiny('AGE-TS', cache, options={'direction': 'fgm', 'explore_lambda': 0.0}))
    plainly = plain_dnn[1]
    assert done.tuned == {} and done.state.tally.changed == 0
    chex.assert_trees_all_close(done.state.policy.params['base'], plainly.state.policy.params, rtol=1e-5)
    same = ('visits', 'matches', 'clicks', 'chosen', 'best')
    assert [getattr(done.state.tally, n) for n in same] == [getattr(plainly.state.tally, n) for n in same]


def test_every_method_starts_from_the_same_model(cache, plain_dnn):
    for row in ('AGE-TS', 'GP-TS'):
        options = {'explore_lambda': 1.0} if row == 'AGE-TS' else {}
        state = started(tiny(row, cache, options=options))[2][0]
        ours = state.params['base'] if row == 'AGE-TS' else state.params
        chex.assert_trees_all_close(ours, plain_dnn[0].params, rtol=1e-6, atol=1e-8)
        chex.assert_trees_all_close(state.tables, plain_dnn[0].tables, rtol=1e-6, atol=1e-8)


def test_what_is_remembered_is_remembered_once(cache):
    """Windows overlap, so refits repeat events: the network learns them again, a count doesn't."""
    done = main.walk(tiny('beta-TS', cache))
    memory, tally = done.state.policy.model_state, done.state.tally
    events = done.stream.log.events
    warm_clicks = int(np.asarray(events['click'][:400]).sum())
    late = 400 + tally.matches - (float(sum(map(np.sum, memory.values()))) - 2 * memory['clicks'].size)
    assert 0 <= late < 60  # matches after the last refit
    assert 0 <= warm_clicks + tally.clicks - (float(memory['clicks'].sum()) - memory['clicks'].size) <= late


def test_a_replay_that_was_stopped_ends_as_an_unbroken_one(cache, tmp_path, monkeypatch):
    config = tiny('AGE-TS', cache, **FAST, replay={'told_at': 0.5})
    whole = main.walk(config)
    # The first eight batches of 128 are the first to hold half of what follows the 400 of the warm-up.
    assert whole.early.visits == 8 * 128 - 400 and whole.early.clicks <= whole.state.tally.clicks
    walked, calls = main._walk_on, []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return walked(*arguments)

    monkeypatch.setattr(main, '_walk_on', stop)
    with pytest.raises(KeyboardInterrupt):
        main.walk(config, tmp_path)
    monkeypatch.setattr(main, '_walk_on', walked)
    monkeypatch.setattr(main, 'warm', lambda *_: pytest.fail('the warm-up was learned again'))
    resumed = main.walk(config, tmp_path)
    assert resumed.state.tally == whole.state.tally and resumed.tuned == whole.tuned
    assert resumed.early == whole.early
    found, clicks = main.report(config, resumed), whole.early.clicks
    assert (found['early_visits'], found['early_clicks']) == (624, clicks) and 'early_caveat' not in found
    assert found['early_ctr'] == clicks / whole.early.matches
    assert f'early_ctr {found["early_ctr"]:.4g}' in main.to_text('AGE-TS', found)
    np.testing.assert_array_equal(resumed.state.rows, whole.state.rows)
    chex.assert_trees_all_equal(resumed.state.policy.params, whole.state.policy.params)
    again = main.walk(config, tmp_path)
    assert len(calls) == 5 and (again.state.tally, again.early) == (whole.state.tally, whole.early)


def test_counts_of_older_checkpoints_are_read():
    early = Tally(visits=9, matches=4, clicks=1, best=0.5)
    assert main._kept(early._asdict()) == main._kept(list(early)) == early and main._kept(None) is None


@pytest.mark.slow
def test_the_main_says_what_came_of_it(cache, tmp_path):
    file = tmp_path / 'config.py'
    file.write_text(
        'from tests.models.age.run_worlds import tiny\n\n\ndef get_config():\n'
        f"    return tiny('beta-TS', {str(cache)!r})\n"
    )
    arguments = [f'--config={file}', f'--workdir={tmp_path / "run"}']
    done = subprocess.run(
        [sys.executable, '-m', 'jaxrec', 'age', 'replay', *arguments],
        cwd=tmp_path, env=os.environ | {'PYTHONPATH': str(REPOSITORY), 'JAX_NUM_CPU_DEVICES': '1'},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / 'run' / 'replay.json').read_text())
    assert f'beta: {found["clicks"]} clicks in {found["matches"]} matches of 1,100 visits' in done.stdout
    assert found['ctr_low'] < found['ctr'] < found['ctr_high'] and 'by a bootstrap at 95%' in done.stdout
    assert found['caveat'] and found['caveat'] in done.stdout and 'off_policy' not in found
    assert f'true_ctr {found["true_ctr"]:.4g}' in done.stdout and 'regret' in done.stdout


@pytest.fixture(scope='module')
def table(cache):
    """The real table on the tiny world, of three rows."""
    table = importlib.import_module('configs.age.table_replay').get_config()
    for column in table.columns.values():
        kept = column.to_dict()
        shrink(column, cache)
        column.data.arguments.lifetime = kept['data']['arguments'].get('lifetime', 1.0)
    table.order, table.trials = ('random', 'DNN', 'AGE-TS'), 1
    table.only.null = ('random', 'DNN')
    table.rows['AGE-TS'].options.update(FAST['options'])
    return table


@pytest.mark.slow
def test_a_table_of_replays_is_filled(table, tmp_path, monkeypatch):
    fill(table, table.order, range(1), tmp_path, 1)
    summary = json.loads((tmp_path / 'table.json').read_text())
    assert list(summary) == ['random', 'DNN', 'AGE-TS', 'true probabilities']
    ours, best = summary['DNN'], summary['true probabilities']
    wanted = {'clicks', 'matches', 'ctr', 'true_ctr', 'regret', 'changed', 'ctr_over_random', 'seconds'}
    assert wanted | {'true_ctr_over_random', 'parameters'} <= ours.keys()
    assert wanted | {'true_ctr_minus_DNN', 'ctr_minus_DNN', 'tuned_changed'} <= summary['AGE-TS'].keys()
    for column in ('', 'null/'):
        reached = ours[f'{column}true_ctr']['mean'] + ours[f'{column}regret']['mean']
        assert best[f'{column}true_ctr']['mean'] == pytest.approx(reached)
    assert summary['random']['ctr_over_random'] == {'mean': 1.0, 'sd': 0.0, 'n': 1}
    assert 0.4 < ours['early_matches']['mean'] / ours['matches']['mean'] < 0.7
    assert {'early_true_ctr_over_random', 'early_true_ctr_minus_DNN'} <= summary['AGE-TS'].keys()
    trials = json.loads((tmp_path / 'trials.json').read_text())['simulated']
    # Rows with nothing to search run no trial.
    assert {row: [trial['values'] for trial in trials[row]] for row in table.order} == {
        'random': [], 'DNN': [RATE], 'AGE-TS': [FIRST],
    }  # fmt: skip
    text = (tmp_path / 'table.md').read_text()
    assert '| 50,111 |' in text and 'true_ctr_over_random' in text and '| 1.91 |' in text
    monkeypatch.setattr(cells, 'walk', lambda *_: pytest.fail('a finished cell was run again'))
    fill(table, table.order, range(1), tmp_path, 1)
    assert json.loads((tmp_path / 'table.json').read_text()) == summary


def test_every_row_of_every_file_builds(cache):
    """Each policy is drawn without being computed, and the table has every row of the paper."""
    stream = open_stream(tiny('DNN', cache))
    for row in ROWS:
        policy = build_policy(tiny(row, cache), stream)
        assert jax.tree.leaves(policy.abstract(stream.before()))
    assert {*COMPARED, *ADDED, *ABLATED} == set(ROWS) and len(ROWS) == 25
    for row, knobs in SEARCH.items():
        config = simulated.get_config(row)
        for section, keys in knobs.items():
            assert all(config[section][key] == choices[0] for key, choices in keys.items()), row
    for file in ('simulated', 'histories', 'yahoo', 'open_bandit'):
        config = importlib.import_module(f'configs.age.{file}').get_config('AGE-UCB')
        assert set(config) <= set(main.TOP) and callable(resolve(config.data.log, 'log'))


@pytest.fixture(scope='module')
def logged_by_propensities(tmp_path_factory):
    """The AGE-TS run on the extract of Open Bandit's other logger."""
    root = tmp_path_factory.mktemp('bandit')
    open_bandit.write(root / 'obd')
    config = importlib.import_module('configs.age.open_bandit').get_config('AGE-TS')
    config.data.arguments.update({'data_dir': str(root), 'behaviour': 'bts', 'campaign': 'men'})
    config.data.cache = str(root / 'cache')
    config.stream.update({'batch_size': 64, 'warm_up': 200, 'changed': 0.1})
    config.replay.update({'refit_every': 100, 'window': 200, 'accept': 'propensity', 'replicates': 100})
    config.model.update({'dim': 3, 'widths': (6, 4)})
    config.options.update(FAST['options'])
    return config


@pytest.mark.slow
def test_a_log_with_propensities_is_thinned_and_weighed(logged_by_propensities, tmp_path):
    config = logged_by_propensities
    done = main.walk(config, tmp_path)
    found = main.report(config, done)
    assert found['visits'] == 400 and 0 < found['matches'] < 100 and 'true_ctr' not in found
    assert list(found['off_policy']) == ['ips', 'snips', 'dm', 'dr']
    assert 'clicks (worth' in main.to_text('age', found).splitlines()[-1]
    config = config.copy_and_resolve_references()
    config.replay.accept = 'matches'
    with pytest.raises(ValueError, match=r"not uniform over its pool.* accept='propensity'"):
        main.walk(config)


@pytest.mark.slow
def test_a_uniform_log_is_weighed_on_request(cache):
    config = tiny('beta-TS', cache, replay={'replicates': 20})
    done = main.walk(config)
    assert 'off_policy' not in main.report(config, done)
    config.replay.off_policy = True
    found = main.report(config, done)['off_policy']
    assert list(found) == ['ips', 'snips', 'dm', 'dr'] and 'of 1100 visits' in found['ips']


@pytest.mark.slow
def test_a_stochastic_policy_is_weighed_by_its_propensities(logged_by_propensities):
    config = logged_by_propensities.copy_and_resolve_references()
    config.policy, config.options = 'epsilon_greedy', ConfigDict({'epsilon': 1.0})
    policy, stream, _ = started(config)
    found = estimate(config, policy, stream, replicates=20)
    clicks = np.asarray(stream.log.events['click'][200:], float)
    weights = 1 / stream.log.events['propensity'][200:] / 6
    assert found['ips'].value == pytest.approx((clicks * weights).mean(), rel=1e-4)
    assert found['ips'].matches == 400


def test_the_text_says_whose_interval_it_is():
    none = Tally(visits=4_000, matches=900)
    found = summarise(none) | {'refits': 1}
    found['ctr_low'], found['ctr_high'], found['interval'] = interval(none)
    assert "ctr 0.0000 [0.0000, 0.0043] by Wilson's interval at 95%" in main.to_text('dnn', found)


REFUSED = {
    'unknown section': ({'evaluation': {}}, r'config\.evaluation is not a section'),
    'misspelt key': ({'replay': {'refits_every': 3}}, r"refits_every is not an option; did you mean 'refit_"),
    'unknown policy': ({'policy': 'ucb1'}, r"policy = 'ucb1' does not exist; choose one of"),
    'share': ({'stream': {'share': 0.0}}, r'stream\.share = 0\.0: give a share'),
    'warm-up': ({'stream': {'warm_up': 1_500}}, r'stream\.warm_up = 1500 of 1500 visits'),
    'checkpoint': ({'replay': {'checkpoint_every': 0}}, r'replay\.checkpoint_every = 0: give at least 1'),
    'half-time': ({'replay': {'told_at': 1.0}}, r'replay\.told_at = 1\.0: give a share of the stream in'),
    'monitor': ({'replay': {'monitor': 'true_crt'}}, r"replay\.monitor = 'true_crt' does not exist: choose"),
    'target': ({'stream': {'changed': 1.5}}, r'target = 1\.5: give the share'),
    'log': ({'data': {'log': 'jaxrec.data.simulators.ctr:simulate'}}, r'is a behaviour log, of which no'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_bad_configs_are_refused(cache, name):
    changes, message = REFUSED[name]
    config = tiny('AGE-TS', cache, **{**FAST, **changes})
    if name == 'log':
        config.data.arguments = ConfigDict({'users': 30, 'items': 60, 'impressions': 5, 'seed': 0})
    with pytest.raises(ValueError, match=message):
        main.walk(config)


def test_a_real_log_has_no_true_rate_to_judge_by(cache, monkeypatch):
    stream = open_stream(tiny('DNN', cache))
    unknown = stream.__class__(stream.source, stream.warm_up, None)
    monkeypatch.setattr(main, 'open_stream', lambda *_: unknown)
    monkeypatch.setattr(main, 'warm', lambda *_: pytest.fail('the stream was walked'))
    with pytest.raises(ValueError, match=r"'true_ctr' is known of simulated worlds alone: choose one of \('ctr'"):
        main.walk(tiny('DNN', cache))


@pytest.mark.slow
def test_the_lambda_beneath_a_stochastic_policy_is_tuned(cache):
    """Epsilon of 0 over AGE is AGE: the same lambda and, to the click, the same picks."""
    options = {'direction': 'fgm', 'gate': 'none'}
    wrapped = tiny('AGE-TS', cache, **FAST)
    wrapped.policy = 'stochastic'
    wrapped.options = ConfigDict({'base': 'age', 'base_options': options, 'epsilon': 0.0})
    _, plain_tuned = started(tiny('AGE-TS', cache, **FAST))[2]
    policy, stream, (state, tuned) = started(wrapped)
    assert tuned == plain_tuned and tuned['explore_lambda'] > 0
    requests = without_host(stream.before())
    assert np.isfinite(policy.act(state, requests, jax.random.key(0)).propensity).all()


def test_bad_calls_are_refused(cache, tmp_path):
    cell = Cell(tmp_path, tiny('DNN', cache), ConfigDict({}), 0, {})
    with pytest.raises(ValueError, match=r'neither slices nor judges'):
        cells.run_cell(cell, None, ('unseen_pairs',))
    with pytest.raises(ValueError, match=r"no model 'AGE' for this data. Did you mean 'AGE-TS'"):
        tiny('AGE', cache)
    policy, stream, _ = started(tiny('random', cache, stream={'warm_up': 0}))
    with pytest.raises(ValueError, match=r'warm_up = 0 leaves nothing to train'):
        estimate(tiny('random', cache), policy, stream)
