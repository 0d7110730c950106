"""Every preference loss against its formula on log-probabilities made by hand, and which way it pushes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.ops.generation.preference import (
    KINDS,
    REFERENCE_FREE,
    choose_pairs,
    preference_loss,
    session_log_prob,
    token_log_prob,
)
from tests.oracles import preference as oracle

# Two losers each: won by much, lost by much, one pair of two that is a tie, and a user with no pair at all.
WINNER = np.array([-3.0, -9.0, -5.0, -4.0])
LOSERS = np.array([[-6.0, -4.5], [-2.0, -8.0], [-5.5, -5.0], [-1.0, -2.0]])
REFERENCE_WINNER = np.array([-3.5, -8.0, -5.0, -4.0])
REFERENCE_LOSERS = np.array([[-5.0, -4.5], [-2.5, -7.0], [-4.5, -5.0], [-1.0, -2.0]])
VALID = np.array([[True, True], [True, True], [True, False], [False, False]])
LENGTHS = np.array([5, 5, 3, 1]), np.array([[5, 4], [2, 5], [3, 3], [1, 1]])
NUMBERS = {'beta': 0.3, 'noise': 0.2, 'likelihood': 0.7, 'margin': 0.4}


def ours(kind, winner=WINNER, losers=LOSERS, valid=VALID, **changed):
    return preference_loss(
        kind, winner, losers, REFERENCE_WINNER, REFERENCE_LOSERS,
        **{'valid': valid, 'lengths': LENGTHS, **NUMBERS, **changed},
    )  # fmt: skip


def theirs(kind, winner=WINNER, losers=LOSERS):
    return oracle.preference_loss(
        kind, winner, losers, REFERENCE_WINNER, REFERENCE_LOSERS, valid=VALID, lengths=LENGTHS, **NUMBERS
    )


@pytest.mark.parametrize('kind', KINDS)
def test_it_is_its_formula_and_its_gradient_the_formulas(kind):
    np.testing.assert_allclose(ours(kind), theirs(kind), rtol=1e-5, atol=1e-6)
    slopes = jax.grad(lambda won, lost: ours(kind, won, lost).sum(), (0, 1))(jnp.asarray(WINNER), jnp.asarray(LOSERS))
    np.testing.assert_allclose(
        slopes[0], oracle.gradient(lambda won: theirs(kind, winner=won), WINNER), rtol=1e-3, atol=1e-5
    )
    np.testing.assert_allclose(
        slopes[1], oracle.gradient(lambda lost: theirs(kind, losers=lost), LOSERS), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize('kind', KINDS)
def test_a_step_down_lifts_the_winner_and_pushes_the_losers(kind):
    """With the pair level under model and reference, where no loss has had its way yet."""
    level = np.full((1, 2), -4.0)
    loss = lambda won, lost: preference_loss(
        kind, won, lost, level[:, 0], level, beta=0.5, lengths=(np.ones(1), np.ones((1, 2)))
    ).sum()
    of_winner, of_losers = jax.grad(loss, (0, 1))(jnp.asarray(level[:, 0]), jnp.asarray(level))
    assert (np.asarray(of_winner) < 0).all()
    assert (np.asarray(of_losers) > 0).all()


@pytest.mark.parametrize(
    ('kind', 'want'),
    # h = 1 and beta = 1: log(1 + e^-1) = 0.313262; the other way round 1.313262.
    [('dpo', 0.313262), ('ipo', 0.25), ('cdpo', 0.9 * 0.313262 + 0.1 * 1.313262), ('sdpo', 0.313262),
     ('rdpo', (0.9 * 0.313262 - 0.1 * 1.313262) / 0.8), ('cpo', 0.126928 + 3), ('simpo', 0.313262)],
)  # fmt: skip
def test_one_pair_by_hand(kind, want):
    found = preference_loss(
        kind, np.array([-3.0]), np.array([[-5.0]]), np.array([-4.0]), np.array([[-5.0]]),
        beta=1, noise=0.1, margin=0, lengths=(np.array([2]), np.array([[2]])),
    )  # fmt: skip
    np.testing.assert_allclose(found, [want], rtol=1e-5)


@pytest.mark.parametrize('kind', KINDS)
def test_what_does_not_count_may_hold_anything(kind):
    winner, losers = jnp.asarray(WINNER), jnp.asarray(LOSERS)
    winner = winner.at[3].set(jnp.nan)
    losers = losers.at[2, 1].set(-jnp.inf).at[3].set(jnp.nan)
    np.testing.assert_allclose(ours(kind, winner, losers), theirs(kind), rtol=1e-5, atol=1e-6)
    slopes = jax.grad(lambda won, lost: ours(kind, won, lost).sum(), (0, 1))(winner, losers)
    assert all(np.isfinite(x).all() for x in slopes)
    assert slopes[0][3] == 0
    assert not np.asarray(slopes[1])[~VALID].any()


def test_far_apart_sessions_do_not_overflow():
    far = np.array([[500.0, -500.0]])
    for kind in KINDS:
        found = preference_loss(
            kind, np.zeros(1), far, np.zeros(1), far * 0, beta=1, lengths=(np.ones(1), np.ones((1, 2)))
        )
        assert np.isfinite(found).all(), kind


@pytest.mark.parametrize('kind', REFERENCE_FREE)
def test_two_do_without_a_reference(kind):
    free = preference_loss(kind, WINNER, LOSERS, beta=0.3, valid=VALID, lengths=LENGTHS, noise=0.2,
                           likelihood=0.7, margin=0.4)  # fmt: skip
    np.testing.assert_allclose(free, theirs(kind), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ('kind', 'changed', 'message'),
    [
        ('ppo', {}, 'preference loss .ppo.: give one of dpo, ipo, cdpo, rdpo, cpo, simpo, sdpo'),
        ('simpo', {'lengths': None}, 'simpo reads means over tokens: give lengths'),
        ('dpo', {'beta': 0.0}, 'beta 0.0 and noise 0.2: beta is above 0'),
        ('rdpo', {'noise': 0.5}, 'noise 0.5: beta is above 0, noise from 0 to below a half'),
    ],
)
def test_what_cannot_be_is_refused(kind, changed, message):
    with pytest.raises(ValueError, match=message):
        ours(kind, **changed)


def test_a_missing_reference_is_refused():
    with pytest.raises(ValueError, match=r'dpo compares with a reference: give reference_winner and .*cpo, simpo'):
        preference_loss('dpo', WINNER, LOSERS, beta=1)


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize('kind', sorted(set(KINDS) - set(REFERENCE_FREE)))
def test_what_has_not_moved_costs_the_same_in_any_precision(kind, dtype):
    near, far = jnp.array([-0.3], dtype), jnp.array([[-100.3]], dtype)
    moved = preference_loss(kind, near, far, near, far, beta=0.5)
    np.testing.assert_allclose(moved, preference_loss(kind, *[x * 0 for x in (near, far)] * 2, beta=0.5))


@pytest.mark.parametrize(
    'changed', [{'winner': WINNER[:1]}, {'lengths': (LENGTHS[0], LENGTHS[0])}, {'valid': VALID[:, :1]}]
)
def test_shapes_that_would_be_spread_are_refused(changed):
    with pytest.raises(AssertionError):
        ours('simpo', **changed)


def test_tokens_that_were_not_written_have_no_probability():
    logits = np.log(np.array([0.1, 0.2, 0.7], np.float32))
    found = token_log_prob(np.tile(logits, (5, 1)), np.array([2, 3, -1, -3, -4]))
    np.testing.assert_allclose(found, [np.log(0.7), *[np.nan] * 4], rtol=1e-5)


def test_sessions_are_sums_of_the_tokens_that_count():
    rng = np.random.default_rng(0)
    logits, tokens = rng.normal(size=(2, 5, 7)).astype(np.float32), rng.integers(0, 7, (2, 5))
    mask = np.array([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0]])
    logits[mask == 0] = np.nan
    read = lambda logits: session_log_prob(token_log_prob(logits, tokens), mask)
    probs = np.exp(logits[0].astype(np.float64))
    probs /= probs.sum(-1, keepdims=True)
    want = sum(np.log(probs[t, tokens[0, t]]) for t in (0, 1, 3))
    np.testing.assert_allclose(read(logits), [want, 0], rtol=1e-5)
    assert read(logits.astype(jnp.bfloat16)).dtype == jnp.float32


def test_pairs_are_the_best_and_the_worst_of_the_living():
    rewards = np.array([[1.0, 5, 3, 5, 0], [2, 2, 2, 2, 2], [9, 4, 1, 3, 8], [1, 2, 3, 4, 5]])
    alive = np.array([[True] * 5, [True] * 5, [False, True, True, True, False], [False] * 5])
    winner, losers, valid = choose_pairs(rewards, alive, 3)
    np.testing.assert_array_equal(winner, [1, 0, 1, 0])
    np.testing.assert_array_equal(losers[0], [4, 0, 2])
    np.testing.assert_array_equal(losers[2, :2], [2, 3])
    np.testing.assert_array_equal(valid, [[True] * 3, [False] * 3, [True, True, False], [False] * 3])
    near = choose_pairs(np.array([[1, 1 + 1e-3]]), np.ones((1, 2), bool), tie=1e-2)
    assert not near.valid.any()


@pytest.mark.parametrize('losers', [0, 2])
def test_as_many_losers_as_sessions_are_refused(losers):
    with pytest.raises(ValueError, match=f'{losers} losers among 2 sessions: give 1 to all but one'):
        choose_pairs(np.zeros((1, 2)), np.ones((1, 2), bool), losers)
