"""Named sizes of OneRec, counted without a single number being drawn; what its evaluator reports."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.onerec.sized import ROWS, get_config
from jaxrec.models.onerec.experts import expert_losses, new_biases
from jaxrec.models.onerec.options import Network, read_network
from jaxrec.models.onerec.presets import SIZES
from jaxrec.models.onerec.task import SessionTask
from jaxrec.models.onerec.token_evaluator import SessionEvaluator
from jaxrec.ops.experts.moe import MoeInfo

MILLIONS = {'50m': 50, '100m': 100, '200m': 200, '500m': 500, '1b': 1_000}
COUNTED = {
    'tiny': 561_280, '50m': 52_588_288, '100m': 102_770_304, '200m': 197_189_120, '500m': 515_220_480,
    '1b': 932_327_424,
}  # fmt: skip


def parameters(network):
    """How many numbers a network has."""
    task = SessionTask(network, np.zeros((4, len(network.levels)), np.int32))
    shaped = lambda items, dtype=jnp.int32: jax.ShapeDtypeStruct((1, items), dtype)
    batch = {'history/item': shaped(1), 'history/length': jax.ShapeDtypeStruct((1,), jnp.int32)}
    batch |= {'target/item': shaped(network.session), 'valid': shaped(network.session, jnp.float32)}
    params, _ = jax.eval_shape(
        lambda: task.init(jax.random.key(0), {k: jnp.zeros(x.shape, x.dtype) for k, x in batch.items()})
    )
    return sum(x.size for x in jax.tree.leaves(params))


@pytest.mark.parametrize('size', list(SIZES))
def test_sizes_have_the_parameters_that_their_names_say(size):
    found = parameters(read_network({'size': size}))
    assert found == COUNTED[size]
    assert size == 'tiny' or found == pytest.approx(MILLIONS[size] * 1e6, rel=0.1)


def test_every_size_is_a_config():
    assert list(ROWS) == list(SIZES)
    assert all(get_config(size).model.size == size for size in SIZES)


def test_thirteen_per_cent_of_the_largest_are_active():
    network = read_network({'size': '1b'})
    idle = 3 * network.width * network.expert_hidden * (network.experts - network.active) * network.decoder_layers
    whole = parameters(network)
    # The paper says 13% of its own, unstated sizes.
    assert 0.1 < (whole - idle) / whole < 0.2


def test_a_size_gives_way_to_what_is_said_beside_it():
    network = read_network({'size': 'tiny', 'width': 32, 'experts': 4})
    assert (network.width, network.experts, network.hidden) == (32, 4, SIZES['tiny']['hidden'])
    assert network.head_width == 8 and network.tokens == 4 and network.codes == 192
    assert Network().sizes().hidden == 2_048 and Network().sizes(7).hidden == 7


def test_losses_of_experts_by_hand():
    network = read_network({'balance': 0.5, 'z_loss': 0.1, 'bias_rate': 0.01})
    told = MoeInfo(
        dropped=jnp.array([0.0, 0.2]),
        load=jnp.array([[3.0, 1.0], [2.0, 2.0]]),
        balance_loss=jnp.array([1.5, 1.0]),
        z_loss=jnp.array([2.0, 4.0]),
        rounds=jnp.array([1, 1]),
    )
    extra, metrics = expert_losses(network, told)
    np.testing.assert_allclose(extra, 0.5 * 2.5 + 0.1 * 6.0, rtol=1e-6)
    for name, want in {'dropped': 0.1, 'load_max': 1.5, 'balance': 1.25, 'router_z': 3.0}.items():
        np.testing.assert_allclose(metrics[name], want, rtol=1e-6)
    moved = new_biases(network, jnp.zeros((2, 2)), told)
    np.testing.assert_allclose(moved, [[-0.01, 0.01], [0, 0]], rtol=1e-6)


def test_the_evaluator_averages_over_tokens():
    evaluator = SessionEvaluator()
    found = -np.arange(12.0).reshape(2, 2, 3)
    add = lambda valid, found, real: evaluator.add(
        {'valid': np.array(valid)}, {'token_log_prob': found, 'real': np.array(real)}
    )
    add([[1, 0], [1, 1]], found, [[1, 1], [1, 1]])
    add([[0, 0]], found[:1], [[1, 1]])
    add([[1, 1]], np.zeros((1, 2, 3)), [[0, 0]])  # items without an ID say nothing
    got = evaluator.compute()
    kept = found[[0, 1, 1], [0, 0, 1]]
    np.testing.assert_allclose(got['ntp'], -kept.mean())
    np.testing.assert_allclose([got[f'ntp_{level}'] for level in (1, 2, 3)], -kept.mean(0))
    np.testing.assert_allclose(got['perplexity'], np.exp(-kept.mean()))
    assert got['sessions'] == 2
    with pytest.raises(ValueError, match='no valid session was evaluated'):
        SessionEvaluator().compute()
