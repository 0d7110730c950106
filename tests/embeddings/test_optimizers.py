"""Row optimizers against optax, where every row is touched at every step, and on schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrec import embeddings as emb

PAIRS = {
    'sgd': (emb.sgd(0.1), optax.sgd(0.1)),
    'adam': (emb.lazy_adam(0.01), optax.adam(0.01)),
    'adam_options': (emb.lazy_adam(0.01, b1=0.8, b2=0.99, eps=1e-3), optax.adam(0.01, b1=0.8, b2=0.99, eps=1e-3)),
    'schedule': (emb.sgd(optax.linear_schedule(1.0, 0.0, 4)), optax.sgd(optax.linear_schedule(1.0, 0.0, 4))),
}


def test_all_rows_equal_optax_however_duplicates_are_summed():
    ways = {f'{name}:{way}': way for name in ('sgd', 'adam') for way in ('dense', 'scratch', 'sort')}
    ways |= {'adam_options': 'sort', 'schedule': 'sort'}
    pair = {table: PAIRS[table.partition(':')[0]] for table in ways}
    specs = emb.as_specs([emb.Table(table, 9, 4, optimizer=ours) for table, (ours, _) in pair.items()])
    tables, slots = emb.init_tables(specs, jax.random.key(1)), emb.init_slots(specs, emb.sgd(0.0))
    scratch = emb.init_scratch(specs, ways)
    params, states = dict(tables), {t: theirs.init(tables[t]) for t, (_, theirs) in pair.items()}
    ids = {t: {'all': jnp.arange(9, dtype=jnp.int32)} for t in specs}

    @jax.jit
    def ours_and_theirs(tables, slots, scratch, params, states, grads, step):
        row_grads = {t: {'all': grads} for t in specs}
        default = emb.sgd(0.0)
        held = emb.update(specs, default, tables, slots, scratch, ids, row_grads, step, strategies=ways)[:3]
        new = {t: theirs.update(grads, states[t], params[t]) for t, (_, theirs) in pair.items()}
        params = {t: optax.apply_updates(params[t], updates) for t, (updates, _) in new.items()}
        return *held, params, {t: state for t, (_, state) in new.items()}

    held = tables, slots, scratch, params, states
    for step in range(1, 6):
        grads = jax.random.normal(jax.random.key(step), (9, 4)).at[0].set(0)  # no gradient where ours has none
        held = ours_and_theirs(*held, grads, jnp.int32(step))
    for table in specs:
        assert np.abs(held[0][table] - tables[table]).max() > 0.01
        np.testing.assert_allclose(held[0][table], held[3][table], rtol=1e-5, atol=1e-6, err_msg=table)


def test_adagrad_starts_where_it_is_told():
    rule = emb.row_adagrad(0.5, initial=0.25, eps=0.0)
    slots = rule.init(2, 2)
    updates, new = rule.update(jnp.array([[3.0, 4.0], [0.0, 0.0]]), slots, jnp.int32(1))
    np.testing.assert_allclose(new['sum'], [12.75, 0.25])
    np.testing.assert_allclose(updates, [[-1.5 / 12.75**0.5, -2.0 / 12.75**0.5], [0, 0]], rtol=1e-6)


def test_a_config_names_its_optimizer():
    made = emb.make_row_optimizer('row_adagrad', 0.1, initial=0.5)
    assert set(made.init(3, 2)) == {'sum'} and made.init(3, 2)['sum'][0] == 0.5
    assert set(emb.make_row_optimizer('lazy_adam', 0.1).init(3, 2)) == {'mean', 'square', 'last'}
    assert emb.make_row_optimizer('sgd', 0.1).init(3, 2) == {}
    with pytest.raises(ValueError, match=r"'adam' does not exist; choose one of .*lazy_adam.*row_adagrad.*sgd"):
        emb.make_row_optimizer('adam', 0.1)
