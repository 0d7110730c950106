"""The search of long histories against a stable sort: ties, padding, ragged last bins, turns."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from jaxrec.ops.histories.search import inner_scores, top_search
from jaxrec.ops.histories.top_k import inner_search
from jaxrec.parallel import make_mesh
from tests.conftest import slow_cases_but_for
from tests.oracles import sim as oracle
from tests.oracles.sim import check_kept

SIZE = 203  # bins of 4 and 8 leave a ragged last one
LENGTHS = np.array([SIZE, SIZE - 1, 37, 2, 0], np.int32)


def drawn(kind, candidates=3, size=SIZE):
    """(query [B, C, D], two parts of behaviours [B, L, Di]); behind the length stands what would win."""
    rng = np.random.default_rng(0)
    query = rng.integers(1, 4, (len(LENGTHS), candidates, 3)).astype(np.float32)
    parts = [rng.normal(size=(len(LENGTHS), size, width)).astype(np.float32) for width in (1, 2)]
    if kind == 'few values':  # nearly all scores are equal to others, and exact in float32
        parts = [np.round(part) for part in parts]
    if kind == 'ascending':
        parts = [np.sort(part, 1) for part in parts]
    if kind == 'descending':
        parts = [np.sort(part, 1)[:, ::-1] for part in parts]
    for part in parts:
        part[np.arange(size) >= LENGTHS[:, None]] = 1e6
    return query, parts


SIZES = (1, 8, 64), (9, 8, 2), (7, 4, 1), (300, 4, 2)
KINDS = 'normal', 'few values', 'ascending', 'descending'
SORTED = slow_cases_but_for(
    (
        (1, 8, 64, 'normal'), (1, 8, 64, 'few values'), (9, 8, 2, 'few values'), (7, 4, 1, 'ascending'),
        (300, 4, 2, 'few values'), (300, 4, 2, 'descending'),
    ),
    [(*size, kind) for size in SIZES for kind in KINDS],
)  # fmt: skip


@pytest.mark.parametrize(('keep', 'width', 'chunk', 'kind'), SORTED)
def test_it_is_a_stable_sort(keep, width, chunk, kind):
    query, parts = drawn(kind)
    scores = np.asarray(inner_scores(query, parts))
    search = jax.jit(lambda query, *parts: inner_search(query, parts, LENGTHS, keep, width=width, chunk=chunk))
    kept = search(query, *parts)
    check_kept(kept, oracle.top(scores, LENGTHS, keep), keep)
    same = top_search(scores, LENGTHS, keep)
    np.testing.assert_array_equal(kept.index, same.index)
    np.testing.assert_array_equal(kept.length, same.length)


@pytest.mark.parametrize('worst', [-np.inf, np.nan])
def test_real_behaviours_outrank_padding_whatever_their_scores(worst):
    query, behaviours = np.ones((1, 1, 1), np.float32), np.full((1, 100, 1), worst, np.float32)
    behaviours[0, [3, 7]] = -5
    behaviours[0, 40:] = 1e9
    kept = inner_search(query, [behaviours], np.array([40]), 4, width=8)
    check_kept(kept, [[[3, 7, 38, 39]]], 4)


def test_positions_carry_no_gradient_and_one_program_serves_a_shape():
    traces = []

    def read(query, part):
        traces.append(part.shape)
        kept = inner_search(query, [part], LENGTHS, 3, width=4)
        return (part[np.arange(len(LENGTHS))[:, None, None], kept.index] ** 2).sum() + 0 * query.sum()

    query, parts = drawn('normal')
    part = np.concatenate(parts, -1)
    slope = jax.jit(jax.grad(read, (0, 1)))
    for seed in range(3):
        moved = part + np.random.default_rng(seed).normal(size=part.shape).astype(np.float32)
        of_query, of_part = slope(query, moved)
        assert not np.asarray(of_query).any()
        index = np.asarray(inner_search(query, [moved], LENGTHS, 3, width=4).index)
        want = np.zeros_like(moved)
        for b, c, k in np.ndindex(index.shape):
            want[b, index[b, c, k]] += 2 * moved[b, index[b, c, k]]
        np.testing.assert_allclose(of_part, want, rtol=1e-5)
    assert len(traces) == 1


@pytest.mark.parametrize('axis_type', [AxisType.Auto, AxisType.Explicit])
def test_a_batch_cut_over_a_mesh_stays_cut(axis_type, eight_devices):
    rng = np.random.default_rng(0)
    query, part = (rng.normal(size=shape).astype(np.float32) for shape in ((16, 3, 2), (16, 90, 2)))
    lengths = rng.integers(0, 91, 16).astype(np.int32)
    search = jax.jit(lambda query, part, length: inner_search(query, [part], length, 3, width=8, chunk=2))
    want = search(query, part, lengths)
    check_kept(want, oracle.top(np.asarray(inner_scores(query, [part])), lengths, 3), 3)
    mesh = make_mesh((4, 2), axis_type=axis_type)
    sent = jax.device_put((query, part, lengths), jax.NamedSharding(mesh, jax.P(('data', 'model'))))
    with jax.set_mesh(mesh):
        compiled = search.lower(*sent).compile()
        got = compiled(*sent)
    assert 'all-' not in compiled.as_text()
    assert {shard.data.shape for shard in got.index.addressable_shards} == {(2, 3, 3)}
    jax.tree.map(np.testing.assert_array_equal, got, want)


@pytest.mark.parametrize(('width', 'chunk'), [(0, 64), (8, 0)])
def test_bins_and_turns_of_nothing_are_refused(width, chunk):
    query, parts = drawn('normal')
    with pytest.raises(ValueError, match=f'bins of {width} behaviours, {chunk} candidates at a time: give both'):
        inner_search(query, parts, LENGTHS, 3, width=width, chunk=chunk)
