"""Experts cut over a mesh: values, losses and gradients are the dense loop's, however tokens travel."""

import functools

import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from jaxrec.ops.experts.grouped import Experts
from jaxrec.ops.experts.moe import capacity
from jaxrec.parallel import make_mesh, sharded_moe_ffn
from jaxrec.parallel.experts import DISPATCHES
from tests.conftest import slow_but_for
from tests.oracles import moe as oracle
from tests.parallel.hlo import results_of

TOKENS, EXPERTS, WIDTH, HIDDEN = 40, 8, 4, 3
MESHES = [(8, 1), (4, 2), (2, 4), (1, 8)]
WAYS = [(dispatch, impl) for dispatch in DISPATCHES for impl in ('ragged', 'capacity')]


def make_case(tokens=TOKENS, skew=0.0):
    """x, router, up, down and upstream; with skew all tokens choose the first two experts."""
    rng = np.random.default_rng(0)
    x, router = rng.normal(size=(tokens, WIDTH)), rng.normal(size=(WIDTH, EXPERTS))
    if skew:
        x[:, 0] = 1.0
        router[0] = -skew * np.arange(EXPERTS)
    up = rng.normal(size=(EXPERTS, WIDTH, 2 * HIDDEN))
    down = rng.normal(size=(EXPERTS, HIDDEN, WIDTH))
    return [a.astype(np.float32) for a in (x, router, up, down, rng.normal(size=x.shape))]


def place(arguments, mesh):
    """Tokens over both axes, where they divide, and experts over 'model'."""
    tokens = jax.P(('data', 'model')) if len(arguments[0]) % mesh.size == 0 else jax.P()
    specs = (tokens, jax.P(), jax.P('model'), jax.P('model'), tokens)
    return [jax.device_put(a, jax.NamedSharding(mesh, s)) for a, s in zip(arguments, specs, strict=True)]


def run(mesh, arguments, **options):
    """(value and info, gradients), rounds, and the compiled program's text."""

    @jax.jit
    def step(x, router, up, down, upstream):
        ffn = lambda x, router, up, down: sharded_moe_ffn(x, router, Experts(up, down), mesh=mesh, top_k=2, **options)
        value, pull, info = jax.vjp(ffn, x, router, up, down, has_aux=True)
        return ((value, *info[:-1]), pull(upstream)), info.rounds

    placed = place(arguments, mesh)
    compiled = step.lower(*placed).compile()
    got, rounds = compiled(*placed)
    return got, int(rounds), compiled.as_text()


def assert_close(got, want):
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize('shape', slow_but_for(((8, 1), (2, 4)), MESHES))
@pytest.mark.parametrize(('dispatch', 'impl'), WAYS)
def test_it_is_the_dense_loop(dispatch, impl, shape):
    arguments = make_case()
    got, rounds, hlo = run(make_mesh(shape), arguments, dispatch=dispatch, impl=impl, capacity_factor=float(EXPERTS))
    want = oracle.moe_ffn(*arguments, top_k=2)
    assert min(np.abs(x).max() for x in (want[0][0], *want[1])) > 0.1
    assert_close(got, want)
    assert float(got[0][1]) == 0.0 and rounds == 1
    local = EXPERTS // shape[1]
    assert {s.data.shape for s in got[1][2].addressable_shards} == {(local, WIDTH, 2 * HIDDEN)}
    if shape[1] > 1:
        assert bool(results_of('all-to-all', hlo)) == (dispatch == 'all_to_all')
        assert bool(results_of('reduce-scatter', hlo)) == (dispatch == 'ring')
        for kind in results_of('all-gather', hlo):  # tokens may be gathered, weights may not
            assert f'[{EXPERTS},{WIDTH},' not in kind and f'[{EXPERTS},{HIDDEN},' not in kind, kind


@pytest.mark.parametrize('shape', [(2, 4), (1, 8)])
def test_what_overflows_the_buffers_travels_in_further_rounds(shape):
    """All choices are of the first two experts, which one device owns, or two do."""
    arguments = make_case(skew=40.0)
    got, rounds, _ = run(make_mesh(shape), arguments, dispatch='all_to_all', capacity_factor=1.0)
    assert rounds == (4 if shape == (2, 4) else 3)  # 10 and 5 choices, in buffers of 3 and 2
    assert_close(got, oracle.moe_ffn(*arguments, top_k=2))
    assert float(got[0][1]) == 0.0


@pytest.mark.parametrize('dispatch', DISPATCHES)
def test_an_explicit_mesh_gives_the_same(dispatch):
    mesh, arguments = make_mesh((4, 2), axis_type=AxisType.Explicit), make_case()
    with jax.set_mesh(mesh):
        got, _, _ = run(mesh, arguments, dispatch=dispatch)
    assert_close(got, oracle.moe_ffn(*arguments, top_k=2))


@pytest.mark.parametrize('dispatch', DISPATCHES)
def test_tokens_that_the_devices_do_not_divide(dispatch):
    arguments, mask = make_case(tokens=37), np.random.default_rng(1).random(37) < 0.7
    options = {'mask': mask, 'bias': np.linspace(0, 0.5, EXPERTS, dtype=np.float32), 'renormalise': True}
    got, _, _ = run(make_mesh((2, 4)), arguments, dispatch=dispatch, **options)
    assert_close(got, oracle.moe_ffn(*arguments, top_k=2, **options))


def test_the_ring_drops_what_one_device_would():
    arguments = make_case(skew=6.0)
    got, _, _ = run(make_mesh((1, 8)), arguments, dispatch='ring', impl='capacity', capacity_factor=0.7)
    slots = capacity(TOKENS, 2, EXPERTS, 0.7)
    want = oracle.moe_ffn(*arguments, top_k=2, slots=slots)
    assert want[0][1] > 0.3
    assert_close(got, want)


def test_the_all_to_all_drops_device_by_device_and_counts():
    arguments = make_case(skew=6.0)
    x, router, up, down, upstream = arguments
    got, _, _ = run(make_mesh((2, 4)), arguments, dispatch='all_to_all', impl='capacity', capacity_factor=0.7)
    slots, each = capacity(TOKENS // 8, 2, EXPERTS, 0.7), TOKENS // 8
    cut = [slice(d * each, (d + 1) * each) for d in range(8)]
    parts = [oracle.moe_ffn(x[c], router, up, down, upstream[c], top_k=2, slots=slots) for c in cut]
    np.testing.assert_allclose(got[0][0], np.concatenate([p[0][0] for p in parts]), rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(got[0][1], np.mean([p[0][1] for p in parts]), rtol=1e-5)
    np.testing.assert_allclose(got[1][2], sum(p[1][2] for p in parts), rtol=2e-4, atol=2e-5)


def test_no_mesh_is_one_device():
    x, router, up, down, _ = make_case()
    call = functools.partial(sharded_moe_ffn, x, router, Experts(up, down), top_k=2)
    np.testing.assert_array_equal(call(mesh=None)[0], call(mesh=make_mesh((1, 1)))[0])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'dispatch': 'hub'}, "dispatch 'hub' does not exist; choose one of"),
        ({'impl': 'dense'}, "impl 'dense' does not exist"),
        ({'experts': 6}, "6 experts over 4 devices along 'model': make the experts a multiple"),
    ],
)
def test_bad_options_are_refused(options, message):
    x, router, up, down, _ = make_case()
    keep = options.pop('experts', EXPERTS)
    with pytest.raises(ValueError, match=message):
        sharded_moe_ffn(
            x, router[:, :keep], Experts(up[:keep], down[:keep]), mesh=make_mesh((2, 4)), top_k=2, **options
        )
