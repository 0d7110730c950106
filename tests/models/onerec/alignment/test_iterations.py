"""Alignment stopped in training and in mining, and resumed bit for bit; what is told of what it writes."""

import dataclasses
import json
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from configs.onerec.align import get_config as get_align
from configs.onerec.kuairand import get_config as get_kuairand
from configs.onerec.pipeline import get_config as get_pipeline
from configs.onerec.reward import get_config as get_reward
from jaxrec.data.sessions.labels import SessionLabels
from jaxrec.data.simulators.sessions import Audience
from jaxrec.data.sources.splits import TEST, make_split
from jaxrec.models.onerec import pipeline as pipelining
from jaxrec.models.onerec.alignment import iterations
from jaxrec.models.onerec.alignment import setup as alignment
from jaxrec.models.onerec.alignment.mining import Miner
from jaxrec.models.onerec.alignment.task import METHODS
from jaxrec.models.onerec.reward import generated as written
from jaxrec.models.onerec.reward.open_scorer import Bench
from jaxrec.models.onerec.reward.shown import HEADS
from jaxrec.models.onerec.reward.values import summarise
from jaxrec.models.onerec.simulated import get_config as get_simulated
from jaxrec.options import read_options
from jaxrec.runs import fit as running
from jaxrec.runs import workdir as workdirs
from jaxrec.runs.build import TRAIN_OPTIONS, Experiment, build
from jaxrec.runs.optimizers import make_optimizer
from jaxrec.runs.sources import read_data
from jaxrec.training.checkpoints import Checkpoints
from jaxrec.training.state import abstract_state, new_scratch
from jaxrec.training.step import make_predict_step, make_train_step
from tests.models.onerec import worlds

TRAIN = {
    **TRAIN_OPTIONS, 'batch_size': worlds.BATCH, 'eval_batch_size': 16, 'log_every': 1,
    'checkpoint_every': 2, 'monitor': 'judge_reward_mean',
}  # fmt: skip
OPTIONS = {**alignment.ALIGN_OPTIONS, 'beams': worlds.BEAMS, 'losers': worlds.LOSERS, 'chunk': worlds.CHUNK}
OPTIONS |= {'ratio': 3 / 16, 'judged': 6, 'iterations': 2}


class Stopped(Exception):
    """As if the power had gone."""


@pytest.fixture(scope='module')
def pieces(tmp_path_factory):
    """An alignment of 2 iterations of 3 steps, which begins at step 7 of a generator."""
    world = worlds.world()
    data = read_data(world.config, world.log)
    config = world.config.copy_and_resolve_references()
    run = Experiment(config, world.log, world.setup, data, TRAIN)
    generator = tmp_path_factory.mktemp('generator')
    workdirs.claim(generator, world.config)
    state = worlds.drawn(world.setup, world.source, 0.4).replace(step=jnp.int32(7))
    with Checkpoints(generator / 'checkpoints', 1, 'ntp', False) as checkpoints:
        checkpoints.save(state, {}, table_rows={}, data=None, metrics={'ntp': 1.0})
    labels, weights = SessionLabels(8.0), dict.fromkeys(HEADS, 1.0)
    bench = Bench(world.judge, 5, labels, Audience(world.log.folder), weights, (0.0, 1.0), world.source.items)
    predict = make_predict_step(run.setup)
    return alignment.Alignment(run, generator, world.source, world.miner, bench, OPTIONS, 3, predict)


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch):
    predict = make_predict_step(worlds.world().setup)
    monkeypatch.setattr(iterations, 'make_train_step', lambda setup: worlds.world().step)
    monkeypatch.setattr(alignment, 'make_predict_step', lambda setup: predict)


