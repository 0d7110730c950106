"""The mixture of experts against a loop over tokens and their choices: value, gradient, drops and losses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.ops.experts.grouped import Experts, grouped_ffn
from jaxrec.ops.experts.moe import IMPLEMENTATIONS, capacity, moe_ffn
from tests.conftest import slow_cases_but_for
from tests.oracles import moe as oracle

TOKENS, WIDTH, HIDDEN, EXPERTS = 37, 4, 3, 5
PLENTY = float(EXPERTS)  # times an even spread: slots for every token
CASES = {
    'top 2 of swiglu': {},
    'renormalised': {'renormalise': True, 'top_k': 3},
    'relu': {'activation': 'relu'},
    'gelu, top 1': {'activation': 'gelu', 'top_k': 1},
    'geglu with padding and a bias': {'activation': 'geglu', 'mask': 0.6, 'bias': True},
    'every expert': {'top_k': EXPERTS},
    'one expert': {'experts': 1, 'top_k': 1},
    'all tokens are padding': {'mask': 0.0},
}


def make_case(tokens=TOKENS, experts=EXPERTS, gated=True, skew=0.0, seed=0):
    """x, router, up, down, upstream; with skew nearly all tokens choose the first experts."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(tokens, WIDTH))
    router = rng.normal(size=(WIDTH, experts))
    if skew:
        x[:, 0] = 1.0
        router[0] = -skew * np.arange(experts)
    up = rng.normal(size=(experts, WIDTH, HIDDEN * (2 if gated else 1)))
    down = rng.normal(size=(experts, HIDDEN, WIDTH))
    return [a.astype(np.float32) for a in (x, router, up, down, rng.normal(size=x.shape))]


def make_options(tokens=TOKENS, experts=EXPERTS, mask=None, bias=False, **options):
    rng = np.random.default_rng(9)
    options = {'top_k': 2, 'activation': 'swiglu', **options}
    if mask is not None:
        options['mask'] = rng.random(tokens) < mask
    if bias:
        options['bias'] = rng.normal(size=experts).astype(np.float32) * 0.3
    return options


@functools.partial(jax.jit, static_argnames=('impl', 'capacity_factor', 'top_k', 'activation', 'renormalise', 'kernel'))
def run(x, router, up, down, upstream, **options):
    ffn = lambda x, router, up, down: moe_ffn(x, router, Experts(up, down), **options)
    value, pull, info = jax.vjp(ffn, x, router, up, down, has_aux=True)
    return (value, *info[:-1]), pull(upstream)


def assert_close(got, want):
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    ('name', 'impl'),
    slow_cases_but_for(
        (
            ('top 2 of swiglu', 'ragged'), ('renormalised', 'ragged'), ('relu', 'capacity'),
            ('gelu, top 1', 'capacity'), ('geglu with padding and a bias', 'ragged'),
            ('every expert', 'capacity'), ('one expert', 'capacity'), ('all tokens are padding', 'ragged'),
        ),
        [(name, impl) for name in CASES for impl in IMPLEMENTATIONS],
    ),
)  # fmt: skip
def test_it_is_the_loop(name, impl):
    case = dict(CASES[name])
    experts = case.pop('experts', EXPERTS)
    options = make_options(experts=experts, **case)
    arguments = make_case(experts=experts, gated='glu' in options['activation'])
    got = run(*arguments, impl=impl, capacity_factor=PLENTY, **options)
    want = oracle.moe_ffn(*arguments, **options)
    assert_close(got, want)
    assert float(got[0][1]) == 0.0
    if 'mask' in options:
        assert not np.asarray(got[0][0])[~options['mask']].any() and not np.asarray(got[1][0])[~options['mask']].any()
    else:
        assert np.abs(want[0][0]).max() > 0.1 and all(np.abs(g).max() > 0.1 for g in want[1] if g is not want[1][1])


@pytest.mark.parametrize('skew', [0.0, 6.0])
def test_what_finds_no_slot_is_dropped_and_counted(skew):
    arguments, options = make_case(skew=skew), make_options(mask=0.8)
    slots = capacity(TOKENS, 2, EXPERTS, 0.7)
    got = run(*arguments, impl='capacity', capacity_factor=0.7, **options)
    want = oracle.moe_ffn(*arguments, slots=slots, **options)
    assert want[0][1] > (0.4 if skew else 0.05)
    assert_close(got, want)
    real = options['mask'].sum() * 2
    assert round(float(got[0][1]) * real) == np.maximum(want[0][2] - slots, 0).sum()


