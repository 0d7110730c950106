"""Losses, gates and the bias of a router, by hand."""

import jax
import numpy as np
import pytest

from jaxrec.ops.experts.routing import RouterSums, route, router_losses, update_bias

X = np.eye(2, dtype=np.float32)
ROUTER = np.log(np.array([[0.5, 0.3, 0.2], [0.1, 0.7, 0.2]], np.float32))  # the rows are the probabilities


def test_two_tokens_by_hand():
    got = route(X, ROUTER, top_k=2)
    np.testing.assert_array_equal(got.expert, [[0, 1], [1, 2]])
    np.testing.assert_allclose(got.gate, [[0.5, 0.3], [0.7, 0.2]], rtol=1e-6)
    np.testing.assert_array_equal(got.sums.load, [1, 2, 1])
    balance, z = router_losses(got.sums)
    # 3 experts * (shares 1/4, 2/4, 1/4) . (mean probabilities .3, .5, .2); the logits' exponentials sum to 1
    assert float(balance) == pytest.approx(3 * (0.25 * 0.3 + 0.5 * 0.5 + 0.25 * 0.2))
    assert float(z) == pytest.approx(0, abs=1e-6)
    assert float(router_losses(route(X, ROUTER + 2, top_k=2).sums)[1]) == pytest.approx(4, rel=1e-5)


def test_gates_are_divided_by_their_sum_on_request():
    np.testing.assert_allclose(
        route(X, ROUTER, top_k=2, renormalise=True).gate, [[0.625, 0.375], [7 / 9, 2 / 9]], rtol=1e-6
    )


def test_a_bias_chooses_and_does_not_weigh():
    got = route(X, ROUTER, top_k=1, bias=np.array([0, 0, 1], np.float32))
    np.testing.assert_array_equal(got.expert, [[2], [2]])
    np.testing.assert_allclose(got.gate, [[0.2], [0.2]], rtol=1e-6)


def test_padding_is_nobodys():
    got = route(X, ROUTER, top_k=2, mask=np.array([0, 1]))
    np.testing.assert_array_equal(got.expert, [[3, 3], [1, 2]])
    np.testing.assert_array_equal(got.gate[0], [0, 0])
    assert float(got.sums.tokens) == 1 and float(got.sums.load.sum()) == 2
    assert float(router_losses(got.sums)[0]) == pytest.approx(3 * (0.5 * 0.7 + 0.5 * 0.2))


def test_the_balance_loss_pulls_on_probabilities_only():
    loss = lambda router: router_losses(route(X, router, top_k=1).sums)[0]
    grad = jax.grad(loss)(ROUTER)
    step = 1e-2  # loads stay as they are
    for at in np.ndindex(ROUTER.shape):
        delta = np.zeros_like(ROUTER)
        delta[at] = step
        numeric = (loss(ROUTER + delta) - loss(ROUTER - delta)) / (2 * step)
        assert float(grad[at]) == pytest.approx(float(numeric), abs=2e-4)
    assert np.abs(grad).max() > 0.05


def test_even_loads_cost_one_and_none_cost_nothing():
    even = RouterSums(*map(np.float32, (np.full(4, 6), np.full(4, 3), 0, 12)))
    assert float(router_losses(even)[0]) == pytest.approx(1)
    assert [float(loss) for loss in router_losses(jax.tree.map(np.zeros_like, even))] == [0, 0]


def test_the_bias_moves_towards_even_loads():
    got = update_bias(np.zeros(3, np.float32), np.array([9, 6, 3]), rate=0.5)
    np.testing.assert_array_equal(got, [-0.5, 0, 0.5])
    bias = np.zeros(3, np.float32)
    x = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    first = last = None
    for _ in range(200):
        last = route(x, ROUTER, top_k=1, bias=bias).sums.load
        first = last if first is None else first
        bias = update_bias(bias, last, 0.01)
    assert np.ptp(last) < 0.2 * np.ptp(first)