def saved(pieces, workdir):
    """All that the last checkpoint holds."""
    with workdirs.open_checkpoints(pieces.run, workdir, read_only=True) as checkpoints:
        abstract = abstract_state(pieces.run.setup, worlds.sent(pieces.base[0]))
        restored = checkpoints.restore(abstract, table_rows={})
    state = restored.state.replace(rng=jax.random.key_data(restored.state.rng))
    return jax.tree.map(np.asarray, state), restored.progress


def lines(workdir):
    return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


@pytest.mark.slow
def test_stopped_in_mining_and_in_training_it_ends_as_if_never_stopped(pieces, tmp_path, monkeypatch):
    told = iterations.align(pieces, tmp_path / 'whole')
    assert [figures['requests'] for figures in told] == [9.0, 9.0]
    written = lines(tmp_path / 'whole')
    steps = [line['step'] for line in written if line['part'] == 'train']
    assert steps == [8, 9, 10, 11, 12, 13]
    gains = [line['gain'] for line in written if line['part'] == 'train']
    # Each iteration begins at its own reference.
    np.testing.assert_allclose([gains[0], gains[3]], 0, atol=1e-4)
    assert min(abs(gains[at]) for at in (1, 2, 4, 5)) > 1e-3
    judged = [line for line in written if line['part'] == 'validation']
    assert [line['step'] for line in judged] == [10, 13] and 'true_reward_mean' in judged[0]

    step, mine, count = worlds.world().step, Miner.mine_chunk, {'steps': 0, 'chunks': 0}
    stops = [('chunks', 2), ('steps', 3), ('chunks', 6), ('steps', 6)]

    def counted(kind, call):
        count[kind] += 1
        if (kind, count[kind]) in stops:
            raise Stopped
        return call()

    monkeypatch.setattr(Miner, 'mine_chunk', lambda self, *x: counted('chunks', lambda: mine(self, *x)))
    killable = lambda *x: counted('steps', lambda: step(*x))
    monkeypatch.setattr(iterations, 'make_train_step', lambda setup: killable)
    for _ in stops:
        with pytest.raises(Stopped):
            iterations.align(pieces, tmp_path / 'broken')
    iterations.align(pieces, tmp_path / 'broken')
    # 3 chunks an iteration, of which two were tried twice. Of the steps the third and the fifth were.
    assert count == {'chunks': 8, 'steps': 8}, count
    jax.tree.map(np.testing.assert_array_equal, saved(pieces, tmp_path / 'whole'), saved(pieces, tmp_path / 'broken'))
    assert lines(tmp_path / 'broken') == written

    # With the pair log of the iteration gone, what is left of it cannot be learned.
    shutil.rmtree(tmp_path / 'broken' / 'align' / 'pairs-10')
    with pytest.raises(ValueError, match=r'pairs-10/chunk-00000\.npz is missing and the model'):
        iterations.align(pieces, tmp_path / 'broken')


@pytest.mark.slow
def test_it_stops_when_patience_runs_out_and_stays_stopped(pieces, tmp_path, monkeypatch):
    """Of 2 iterations of 3 steps, judged after every step, with the best before all others."""
    values = iter([3.0, 2.0, 1.0, 9.0, 9.0, 9.0])
    scores = lambda state: {'judge_reward_mean': next(values)}
    monkeypatch.setattr(iterations, '_evaluation', lambda pieces: scores)
    run = dataclasses.replace(pieces.run, train={**pieces.run.train, 'patience': 0})
    short = dataclasses.replace(pieces, run=run, options={**pieces.options, 'evals': 3})
    told = iterations.align(short, tmp_path)
    assert len(told) == 1 and [line['step'] for line in lines(tmp_path) if line['part'] == 'train'] == [8, 9]
    assert saved(short, tmp_path)[1]['done'] and iterations.align(short, tmp_path) == told


def test_an_iteration_without_pairs_is_refused(pieces, tmp_path):
    few = dataclasses.replace(pieces, options={**pieces.options, 'ratio': 0.01})
    message = r'align\.ratio = 0\.01 of batches of 16 gives no pair to an iteration of 3 steps: raise align'
    with pytest.raises(ValueError, match=message):
        iterations.align(few, tmp_path / 'none')
    assert not (tmp_path / 'none').exists()