def test_skewed_loads_drop_nothing_when_ragged():
    """All tokens on one expert, in blocks of several sizes, and experts without a token."""
    arguments, options = make_case(tokens=203, skew=40.0), make_options(tokens=203)
    got, want = run(*arguments, impl='ragged', **options), oracle.moe_ffn(*arguments, **options)
    np.testing.assert_array_equal(want[0][2], [203, 203, 0, 0, 0])
    assert_close(got, want)
    assert float(got[0][1]) == 0.0 and not np.asarray(got[1][2])[2:].any()


def test_ties_go_to_the_lower_number():
    x, router, up, down, upstream = make_case()
    router = np.zeros_like(router)
    value, _, load, balance, z = run(x, router, up, down, upstream, top_k=2)[0]
    np.testing.assert_array_equal(load, [TOKENS, TOKENS, 0, 0, 0])
    np.testing.assert_allclose(
        value, oracle.moe_ffn(x, router, up, down, upstream, top_k=2)[0][0], rtol=1e-4, atol=1e-5
    )
    assert float(balance) == pytest.approx(1.0) and float(z) == pytest.approx(np.log(5) ** 2)


def network(rows, experts, sizes):
    out, start = np.zeros_like(rows), 0
    for e, size in enumerate(sizes):
        for row in range(start, start + size):
            out[row] = oracle.network(rows[row], experts.up[e], experts.down[e], 'swiglu')[0]
        start += size
    return out


@pytest.mark.parametrize('sizes', [[70, 0, 9, 41, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 130]])
def test_both_kernels_do_the_same(sizes):
    rng = np.random.default_rng(3)
    rows, upstream = (rng.normal(size=(130, WIDTH)).astype(np.float32) for _ in range(2))
    experts = Experts(*make_case()[2:4])

    @functools.partial(jax.jit, static_argnames='kernel')
    def both(rows, experts, kernel):
        value, pull = jax.vjp(lambda *a: grouped_ffn(*a, jnp.asarray(sizes), kernel=kernel), rows, experts)
        return value, pull(upstream)

    blocks, ragged = both(rows, experts, 'blocks'), both(rows, experts, 'ragged_dot')
    np.testing.assert_allclose(blocks[0], network(rows, experts, sizes), rtol=2e-4, atol=2e-5)
    assert_close(blocks, ragged)


def test_half_precision_routes_in_single():
    x, router, up, down, _ = make_case()
    half = jnp.asarray(x, jnp.bfloat16)
    got, info = moe_ffn(half, router, Experts(up, down), top_k=2)
    want, of_same = moe_ffn(half.astype(jnp.float32), router, Experts(up, down), top_k=2)
    assert got.dtype == jnp.bfloat16 and info.balance_loss.dtype == jnp.float32
    np.testing.assert_array_equal(info.load, of_same.load)
    np.testing.assert_allclose(np.float32(got), want, rtol=0.1, atol=0.1)


def test_leading_axes_are_kept():
    x, router, up, down, _ = make_case(tokens=24)
    flat, _ = moe_ffn(x, router, Experts(up, down), top_k=2)
    shaped, _ = moe_ffn(x.reshape(2, 12, WIDTH), router, Experts(up, down), top_k=2, mask=np.ones((2, 12)))
    np.testing.assert_allclose(shaped.reshape(24, WIDTH), flat, rtol=1e-5)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'impl': 'dense'}, "impl 'dense' does not exist; choose one of"),
        ({'capacity_factor': 0.0}, 'capacity_factor=0.0: experts need slots'),
        ({'activation': 'tanh'}, "activation 'tanh' does not exist; choose one of"),
        ({'activation': 'relu'}, r'relu needs \[E, D, 1 \* F\] and \[E, F, D\]'),
        ({'top_k': 0}, 'top_k=0 of 5 experts: choose from 1 to 5'),
        ({'top_k': 6}, 'top_k=6 of 5 experts'),
        ({'kernel': 'cuda'}, "kernel 'cuda' does not exist"),
        ({'router': np.zeros((3, 5), np.float32)}, r'router \(3, 5\) .* do not fit'),
    ],
)
def test_bad_options_are_refused(options, message):
    x, router, up, down, _ = make_case()
    options = {'router': router, 'experts': Experts(up, down), 'top_k': 2, **options}
    with pytest.raises(ValueError, match=message):
        moe_ffn(x, **options)
