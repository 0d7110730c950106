"""The layers over the order of a history: widths and starts of the gates, the auxiliary net by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.models.ctr.recurrent import Augru, Gru, NextBehaviour


def test_gates_start_as_layers_of_their_own_width():
    history, mask = jnp.ones((2, 4, 100)), jnp.ones((2, 4))
    params = Gru(50).init(jax.random.key(0), history, mask)['params']
    shapes = {'kernel': (3, 100, 50), 'recurrent': (3, 50, 50), 'bias': (3, 50)}
    assert jax.tree.map(jnp.shape, params) == shapes
    for name, size in (('kernel', 100), ('recurrent', 50)):
        np.testing.assert_allclose(np.std(params[name], (1, 2)), np.sqrt(2 / (size + 50)), rtol=0.1)
    assert not np.asarray(params['bias']).any()
    states = Gru(50).apply({'params': params}, history, mask)
    assert states.shape == (2, 4, 50)
    last = Augru(50).apply({'params': params}, history, jnp.ones((2, 3, 4)), mask)
    np.testing.assert_allclose(last, np.stack([states[:, -1]] * 3, 1), rtol=1e-5)


def test_the_auxiliary_net_by_hand():
    """One number wide throughout: z = sigmoid(state + behaviour), score = 4 log(3) z - 2 log(3).

    A sum of log(3), 0, -log(3) gives z = 3/4, 1/2, 1/4, a score of log(3), 0, -log(3), p = 3/4, 1/2, 1/4.
    """
    log3 = np.log(3.0)
    params = {'kernel_0': [[1.0], [1.0]], 'bias_0': [0.0], 'kernel_1': [[4 * log3]], 'bias_1': [-2 * log3]}
    params = jax.tree.map(jnp.asarray, params, is_leaf=lambda x: isinstance(x, list))
    # Pairs (state, next, other): (log 3, 0, -log 3) and (-log 3, 0, log 3); the third entry is not real.
    states = log3 * np.array([[1.0, -1, 7]])[..., None]
    history = log3 * np.array([[5.0, 0, 0]])[..., None]  # nothing comes before the first
    negative = log3 * np.array([[5.0, -1, 1]])[..., None]
    loss = lambda mask: NextBehaviour((1,)).apply({'params': params}, states, history, negative, mask)
    first = -np.log(3 / 4) - np.log(1 - 1 / 2)
    second = -np.log(1 / 4) - np.log(1 - 1 / 2)
    np.testing.assert_allclose(loss(np.array([[1.0, 1, 0]])), first, rtol=1e-5)
    np.testing.assert_allclose(loss(np.array([[1.0, 1, 1]])), (first + second) / 2, rtol=1e-5)
    assert loss(np.array([[1.0, 0, 0]])) == 0  # one behaviour has no next