def test_a_generator_of_other_codes_is_not_aligned(pieces, tmp_path):
    task = pieces.miner.task
    other = dataclasses.replace(task, codes=task.codes[::-1].copy())
    miner = dataclasses.replace(pieces.miner, task=other)
    with pytest.raises(ValueError, match='was trained with other semantic IDs than its config names now'):
        iterations.align(dataclasses.replace(pieces, miner=miner), tmp_path)


def test_a_generator_that_had_a_schedule_is_taken_over_without_it(pieces, tmp_path):
    world = worlds.world()
    config, schedule = world.config.copy_and_resolve_references(), {'kind': 'cosine', 'warmup': 0.5}
    config.train.schedule = ConfigDict(schedule)
    workdirs.claim(tmp_path, config)
    setup = world.setup._replace(optimizer=make_optimizer('adam', 1e-2, schedule, 4))
    state = worlds.drawn(setup, world.source, 0.4)
    state = state.replace(opt_state=jax.tree.map(lambda x: x + 2, state.opt_state))
    with Checkpoints(tmp_path / 'checkpoints', 1, 'ntp', False) as checkpoints:
        checkpoints.save(state, {}, table_rows={}, data=None, metrics={'ntp': 1.0})
    taken = running.start_from(pieces.run, tmp_path, pieces.run.example(pieces.base))
    chex.assert_trees_all_equal(taken.params, state.params)
    chex.assert_trees_all_equal(taken.opt_state, (state.opt_state[0], optax.EmptyState()))
    assert int(taken.opt_state[0].count) == 2


def test_generated_sessions_are_judged_and_told_the_truth_of(pieces):
    world, validation = worlds.world(), pieces.run.source('validation')
    write = world.miner.writer(world.params, world.state)
    found = written.judge_written(write, validation, pieces.bench, 4, worlds.CHUNK)
    places = np.unique(np.linspace(0, validation.examples - 1, 4).astype(int))
    judge_total, true_total = [], []
    for place in places:
        batch = validation.at(np.full(3, place))
        items = np.asarray(write(batch).items)
        judge_total.append(world.judge(batch['host/event'], items)[1][0])
        users = np.full(worlds.BEAMS, batch['host/group'][0])
        truth = pieces.bench.audience.true_rewards(users, items[0], pieces.bench.labels)
        true_total.append(sum(truth.values()))
    for who, total in (('judge', judge_total), ('true', true_total)):
        np.testing.assert_allclose(found[f'{who}_reward_mean'], np.mean(total), rtol=1e-5)
        np.testing.assert_allclose(found[f'{who}_reward_max'], np.max(total, 1).mean(), rtol=1e-5)
        np.testing.assert_allclose(found[f'{who}_reward_first'], np.array(total)[:, 0].mean(), rtol=1e-5)
    each = written.judge_sessions(write, validation, pieces.bench, 4, worlds.CHUNK)
    np.testing.assert_array_equal(each.requests['host/event'], validation.at(places)['host/event'])
    assert each.items.shape[:2] == (len(places), worlds.BEAMS)
    np.testing.assert_allclose(each.judged.sum(-1), judge_total, rtol=1e-5)
    np.testing.assert_allclose(each.truth.sum(-1), true_total, rtol=1e-5)
    picked = [true[np.argmax(judge)] for judge, true in zip(judge_total, true_total, strict=True)]
    np.testing.assert_allclose(found['true_reward_picked'], np.mean(picked), rtol=1e-5)


