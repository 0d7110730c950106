"""Mining against a slow loop, the pair log on its way to disk and back, and the loss of alignment by hand."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxrec.data.sources.behaviour_source import make_loader
from jaxrec.models.onerec.alignment.mining import Miner, _seen_before
from jaxrec.models.onerec.alignment.pairs import draw, join, load_chunk, save_chunk
from jaxrec.models.onerec.alignment.task import (
    METHODS,
    AlignTask,
    PairSource,
    Preference,
    pair_loss,
    pairs_a_step,
    pairs_of_steps,
    steps_an_iteration,
)
from jaxrec.models.onerec.reward.scorer import Judge
from jaxrec.parallel.mesh import pad_to
from tests.models.onerec import worlds
from tests.models.onerec.worlds import BATCH, BEAMS, LOSERS, WEIGHT, sent
from tests.oracles import preference as oracle

KEY = {'step': 40, 'beams': BEAMS}


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """What the miner of the tiny world mined of 5 requests in chunks of 3, beside the world."""
    tiny = worlds.world()
    folder, drawn = tmp_path_factory.mktemp('pairs'), draw(tiny.source.examples, 5, 0, 40)
    mined = tiny.miner.mine(tiny.params, tiny.state, folder, KEY, drawn)
    return SimpleNamespace(**tiny._asdict(), folder=folder, drawn=drawn, mined=mined)


def same(one, two):
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name), field.name)


def test_mining_is_a_slow_loop_over_beams(world):
    miner, mined = world.miner, world.mined
    assert len(mined) == 5 and sorted(world.drawn) == sorted(set(world.drawn))
    np.testing.assert_array_equal(mined.index, world.drawn)
    write = miner.writer(world.params, world.state)
    for n, example in enumerate(world.drawn):
        batch = miner.source.at(np.full(3, example))  # a chunk of one request three times
        items = np.asarray(write(batch).items)[1]
        assert (items >= 2).all() and all(len(set(session)) == 2 for session in items)
        turned = np.stack([items, items[::-1], items])  # what stands beside a session does not matter
        rewards = miner.judge(batch['host/event'], turned)[1][1][::-1]
        order = sorted(range(BEAMS), key=lambda k: rewards[k])
        np.testing.assert_array_equal(mined.winner[n], items[order[-1]])
        np.testing.assert_array_equal(mined.losers[n], items[order[:LOSERS]])
        wanted = [rewards[k] for k in (order[-1], *order[:LOSERS])]
        np.testing.assert_allclose(mined.rewards[n], wanted, rtol=1e-5)
        np.testing.assert_allclose(mined.mean[n], np.mean(rewards), rtol=1e-5)
        assert mined.valid[n].all() and mined.found[n] == BEAMS and mined.repeated[n] == 0


def test_reference_log_probs_are_those_of_teacher_forcing(world):
    task, mined = world.miner.task, world.mined
    score = jax.jit(lambda *x: task.predict(*x)['token_log_prob'])
    batch = world.miner.source.at(world.drawn)
    for place, session in enumerate([mined.winner, *np.moveaxis(mined.losers, 1, 0)]):
        told = {**batch, 'target/item': session, 'valid': np.ones((5, 2), np.float32)}
        found = score(world.params, world.state, {}, sent(told))
        np.testing.assert_allclose(mined.reference[:, place], found.sum((1, 2)), rtol=1e-5)


def test_mining_goes_on_where_it_stopped(world, tmp_path, monkeypatch):
    first = load_chunk(world.folder, 0, {**KEY, 'chunk': 3}, world.drawn[:3])
    save_chunk(tmp_path, 0, {**KEY, 'chunk': 3}, first)
    mine, asked = Miner.mine_chunk, []
    monkeypatch.setattr(Miner, 'mine_chunk', lambda self, *x: asked.append(x[2]) or mine(self, *x))
    told = []
    same(world.miner.mine(world.params, world.state, tmp_path, KEY, world.drawn, told.append), world.mined)
    assert [list(index) for index in asked] == [list(world.drawn[3:])] and told == [3, 2]
    # Now that all is there no model is asked again.
    same(world.miner.mine(None, None, tmp_path, KEY, world.drawn), world.mined)


def test_pair_logs_that_cannot_be_used(world, tmp_path):
    key, index = {**KEY, 'chunk': 3}, world.drawn[:3]
    assert load_chunk(tmp_path, 0, key, index) is None
    save_chunk(tmp_path, 0, key, world.mined[:3])
    same(load_chunk(tmp_path, 0, key, index), world.mined[:3])
    with pytest.raises(ValueError, match=r'pairs of step = 40, those of 50 are wanted: delete the folder'):
        load_chunk(tmp_path, 0, {**key, 'step': 50}, index)
    with pytest.raises(ValueError, match=r'chunk-00000\.npz holds pairs of other requests than chunk 0'):
        load_chunk(tmp_path, 0, key, index[::-1])
    path = tmp_path / 'chunk-00000.npz'
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(ValueError, match=r'chunk-00000\.npz is no readable \.npz file .* delete the folder'):
        load_chunk(tmp_path, 0, key, index)
    with pytest.raises(ValueError, match='no request was drawn'):
        world.miner.mine(None, None, tmp_path, KEY, world.drawn[:0])
    for wrong in ({'beams': 1}, {'losers': BEAMS}, {'chunk': 0}):
        with pytest.raises(ValueError, match='give 2 beams or more'):
            dataclasses.replace(world.miner, **wrong)


def test_repeated_sessions_and_ties(world, monkeypatch):
    items = np.array([[[3, 4], [4, 3], [3, 4], [5, 6]], [[2, 3], [2, 3], [2, 3], [2, 4]]])
    np.testing.assert_array_equal(_seen_before(items), [[0, 0, 1, 0], [0, 1, 1, 0]])
    alike = lambda self, requests, items: (None, np.ones(items.shape[:2], np.float32))
    monkeypatch.setattr(Judge, '__call__', alike)
    mined = join([world.miner.mine_chunk(world.params, world.state, world.drawn[:3])])
    assert not mined.valid.any() and 'gave pairs (3 ties)' in mined.describe()
    with pytest.raises(ValueError, match='none of 3 mined requests gave a pair'):
        PairSource(world.miner.source, mined, 1, 0, 4)


def paired(world, pairs=3, first=0, stop=10, **changes):
    return PairSource(worlds.make_source(world.log, **changes), world.mined, pairs, first, stop)


def test_pairs_follow_each_other_and_begin_again(world):
    base, found = world.miner.source, []
    source = paired(world, first=2)
    with pytest.raises(IndexError):
        source[1]
    assert len(source) == 10
    for index in range(2, 10):
        batch = source[index]
        for key, values in base[index].items():
            np.testing.assert_array_equal(batch[key], values)
        held = np.flatnonzero(batch['pair/valid'].any(1))
        np.testing.assert_array_equal(held, [0, 5, 10])
        found += batch['pair/sessions'][held].tolist()
        liked = {tuple(x) for x in base.at(world.drawn)['history/item'].tolist()}
        assert {tuple(x) for x in batch['pair/history/item'][held].tolist()} <= liked
    for n, sessions in enumerate(found):
        np.testing.assert_array_equal(sessions[0], world.mined.winner[n % 5])
        np.testing.assert_array_equal(sessions[1:], world.mined.losers[n % 5])
    halves = [paired(world, process_index=at, process_count=2)[3] for at in (0, 1)]
    for key, values in paired(world)[3].items():
        np.testing.assert_array_equal(np.concatenate([half[key] for half in halves]), values)


@pytest.mark.parametrize('ratio', [0.01, 0.04, 0.09, 0.12, 0.1875, 1.0])
def test_pairs_of_steps_are_their_share_on_average(world, ratio):
    """They are those of a loop that rounds the pairs so far down; arrays have place for the most of them."""
    share, steps, first = ratio * BATCH, 25, 2
    source, most = paired(world, share, first, first + steps, epochs=3), pairs_a_step(ratio, BATCH)
    found, so_far = [], 0
    for index in range(steps):
        batch = source[first + index]
        held = np.flatnonzero(batch['pair/valid'].any(1))
        np.testing.assert_array_equal(held, np.arange(len(held)) * (BATCH // most))
        owed = int(share * (first + index + 1) + 1e-6) - int(share * first + 1e-6) - so_far
        assert len(held) == owed <= most and batch['pair/sessions'].shape[0] == BATCH
        found += batch['pair/sessions'][held, 0].tolist()
        so_far += owed
    assert abs(so_far - share * steps) < 1 and so_far == pairs_of_steps(share, first, first + steps)
    assert found == [world.mined.winner[n % 5].tolist() for n in range(so_far)]


def test_lambda_weighs_the_requests_that_have_a_pair(world):
    """A request without one has no preference loss: with fewer pairs the same lambda weighs less."""
    for wanted in (0, 1, 2, 3):
        batch = sent(paired(world, 3 if wanted else 0.2)[0])  # of 0.2 pairs a step the first has none
        batch['pair/valid'] = batch['pair/valid'] & (np.arange(BATCH) < 5 * wanted)[:, None]
        _, metrics = world.step(worlds.drawn(world.setup, world.source, 0.4), batch)
        told = {name: float(value) for name, value in metrics.items()}
        weighed = WEIGHT * wanted / 16 * told['preference']
        np.testing.assert_allclose(told['loss'], 4 * told['ntp'] + weighed, rtol=1e-5)
        np.testing.assert_allclose(told['preference'], np.log(2) * (wanted > 0), rtol=1e-4)
        assert told['paired'] == (wanted > 0) and np.isfinite(told['grad_norm'])


def test_rows_that_pad_a_batch_for_the_devices_weigh_nothing(world):
    """Else lambda would depend on how many devices there are."""
    batch = batch_of(world)
    loss = jax.jit(world.setup.task.loss)
    told = [
        loss(world.params, world.state, {}, given, jax.random.key(0))[0]
        for given in (batch, pad_to(batch, 24))  # those of 24 devices
    ]
    plain = world.miner.task.loss(world.params, world.state, {}, batch, jax.random.key(0))[0]
    np.testing.assert_allclose(told[1] - plain, told[0] - plain, rtol=1e-4)
    assert told[0] - plain > 1


def test_a_loader_is_moved_to_the_middle_of_an_iteration(world):
    loader = make_loader(paired(world, stop=4))
    for _ in range(4):
        next(loader)
    position = loader.get_state()
    loader.close()
    later = make_loader(paired(world, first=4))
    later.set_state(position)
    for index in (4, 5):
        for key, values in next(later).items():
            np.testing.assert_array_equal(values, paired(world, first=4)[index][key])
    later.close()


def batch_of(world, pairs=3):
    batch = sent(paired(world, pairs)[0])
    batch['pair/valid'][5, 1] = False  # one pair of the second request says nothing
    return batch


def test_every_loss_of_pairs_is_its_formula():
    rng = np.random.default_rng(0)
    found, reference = (rng.normal(size=(4, 3)).astype(np.float32) * 3 - 9 for _ in range(2))
    valid = np.array([[True, True], [True, False], [False, False], [False, True]])
    tokens = rng.integers(2, 5, (4, 3))
    kinds = [Preference(method, beta=0.7) for method in METHODS if method != 'ntp']
    got = jax.jit(lambda *x: [pair_loss(preference, *x) for preference in kinds])(found, reference, valid, tokens)
    for preference, (total, metrics) in zip(kinds, got, strict=True):
        want = oracle.preference_loss(
            preference.kind, found[:, 0], found[:, 1:], reference[:, 0], reference[:, 1:], beta=0.7,
            valid=valid, lengths=(tokens[:, 0], tokens[:, 1:]), noise=0.1, likelihood=1.0, margin=0.5,
        )  # fmt: skip
        np.testing.assert_allclose(total, want.sum(), rtol=1e-4)
        np.testing.assert_allclose(metrics['preference'], want.sum() / 3, rtol=1e-4)  # the third has no pair
        assert metrics['paired'] == 1
        gained = (found - reference).astype(np.float64)
        gain = (gained[:, :1] - gained[:, 1:])[valid]
        np.testing.assert_allclose(metrics['gain'], gain.mean(), rtol=1e-4)
        np.testing.assert_allclose(metrics['right'], (gain > 0).mean(), rtol=1e-6)
    assert Preference('ipa').kind == 'dpo' and not Preference('ntp').learns


def test_steps_lift_winners_over_losers(world):
    """At the reference itself no winner has gained anything yet, and DPO is log 2 whatever the pairs are."""
    batch = batch_of(world)
    state, told = worlds.drawn(world.setup, world.source, 0.4), []
    for _ in range(4):
        state, metrics = world.step(state, batch)
        told.append({name: float(value) for name, value in metrics.items()})
    before, after = told[0], told[-1]
    np.testing.assert_allclose(before['gain'], 0, atol=1e-4)
    np.testing.assert_allclose(before['preference'], np.log(2), rtol=1e-4)
    # A session has 4 tokens, and 3 of 16 requests a pair.
    weighed = WEIGHT * 3 / 16 * before['preference']
    np.testing.assert_allclose(before['loss'], 4 * before['ntp'] + weighed, rtol=1e-5)
    assert after['gain'] > 0.1 and after['preference'] < before['preference'] and after['right'] == 1


def test_without_weight_alignment_is_next_token_prediction(world):
    """To the bit, since it is the same program."""
    batch, task, key = batch_of(world), world.miner.task, jax.random.key(0)
    slope = lambda t: jax.grad(lambda p: t.loss(p, world.state, {}, batch, key)[0])
    program = lambda t: str(jax.make_jaxpr(slope(t))(world.params))
    same = program(task)
    for preference in (Preference('dpo', weight=0.0), Preference('ntp')):
        assert program(AlignTask(task, preference, 3, 5)) == same
    assert program(AlignTask(task, Preference('dpo'), 3, 5)) != same


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: Preference('grpo'), r"align\.method = 'grpo' does not exist; choose one of"),
        (lambda: Preference(beta=0.0), r'align\.beta = 0\.0'),
        (lambda: Preference(noise=0.5), r'noise = 0\.5: beta is above 0'),
        (lambda: pairs_a_step(0.0, 8), r'align\.ratio = 0\.0: give the share'),
        (lambda: pairs_a_step(1.5, 8), r'align\.ratio = 1\.5'),
    ],
)
def test_options_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_iterations_together_have_the_pairs_of_one_that_is_as_long():
    for share in (0.01, 0.3, 0.64, 2.5):
        apart = [pairs_of_steps(share, 7 * n, 7 * n + 7) for n in range(9)]
        assert sum(apart) == pairs_of_steps(share, 0, 63) == int(63 * share + 1e-6)
        assert max(apart) - min(apart) <= 1


def test_pairs_of_a_step():
    assert [pairs_a_step(0.01, size) for size in (1, 64, 100, 101, 700)] == [1, 1, 1, 2, 7]


def test_all_methods_take_as_many_steps():
    for steps in (0.4, 1, 7.5, 350, 351.4):
        ours = 3 * steps_an_iteration(steps, 'ipa', 3)
        assert {steps_an_iteration(steps, method, 1) for method in METHODS if method != 'ipa'} == {ours}
        assert abs(ours - steps) <= 1.5 or ours == 3
    assert steps_an_iteration(350, 'ipa', 2) == 175 and steps_an_iteration(10, 'ipa', 4) == 2


def test_a_batch_without_pairs_is_refused(world):
    batch = {key: x for key, x in batch_of(world).items() if key != 'pair/valid'}
    with pytest.raises(ValueError, match=r"the batch lacks 'pair/valid': alignment by 'ipa' reads"):
        align = AlignTask(world.miner.task, Preference(), 3, 5)
        jax.eval_shape(lambda p: align.loss(p, world.state, {}, batch, jax.random.key(0)), world.params)
