"""Three ways to sum the gradients of equal ids, against `np.add.at`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.embeddings.duplicates import STRATEGIES, choose_strategy, sum_dense, sum_duplicates

V = 11


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_every_row_appears_once_with_its_sum(strategy):
    rng = np.random.default_rng(0)
    run = jax.jit(sum_duplicates, static_argnums=(2, 3))
    scratch = jnp.asarray(rng.integers(-5, 99, V), jnp.int32)  # of any content
    for ids in (rng.integers(0, V + 1, 40), np.full(40, V), np.full(40, 3), rng.integers(4, 7, 40)):
        grads = rng.normal(size=(40, 2)).astype(np.float32)
        sums, scratch = run(jnp.asarray(ids, jnp.int32), grads, V, strategy, scratch)
        want = np.zeros((V + 1, 2))
        np.add.at(want, ids, grads)
        rows = np.asarray(sums.rows)
        named = rows[rows < V]
        assert sorted(named) == sorted(set(ids) - {V}) and (rows <= V).all()
        np.testing.assert_allclose(np.asarray(sums.sums)[rows < V], want[named], rtol=1e-4, atol=1e-5)
        assert not np.asarray(sums.sums)[rows == V].any()
        assert (scratch is None) == (strategy != 'scratch')


def test_pieces_add_up_as_if_they_were_joined():
    rng = np.random.default_rng(0)
    ids, grads = rng.integers(0, V + 1, 40).astype(np.int32), rng.normal(size=(40, 2)).astype(np.float32)
    cut = lambda x: [jnp.asarray(piece) for piece in np.split(x, [3, 3, 30])]
    got = jax.jit(sum_dense, static_argnums=2)(cut(ids), cut(grads), V)
    want, _ = sum_duplicates(jnp.asarray(ids), jnp.asarray(grads), V, 'dense')
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_the_choice_is_dense_up_to_four_rows_an_id_then_by_platform():
    assert choose_strategy(400, 100, 'tpu') == choose_strategy(400, 100, 'cpu') == 'dense'
    assert choose_strategy(401, 100, 'cpu') == 'scratch'
    assert choose_strategy(401, 100, 'gpu') == choose_strategy(401, 100, 'tpu') == 'sort'


def test_rows_are_windows_on_the_cpu_alone():
    """What spares a CPU a copy is a loop over the rows on a TPU."""
    sums = jax.jit(lambda ids, grads: sum_dense([ids], [grads], 50))
    traced = sums.trace(jnp.zeros(8, jnp.int32), jnp.ones((8, 3)))
    lowered = {p: traced.lower(lowering_platforms=(p,)).as_text() for p in ('cpu', 'cuda', 'tpu')}
    assert {p: text.count('inserted_window_dims = [0]') for p, text in lowered.items()} == {
        'cpu': 1, 'cuda': 2, 'tpu': 2,
    }  # fmt: skip
