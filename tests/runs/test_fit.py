"""Runs in a workdir: resumed bit for bit, evaluated alike on any mesh, guarded against another config."""

import errno
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxrec.runs import fit as running
from jaxrec.runs import restore as restoring
from jaxrec.runs import workdir as workdirs
from jaxrec.runs.build import build
from jaxrec.training.checkpoints import row_files
from jaxrec.training.state import init_state
from tests.runs.worlds import assert_saved_alike, saved, tiny


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp('logs')


# Lazy Adam, clipping and a checkpoint between evaluations: all that a resumed run could forget.
EVERYTHING = {
    'row_optimizer': 'lazy_adam',
    'row_learning_rate': 0.01,
    'clip_norm': 1.0,
    'keep': 1,  # what is kept beside it depends on where a run was stopped
    'checkpoint_every': 7,
    'patience': 5,
    'batch_size': 64,
}


def test_a_stopped_and_resumed_run_equals_an_unbroken_one(cache, tmp_path, monkeypatch):
    run = build(tiny('CAN-DNN', cache, EVERYTHING))
    step_fn, at, kills = running.make_train_step(run.setup), [0], set()

    def killable(state, batch):
        at[0] += 1
        if at[0] in kills:
            os.kill(os.getpid(), signal.SIGTERM)
        return step_fn(state, batch)

    predict = running.make_predict_step(run.setup)
    monkeypatch.setattr(running, 'make_train_step', lambda setup: killable)  # compiled once for all parts
    monkeypatch.setattr(running, 'make_predict_step', lambda setup: predict)
    whole = running.fit(run, tmp_path / 'whole')
    steps = len(run.source('train', shuffle=True))
    assert steps == 34  # two epochs

    stops = sorted(random.Random(2).sample(range(2, steps - 1), 2))
    for begin, stop in zip([0, *stops], stops):  # noqa: B905 - the last part is not stopped
        at[0], kills = begin, kills | {stop}
        with pytest.raises(SystemExit) as exit_:
            running.fit(run, tmp_path / 'parts')
        assert exit_.value.code == 0
    at[0] = stops[-1]
    kills.clear()
    parts = running.fit(run, tmp_path / 'parts')

    assert parts == whole
    assert_saved_alike(saved(run, tmp_path / 'parts'), saved(run, tmp_path / 'whole'))
    lines = [(tmp_path / name / 'metrics.jsonl').read_text() for name in ('whole', 'parts')]
    assert lines[0] == lines[1] and len(lines[0].splitlines()) == 4 + 4
    assert (tmp_path / 'parts' / 'curves.png').stat().st_size > 1000


@pytest.fixture(scope='module')
def sharded(cache, tmp_path_factory):
    """A run trained with its tables cut over 8 devices, which divide none of their sizes."""
    workdir = tmp_path_factory.mktemp('sharded')
    config = tiny('CAN-DNN', cache, {'epochs': 1})
    config.mesh = (8, 1)
    run = build(config)
    rows = workdirs.table_rows(run)
    assert rows['item'] % 8 and rows['item'] % 4 and rows['user'] % 8
    running.fit(run, workdir)
    return config, workdir


def test_a_sharded_checkpoint_evaluates_alike_on_fewer_devices(sharded):
    config, workdir = sharded
    scores = {}
    for shape in ((8, 1), (2, 2), (1, 1)):
        run = build(config, mesh_shape=shape)
        evaluator, step = restoring.score(run, workdir)
        scores[shape] = evaluator.compute(), evaluator.columns()['probability'], step
    whole = scores[8, 1]
    assert whole[0]['examples'] == 80 * 4
    for metrics, probability, step in scores.values():
        assert abs(metrics['auc'] - whole[0]['auc']) <= 1e-6 and step == whole[2]
        np.testing.assert_allclose(probability, whole[1], rtol=1e-5)


def test_the_best_checkpoint_is_scored_unless_a_step_is_named(sharded):
    config, workdir = sharded
    run = build(config)
    lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    validation = {line['step']: line for line in lines if line['part'] == 'validation'}
    best = max(validation, key=lambda step: (validation[step]['auc'], step))
    evaluator, step = restoring.score(run, workdir, 'validation')
    assert step == best
    for metric, value in evaluator.compute().items():
        assert value == pytest.approx(validation[best][metric], rel=1e-6)
    with pytest.raises(ValueError, match=r'no checkpoint of step 1; it has the steps'):
        restoring.score(run, workdir, step=1)
    run.log.manifest['fingerprint'] = '0123456789abcdef'
    with pytest.raises(ValueError, match=r'is another log than the checkpoint was trained on .* 0123456789ab'):
        restoring.score(run, workdir)


@pytest.mark.parametrize(('times', 'share'), [(2, 1 / 2), (0.25, 4), (1e9, 0)])
def test_evaluations_fall_once_in_some_epochs_or_some_times_in_one(cache, times, share):
    config = tiny('DNN', cache, {'epochs': 4})
    with config.ignore_type():
        config.train.evals_per_epoch = times
    run = build(config)
    source = run.source('train', shuffle=True)
    assert run.loop_options(source).eval_every == max(1, int(np.ceil(source.steps * share)))


def test_what_is_left_out_of_a_log_is_told():
    manifest = {'provenance': 'real', 'counts': {'events': 3, 'people': 0}, 'dropped': {}}
    assert running.told_of(manifest) == 'real, 3 events'
    dropped = {'broken image': 2, 'crowds': 0, 'twice': 1}
    assert running.told_of(manifest | {'dropped': dropped}).endswith('; left out: 2 x broken image, 1 x twice')


