"""A reward model is calibrated and evaluated before it judges; whom it may judge, for which alignments."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxrec.data.simulators import sessions
from jaxrec.models.onerec.alignment import setup as alignment
from jaxrec.models.onerec.alignment.task import steps_an_iteration
from jaxrec.models.onerec.reward import open_scorer as benches
from jaxrec.models.onerec.reward import train as reward_model
from jaxrec.models.onerec.reward.shown import HEADS
from jaxrec.models.onerec.stages import align_config
from jaxrec.models.onerec.tokenizing.semantic_ids import assign_ids
from jaxrec.options import lay_over
from jaxrec.runs import workdir as workdirs
from jaxrec.runs.build import build
from tests.models.onerec import worlds


def keep_to(users, workdir):
    """The workdir as if its run had been trained on these users alone."""
    copy = workdir.with_name(f'{workdir.name}-{users[0]}')
    shutil.copytree(workdir, copy)
    config = json.loads((workdir / 'config.json').read_text())
    config['data']['users'] = users
    (copy / 'config.json').write_text(json.dumps(config))
    return copy


def reward_run(cache):
    config = worlds.make_config(cache)
    config.task, config.model = 'jaxrec.models.onerec.reward.network:make_task', ConfigDict(worlds.REWARD)
    config.data.mode, config.train = 'reward', ConfigDict({'monitor': 'auc', 'batch_size': 16})
    return config


def draw(run, workdir, data_dir):
    """In place of `fit`: a checkpoint whose parameters are random."""
    workdir.mkdir()
    workdirs.claim(workdir, run.config)
    state = worlds.drawn(run.setup, run.source('train', shuffle=True), 0.5)
    with workdirs.open_checkpoints(run, workdir) as checkpoints:
        rows = workdirs.table_rows(run)
        checkpoints.save(state, {}, table_rows=rows, data=None, metrics={'auc': 0.5})


def test_a_head_of_one_class_is_told_and_may_not_judge(tmp_path, monkeypatch):
    """In a world where nobody follows; all else is evaluated all the same, and without the head it judges."""
    monkeypatch.setattr(reward_model, 'fit', draw)
    config, weights = reward_run(tmp_path), dict.fromkeys(HEADS, 1.0)
    config.data.arguments = ConfigDict(worlds.KNOBS | {'follow_bias': -60.0})
    found = reward_model.fit_reward(config, tmp_path / 'all')
    assert found['one_class'] == {'validation': ('wtr',), 'test': ('wtr',)}
    assert np.isnan(found['calibrated']['auc_wtr']) and np.isfinite(found['calibrated']['auc'])
    assert reward_model.to_text(found).splitlines()[-1] == (
        'It is not to judge: all sessions of the validation part have the same label of wtr; all sessions of '
        'the test part have the same label of wtr.'
    )
    log = build(config).log
    with pytest.raises(
        ValueError, match=r'all is not to judge: .* of wtr.*leave these heads out of model\.head_weights, or'
    ):
        benches.open_judge(tmp_path / 'all', log)
    del weights['wtr']
    config.model.head_weights = ConfigDict(weights)
    assert 'not to judge' not in reward_model.to_text(reward_model.fit_reward(config, tmp_path / 'three'))
    assert benches.open_judge(tmp_path / 'three', log).weights == weights


def test_a_reward_model_is_calibrated_and_evaluated_and_then_judges(tmp_path, monkeypatch):
    """Training aside, which `fit` does as for any run: the model is one that has learned nothing."""
    world, workdir, generator = worlds.world(), tmp_path / 'judge', tmp_path / 'generator'
    cache = world.log.folder.parent
    with pytest.raises(ValueError, match=r'calibration\.npz is missing: a reward model is calibrated and'):
        benches.open_judge(workdir, world.log)

    monkeypatch.setattr(reward_model, 'fit', draw)
    found = reward_model.fit_reward(reward_run(cache), workdir)
    for head in HEADS:
        raw, ours, truth = (found[who] for who in ('raw', 'calibrated', 'truth'))
        assert abs(ours[f'pcoc_{head}'] - 1) < 0.35
        assert ours[f'logloss_{head}'] < raw[f'logloss_{head}']
        # One head at a time keeps its order, or turns it where it was the wrong way round.
        before, after = raw[f'auc_{head}'], ours[f'auc_{head}']
        assert min(abs(after - before), abs(after - 1 + before)) < 0.02
        assert truth[f'logloss_{head}'] < ours[f'logloss_{head}']
    assert found['truth']['auc'] > found['raw']['auc'] + 0.05
    assert reward_model.to_text(found).count('\n') == 4

    bench = benches.open_judge(workdir, world.log)
    assert bench.weights == dict.fromkeys(HEADS, 1.0) and bench.audience is not None
    assert bench.judge.task.calibration != ((1.0, 0.0),) * 4 and bench.labels.threshold > 0

    ids = tmp_path / 'ids.npz'
    assign_ids(np.stack(np.divmod(np.arange(30), 6), -1).astype(np.int32), 6, 1).save(ids)
    config = worlds.make_config(cache)
    config.model = ConfigDict({'ids': str(ids), 'size': 'tiny', 'session': 2, 'history': 4})
    config.train.batch_size = 16
    generator.mkdir()
    config.train.schedule = ConfigDict({'kind': 'cosine', 'warmup': 0.1})  # of its own run, which has ended
    workdirs.claim(generator, config)
    wanted = align_config('sdpo', beams=4, passes=1.5, ratio=0.1)
    with pytest.raises(ValueError, match=r'has learned from the users \(0\.0, 1\.0\) and would judge the us'):
        alignment.prepare(wanted, generator, workdir)
    workdir, generator = keep_to((0.5, 1.0), workdir), keep_to((0.0, 0.5), generator)
    wanted.align.judged = 0
    with pytest.raises(ValueError, match=r"judged = 0 with train\.monitor = 'judge_reward_mean': give"):
        alignment.prepare(wanted, generator, workdir)
    wanted.align.judged = -1
    wanted.train.monitor = 'ntp'
    with pytest.raises(ValueError, match=r"align\.judged = -1 with train\.monitor = 'ntp': give the valid"):
        alignment.prepare(wanted, generator, workdir)
    wanted.align.judged = 0
    made = alignment.prepare(wanted, generator, workdir)
    assert made.task.preference.kind == 'sdpo' and made.miner.losers == 3 and made.options['iterations'] == 1
    assert (made.task.pairs, made.task.every) == (2, 8) and made.run.train['learning_rate'] == 5e-4
    assert not made.run.train['schedule'] and not made.run.config.train.schedule
    assert made.per == steps_an_iteration(1.5 * made.base.steps, 'ntp', 1) and made.base.epochs == 2
    for options, message in (
        ({'align': {'losers': 1}}, r"align\.losers = 1: with one loser 'sdpo' is 'dpo'; give 2 or more"),
        ({'align': {'tie': -0.1}}, r'align\.tie = -0\.1: give a distance of rewards, at least 0'),
        ({'train': {'epochs': 3}}, r'train\.epochs: how long an alignment is, align\.passes says'),
    ):
        refused = wanted.copy_and_resolve_references().unlock()
        lay_over(refused, options)
        with pytest.raises(ValueError, match=message):
            alignment.prepare(refused, generator, workdir)
    short = dataclasses.replace(made.bench, items=5)
    with pytest.raises(ValueError, match=r'learned from sessions of 5 items and would judge those of 2 that'):
        alignment.prepare(wanted, generator, workdir, shared=short)
    wanted.align.beta = 0.7
    again = alignment.prepare(wanted, generator, workdir, shared=made)
    assert again.predict is made.predict and again.miner is made.miner
    assert again.task.preference.beta == 0.7 != made.task.preference.beta
    with pytest.raises(ValueError, match=r'which writes no sessions from a session log'):
        alignment.prepare(wanted, workdir, workdir)
    grouped = tmp_path / 'grouped'
    config.data.users, config.model.ranks = (0.0, 0.5), False
    grouped.mkdir()
    workdirs.claim(grouped, config)
    with pytest.raises(ValueError, match=r'was trained with model\.ranks = False: a judge rewards item'):
        alignment.prepare(wanted, grouped, workdir)
    wanted.train.schedule = ConfigDict({'kind': 'cosine'})
    with pytest.raises(ValueError, match=r'train\.schedule counts the steps of one run'):
        alignment.prepare(wanted, generator, workdir)
    other = sessions.simulate(tmp_path / 'other', **{**worlds.KNOBS, 'seed': 5})
    with pytest.raises(ValueError, match=r'judges sessions of the log .* train a reward model on this one'):
        benches.open_judge(workdir, other)
    with pytest.raises(ValueError, match='is no reward model: use a config of one'):
        reward_model.fit_reward(config, tmp_path / 'wrong')
