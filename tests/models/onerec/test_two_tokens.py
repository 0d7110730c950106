"""OneRec's network of width 2 on the two codes of one item, worked out by hand."""

import jax
import numpy as np

from jaxrec.models.onerec.options import read_network
from jaxrec.models.onerec.task import SessionTask


def test_two_tokens_by_hand():
    """A history of one item, a session of one: attention is the mean of what is seen."""
    network = read_network(
        {'levels': (2, 2), 'history': 1, 'session': 1, 'width': 2, 'heads': 1, 'encoder_layers': 1,
         'decoder_layers': 1, 'hidden': 1, 'experts': 0, 'activation': 'relu'}
    )  # fmt: skip
    task = SessionTask(network, np.array([[-1, -1], [-1, -1], [0, 1], [1, 0]]))
    batch = {
        'history/item': np.array([[2]]), 'history/length': np.array([1]), 'target/item': np.array([[3]]),
        'valid': np.ones((1, 1), np.float32),
    }  # fmt: skip
    params, state = task.init(jax.random.key(0), batch)
    # Queries and keys of 0 see all alike, feed-forward nets of 0 add nothing.
    params = jax.tree_util.tree_map_with_path(lambda path, x: np.array(x if 'norm' in path[-1].key else 0 * x), params)
    for kind in ('self', 'cross'):
        for name in ('value', 'out'):
            params['decoder'][kind][name][:] = np.eye(2).reshape(params['decoder'][kind][name].shape)
    params['codes'][:] = [[1, 0], [0, 1], [2, 0], [0, 2]]
    params['special'][:] = [[1, 1], [2, 0]]  # SEP and BOS
    # The encoder's x / rms(x) are (1, 1), (1.41421, 0) and (0, 1.41421); their mean is (.80474, .80474).
    # The decoder's (2, 0) and (0, 1) are (1.41421, 0) and (0, 1.41421) to its own attention: BOS sees the
    # first, the code both. (2 + 1.41421 + .80474, .80474) and (.70711 + .80474, 1 + .70711 + .80474) over
    # their rms, 3.03704 and 2.07304, are (1.38916, .26498) and (.72929, 1.21167): what predicts the codes.
    # Code 1 of (1, 0), (0, 1) has -log(1 + exp(1.38916 - .26498)), code 0 of (2, 0), (0, 2)
    # -log(1 + exp(2.42334 - 1.45858)).
    found = task.predict(params, state, {}, batch)['token_log_prob']
    np.testing.assert_allclose(found, [[[-1.40553, -1.28762]]], rtol=1e-4)
