"""DIEN's auxiliary loss on pairs small enough to be worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.ops.auxiliary import next_behaviour_loss

# sigmoid(log(3)) = 3/4, sigmoid(-log(3)) = 1/4, sigmoid(0) = 1/2.
CLICKED = np.log(np.array([[3.0, 1.0, 1e30], [1 / 3, 5.0, 5.0]], np.float32))
OTHER = np.log(np.array([[1.0, 3.0, 1e30], [1 / 3, 5.0, 5.0]], np.float32))
WEIGHT = np.array([[1, 1, 0], [1, 0, 0]], np.float32)


def test_value_is_the_mean_over_the_pairs_that_count():
    # -(log 3/4 + log 1/2), -(log 1/2 + log 1/4), -(log 1/4 + log 3/4): together log(8/3 * 8 * 16/3).
    np.testing.assert_allclose(
        next_behaviour_loss(CLICKED, OTHER, WEIGHT), np.log(8 / 3 * 8 * 16 / 3) / 3, rtol=1e-6
    )


def test_gradient_is_the_error_of_the_pairs_that_count():
    of_clicked, of_other = jax.grad(next_behaviour_loss, (0, 1))(jnp.asarray(CLICKED), OTHER, WEIGHT)
    np.testing.assert_allclose(of_clicked, np.array([[-0.25, -0.5, 0], [-0.75, 0, 0]]) / 3, rtol=1e-5)
    np.testing.assert_allclose(of_other, np.array([[0.5, 0.75, 0], [0.25, 0, 0]]) / 3, rtol=1e-5)


@pytest.mark.parametrize('shape', [(2, 0), (2, 3)])
def test_no_pair_is_no_loss(shape):
    value, grad = jax.value_and_grad(next_behaviour_loss)(jnp.ones(shape), jnp.ones(shape), jnp.zeros(shape))
    assert value == 0 and grad.shape == shape and not np.asarray(grad).any()


def test_extreme_logits_stay_finite():
    extreme = jnp.array([1e30, -1e30])
    value, grad = jax.value_and_grad(next_behaviour_loss)(extreme, extreme, jnp.ones(2))
    assert np.isfinite(value) and np.isfinite(grad).all()