def test_rewards_are_of_all_requests_whatever_was_shown(pieces):
    """Requests chosen by the quality of the session that was shown would be those of users in the mood."""
    quality = {'watched': 1, 'quantile': 0.5, 'interactions': ()}
    data = {**pieces.run.data, 'quality': quality, 'choose': 'positive'}
    run = dataclasses.replace(pieces.run, data=data)
    every, learned = (written.all_requests(run, 'test'), run.source('test'))
    assert every.selection is None and every.choose == 'first' and not every.left_out
    assert 0 < learned.examples < every.examples == (make_split(worlds.SPLIT)(run.log, None) == TEST).sum()


def test_summary_of_requests_with_dead_sessions():
    judged = np.zeros((3, 3, 4))
    judged[0, :, 0], judged[1, :, 0] = [0.3, 0.1, 9.0], [0.2, 0.4, 0.6]
    judged[:, :, 2] = 1.0  # a head without weight
    alive = np.array([[True, True, False], [True, True, True], [False, False, False]])
    truth = np.zeros((3, 3, 4))
    truth[0, :, 0], truth[1, :, 0] = [0.9, 0.5, 9.0], [0.1, 0.2, 0.3]
    found = summarise(judged, alive, {'swt': 2.0, 'wtr': 0.0}, truth)
    want = {
        'written': 2.5, 'judge_swt_mean': 0.3, 'judge_swt_max': 0.45, 'judge_reward_mean': 0.6,
        'judge_wtr_mean': 1.0, 'true_reward_max': 2 * 0.6, 'true_reward_first': 1.0,
        'true_reward_picked': 2 * 0.6, 'rank_correlation': 1.0, 'rank_correlation_all': -0.1,
        'judge_reward_picked': 0.9,
    }  # fmt: skip
    np.testing.assert_allclose([found[name] for name in want], list(want.values()), rtol=1e-6, atol=1e-9)
    assert not [name for name in found if 'vtr' in name or 'ltr' in name]  # the judge has not learned them
    alike = summarise(judged, alive, {'swt': 2.0}, np.ones((3, 3, 4)))
    assert alike['true_reward_mean'] == 2.0 and not {'rank_correlation', 'rank_correlation_all'} & alike.keys()
    with pytest.raises(ValueError, match='no session was generated: every beam died'):
        summarise(judged, np.zeros_like(alive), {'swt': 1.0})


def test_configs_of_the_stages(tmp_path):
    config = get_pipeline()
    config.reward.data.arguments = ConfigDict(worlds.KNOBS | {'least': 5, 'most': 6})
    config.reward.data.cache, config.reward.train.batch_size = str(tmp_path), 16
    run = build(config.reward)
    example = run.example(run.source('train', shuffle=True))
    state = abstract_state(run.setup, example)
    state = state.replace(scratch=jax.eval_shape(lambda: new_scratch(run.setup, example)))
    _, metrics = jax.eval_shape(make_train_step(run.setup), state, example)
    assert {f'loss_{head}' for head in HEADS} <= metrics.keys()
    assert get_reward().task == config.reward.task and set(config) == set(pipelining.TOP)
    # What the commands of the stages train judges other users than it has learned from.
    for generator, judge in (
        (get_simulated(), get_reward()),
        (config.generator, config.reward),
        (get_kuairand(), get_kuairand('reward')),
    ):
        assert 0 == generator.data.users[0] < generator.data.users[1] == judge.data.users[0] < 1
        assert judge.data.users[1] == 1
    for method in METHODS:
        options = read_options(get_align(method).align, 'align', **alignment.ALIGN_OPTIONS)
        assert options['method'] == method
    with pytest.raises(ValueError, match="there is no method 'grpo': use one of"):
        get_align('grpo')


def test_configs_that_cannot_be(tmp_path):
    with pytest.raises(ValueError, match='model is not a section; an alignment has align and train'):
        alignment.prepare(ConfigDict({'align': {}, 'model': {}}), tmp_path, tmp_path)
    with pytest.raises(ValueError, match=r'align\.beam is not an option; did you mean .beams.'):
        alignment.prepare(ConfigDict({'align': {'beam': 3}}), tmp_path, tmp_path)
