"""The update on one device against dense numpy rules, for every optimizer and every way to sum duplicates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import embeddings as emb
from jaxrec.parallel import make_mesh
from tests.embeddings import steps


@pytest.mark.parametrize(('rotation', 'clip'), [(0, steps.CLIP), (1, None), (2, steps.CLIP)])
def test_one_device_follows_the_oracle(rotation, clip):
    got = steps.run(rotation, clip=clip)
    steps.assert_as_the_oracle(got, clip=clip)
    scales = [float(info.scale) for info in got.infos]
    assert [scale < 1 for scale in scales] == [clip is not None and t != steps.SPREAD for t in (1, 2, 3, 4)]
    assert all(info.rounds == 1 for info in got.infos)


def test_slots_remember_what_the_rules_need():
    slots = steps.run(0, clip=steps.CLIP).slots  # the run of the test above
    ids = [steps.inputs(t, 24)[0] for t in range(1, steps.STEPS + 1)]
    seen = lambda table, x: {int(i) for f in x[table].values() for i in f.ravel() if 0 < i < steps.SPECS[table].rows}
    last = np.zeros(61, np.int32)
    for step, x in enumerate(ids, 1):
        last[list(seen('category', x))] = step
    np.testing.assert_array_equal(slots['category']['last'], last)
    touched = sorted(set.union(*(seen('item', x) for x in ids)))
    np.testing.assert_array_equal(np.flatnonzero(slots['item']['sum']), touched)
    assert slots['user'] == {}


def test_strategies_follow_from_static_sizes():
    ids, _, _ = steps.inputs(1, 24)  # 120 ids a table
    assert emb.choose_strategies(steps.SPECS, ids) == {'item': 'scratch', 'category': 'dense', 'user': 'dense'}
    specs = emb.as_specs([emb.Table('t', 481, 2), emb.Table('u', 480, 2)])
    two = {'t': {'x': ids['item']['history'][:, :4], 'y': ids['item']['candidate']}, 'u': ids['item']}
    assert emb.choose_strategies(specs, two) == {'t': 'scratch', 'u': 'dense'}
    # On 8 devices a shard has 61 or 60 rows: far fewer than the 120 gradients that are gathered to each.
    assert emb.choose_strategies(specs, two, make_mesh((8, 1))) == {'t': 'dense', 'u': 'dense'}
    assert set(emb.init_scratch(specs, {'t': 'scratch', 'u': 'sort'})) == {'t'}


def test_an_unknown_strategy_or_exchange_is_refused():
    specs = emb.as_specs([emb.Table('t', 9, 2)])
    ids, grads = {'t': {'x': jnp.ones(3, jnp.int32)}}, {'t': {'x': jnp.ones((3, 2))}}
    arguments = [specs, emb.sgd(1.0), {'t': jnp.zeros((9, 2))}, {'t': {}}, {}, ids, grads, 1]
    with pytest.raises(ValueError, match=r"'guess' does not exist; choose one of .*dense.*scratch.*sort"):
        emb.update(*arguments, strategies={'t': 'guess'})
    with pytest.raises(ValueError, match=r'needs an int32 .* array; make it with `init_scratch`'):
        emb.update(*arguments, strategies={'t': 'scratch'})
    with pytest.raises(ValueError, match="exchange 'ring' does not exist; choose one of"):
        emb.update(*arguments, strategies={'t': 'sort'}, exchange='ring')


@pytest.mark.parametrize('exchange', ['gather_ids', 'all_to_all'])
def test_a_task_without_tables_reads_and_moves_nothing(exchange):
    mesh = make_mesh((4, 2))
    assert jax.jit(lambda: emb.lookup({}, {}, {}, mesh=mesh, exchange=exchange))() == {}
    step = lambda: emb.update(
        {}, emb.sgd(0.1), {}, {}, {}, {}, {}, 1, strategies={}, dense_norm=3.0, clip_norm=1.5, mesh=mesh,
        exchange=exchange,
    )  # fmt: skip
    tables, slots, scratch, info = jax.jit(step)()
    assert (tables, slots, scratch) == ({}, {}, {})
    assert (info.norm, info.scale, info.rounds) == (3.0, 0.5, 1)
