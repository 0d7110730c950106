"""AGE inspected: against the policy's own ranking, and against steps along one direction."""

import jax
import numpy as np
import pytest

from jaxrec.models.age.inspection import inspect_requests, scores_along
from jaxrec.models.age.replay.streams import build_policy, open_stream, warm
from tests.models.age.run_worlds import tiny

ITEM = {'features': {'candidate': ('item', 'category', 'source')}}


def started(row, cache, **sections):
    config = tiny(row, cache, **sections)
    stream = open_stream(config)
    policy = build_policy(config, stream)
    return policy, warm(config, policy, stream)[0], stream.before()


@pytest.fixture(scope='module')
def age(tmp_path_factory):
    return started('AGE-TS FGM', tmp_path_factory.mktemp('logs'), **ITEM)


def test_what_is_inspected_is_what_the_policy_ranks_by(age):
    policy, state, requests = age
    found, ranked = (
        call(jax.random.key(3))
        for call in (lambda k: inspect_requests(*age, k), lambda k: policy.rank(state, requests, k))
    )
    pool = found.pool
    assert np.array_equal(pool, np.asarray(requests['pool']) > 0)
    np.testing.assert_allclose(found.score[pool], np.asarray(ranked.score)[pool], rtol=1e-5)
    np.testing.assert_allclose(found.probability[pool], np.asarray(ranked.probability)[pool], rtol=1e-5)


def test_the_gate_is_open_above_the_items_average(age):
    found = inspect_requests(*age, jax.random.key(3))
    assert np.array_equal(found.gate > 0, found.probability > found.average)
    closed = found.pool & (found.gate == 0)
    assert closed.any() and (found.score == found.probability)[closed].all()


def test_a_step_of_ages_own_size_gives_its_score(age):
    state, found = age[1], inspect_requests(*age, jax.random.key(3))
    size = found.gate * float(state.model_state['memory']['explore_lambda']) * found.delta
    moved = np.argwhere(found.pool & (np.abs(size) > 1e-3))[:3]
    assert len(moved)
    for b, c in moved:
        (scores,) = scores_along(*age, 'fgm', [size[b, c]], jax.random.key(0))
        np.testing.assert_allclose(scores[b, c], found.score[b, c], rtol=1e-4)


def test_scores_rise_along_the_gradient_more_than_elsewhere(age):
    steps = [-0.01, 0.0, 0.01]
    along = {name: scores_along(*age, name, steps, jax.random.key(1)) for name in ('fgm', 'random')}
    found = inspect_requests(*age, jax.random.key(3))
    for scores in along.values():
        np.testing.assert_allclose(scores[1][found.pool], found.probability[found.pool], rtol=1e-5)
    rise = {name: (scores[2] - scores[0])[found.pool] for name, scores in along.items()}
    assert (rise['fgm'] > 0).all() and (rise['fgm'] > np.abs(rise['random'])).all()


def test_without_a_gating_unit_there_is_no_average(tmp_path):
    found = inspect_requests(*started('AGE-TS without gate', tmp_path, options={'direction': 'fgm'}), jax.random.key(0))
    assert np.isnan(found.average).all() and (found.gate == 1).all()


def test_other_policies_and_steps_of_nothing_are_refused(age, tmp_path):
    with pytest.raises(ValueError, match='is not AGE: give a policy such as'):
        inspect_requests(*started('DNN', tmp_path), jax.random.key(0))
    with pytest.raises(ValueError, match='give at least one that is not 0'):
        scores_along(*age, 'fgm', [0.0], jax.random.key(0))