@pytest.mark.slow
def test_dien_trains_with_negatives_and_is_scored_without(cache, tmp_path):
    run = build(tiny('DIEN', cache, {'epochs': 1, 'evals_per_epoch': 1}))
    wanted = {part: run.source(part, shuffle=part == 'train')[0] for part in ('train', 'validation', 'test')}
    assert {part for part, batch in wanted.items() if 'history_negative/item' in batch} == {'train'}
    running.fit(run, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    for line in lines:
        if line['part'] == 'train':
            assert 0 < line['auxiliary'] and line['loss'] == pytest.approx(line['logloss'] + line['auxiliary'])
        else:
            assert 'auxiliary' not in line
    evaluator, _ = restoring.score(run, tmp_path)
    assert evaluator.compute()['examples'] == 80 * 4


def test_the_ceiling_is_that_of_the_true_probabilities(sharded):
    run = build(sharded[0])
    best = restoring.ceiling(run, 'train')
    evaluator, _ = restoring.score(run, sharded[1], 'train')
    assert best['examples'] == evaluator.compute()['examples']
    assert best['logloss'] < evaluator.compute()['logloss'] and 0.8 < best['pcoc'] < 1.2


def test_another_config_does_not_touch_a_workdir(sharded, cache):
    config, workdir = sharded
    other = config.copy_and_resolve_references()
    other.train.learning_rate = 0.5
    with pytest.raises(
        ValueError, match=r'another config \(train\.learning_rate was 0\.001 and is 0\.5\); use another'
    ):
        running.fit(build(other), workdir)
    assert json.loads((workdir / 'config.json').read_text())['train']['learning_rate'] == 0.001


def test_a_run_that_cannot_begin_leaves_its_workdir_to_the_next(cache, tmp_path):
    with pytest.raises(ValueError, match='no batch of 100000: lower batch_size'):
        running.fit(build(tiny('LR', cache, {'batch_size': 100_000})), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['.lock']


# Another process that holds the lock of the folder it is given until it is killed.
HOLDER = """
import fcntl, os, sys, time
file = open(sys.argv[1] + '/.lock', 'w')
fcntl.flock(file, fcntl.LOCK_EX)
print(os.getpid(), file=file, flush=True)
print('held', flush=True)
time.sleep(120)
"""


def test_two_processes_do_not_write_one_workdir(cache, tmp_path):
    run, workdir = build(tiny('LR', cache, {'epochs': 1})), tmp_path / 'run'
    workdir.mkdir()
    other = subprocess.Popen([sys.executable, '-c', HOLDER, str(workdir)], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == 'held\n'
    message = rf'{workdir} is in use by another run \(process {other.pid}\): wait .* another --workdir'
    with pytest.raises(ValueError, match=message):
        running.fit(run, workdir)
    assert [path.name for path in workdir.iterdir()] == ['.lock']
    other.kill()  # as a machine that loses power would: nothing has to be cleaned up
    other.communicate()
    assert running.fit(run, workdir).best_step > 0
    with workdirs.hold(workdir):  # a run that has ended holds nothing
        pass


def test_a_run_that_fails_lets_go_of_its_workdir(tmp_path):
    with pytest.raises(ZeroDivisionError), workdirs.hold(tmp_path):
        with pytest.raises(ValueError, match=rf'in use by another run \(process {os.getpid()}\)'):
            workdirs.hold(tmp_path).__enter__()
        raise ZeroDivisionError
    with workdirs.hold(tmp_path):
        assert (tmp_path / '.lock').read_text() == f'{os.getpid()}\n'


def test_a_folder_without_locks_is_reported(tmp_path, monkeypatch, caplog):
    def flock(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', flock)
    with workdirs.hold(tmp_path):
        assert f'{tmp_path} cannot be locked' in caplog.text


def test_processes_claim_a_workdir_together(cache, tmp_path, monkeypatch):
    config, other = tiny('LR', cache), tiny('LR', cache)
    other.seed = 77
    workdirs.claim_together(tmp_path, config)
    monkeypatch.setattr(workdirs.jax, 'process_index', lambda: 1)
    workdirs.claim_together(tmp_path, config)  # the first has written what this one would have
    with pytest.raises(ValueError, match=r'holds a run of another config \(seed was \d+ and is 77\)'):
        workdirs.claim_together(tmp_path, other)
    monkeypatch.setattr(workdirs, 'gather', lambda seen: [True, seen])
    with pytest.raises(ValueError, match=r'elsewhere of process 0 is not seen by process 1: give a --workdir on'):
        workdirs.claim_together(tmp_path / 'elsewhere', config)
    assert not (tmp_path / 'elsewhere').exists()


@pytest.mark.slow
def test_a_save_may_take_as_long_as_the_config_says(cache, tmp_path, monkeypatch):
    write_rows = row_files.write_rows
    monkeypatch.setattr(row_files, 'write_rows', lambda *given: time.sleep(1.5) or write_rows(*given))
    run = build(tiny('LR', cache, {'save_timeout': 1}))
    state = init_state(run.setup, run.example(run.source('train')), 0)
    given = {'table_rows': workdirs.table_rows(run)}
    message = r'checkpoints/0, about [\d.]+ MB, was not written within 1 s .* give a save more time by train\.'
    with workdirs.open_checkpoints(run, tmp_path / 'short') as checkpoints:
        with pytest.raises(ValueError, match=message):
            checkpoints.save(state, {}, **given)
    for train in ({'save_timeout': 60}, {}):
        run = build(tiny('LR', cache, train))
        with workdirs.open_checkpoints(run, tmp_path / f'long{len(train)}') as checkpoints:
            checkpoints.save(state, {}, **given)
            assert checkpoints.steps == [0]
    assert checkpoints.timeout_s >= 3600
    with pytest.raises(ValueError, match=r'train\.save_timeout = 0: give at least 1'):
        build(tiny('LR', cache, {'save_timeout': 0}))
