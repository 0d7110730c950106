"""Beam search against all sessions there are, and against a slow one with a trie of dicts.

The model of these tests reads all that was written, BOS and positions too, from a cache of its own: a beam
that is handed another's cache, or a code at the wrong position, writes something else.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.ops.generation.beam import beam_search, legality, take_beams
from jaxrec.ops.generation.trie import NONE, build_trie, find
from tests.conftest import slow_cases_but_for
from tests.oracles import beam as oracle

BOS, PRIME = 17, 61


def weights(inputs):
    return np.arange(3, 3 + 2 * inputs, 2)


def tables(sizes, batch, kind):
    """What follows each state of a cache: [B, PRIME, K_l] a level."""
    rng = np.random.default_rng(0)
    if kind == 'ties':  # log-probabilities of three values, sums of which are exact
        return [-rng.integers(1, 4, (batch, PRIME, size)).astype(np.float32) for size in sizes]
    return [rng.normal(size=(batch, PRIME, size)).astype(np.float32) for size in sizes]


def model(tables, items):
    """(step, cache): logits by a hash of the decoder's inputs, each weighed by its position."""
    batch, inputs = len(tables[0]), items * (len(tables) + 1)

    def step(cache, chosen, place):
        read = cache['read']
        if place.level:
            read = read.at[:, :, place.position, 0].set(chosen + 1)
        else:
            if not place.first:
                read = read.at[:, :, place.position - 1, 0].set(chosen + 1)
            read = read.at[:, :, place.position, 0].set(BOS)
        state = jnp.sum(read[..., 0] * weights(inputs), -1) % PRIME
        logits = jax.vmap(lambda table, at: table[at])(jnp.asarray(tables[place.level]), state)
        return logits, {'read': read, 'steps': cache['steps'] + 1}

    return step, {'read': jnp.zeros((batch, 1, inputs, 1), jnp.int32), 'steps': jnp.zeros((batch, 1), jnp.int32)}


def row(tables, items, b, codes, normalised):
    """The oracle's model: the row that follows these codes in example b."""
    levels = len(tables)
    read = np.zeros(items * (levels + 1), np.int64)
    for i, code in enumerate(codes):
        item, level = divmod(i, levels)
        read[item * (levels + 1) + level + 1] = code + 1
    item, level = divmod(len(codes), levels)
    read[: (item + 1) * (levels + 1) : levels + 1] = BOS
    logits = tables[level][b, (read * weights(len(read))).sum() % PRIME].astype(np.float64)
    return logits if normalised else logits - np.log(np.exp(logits).sum())


def run(tables, items, beams, *, catalogue=None, capacity=None, **options):
    sizes = tuple(table.shape[-1] for table in tables)
    trie = None if catalogue is None else build_trie(catalogue, sizes, capacity=capacity)
    step, cache = model(tables, items)
    search = functools.partial(
        beam_search, step, batch=len(tables[0]), items=items, sizes=sizes, beams=beams, **options
    )
    return jax.tree.map(np.asarray, jax.jit(lambda cache, trie: search(cache, trie=trie))(cache, trie))


def check_shape_of_death(found, catalogue):
    """Dead beams come last and say so everywhere; leaves are those of the codes."""
    dead = ~found.alive
    assert (np.diff(found.alive.astype(int), axis=-1) <= 0).all()
    assert (found.scores[dead] == -np.inf).all()
    assert (found.codes[dead] == NONE).all()
    assert (found.leaves[dead] == NONE).all()
    if catalogue is not None:
        ids = oracle.leaves(catalogue)
        for codes, leaves in zip(found.codes[found.alive], found.leaves[found.alive], strict=True):
            assert [ids.index(tuple(item)) for item in codes.tolist()] == leaves.tolist()


CATALOGUE = np.array([[2, 1], [0, 0], [2, 0], [1, 1], [2, 1]])


@pytest.mark.parametrize('distinct', [False, True])
@pytest.mark.parametrize('catalogue', [None, CATALOGUE])
def test_with_beams_for_all_it_finds_every_session(catalogue, distinct):
    given, items, beams = tables((3, 2), 2, 'normal'), 2, 40
    found = run(given, items, beams, catalogue=catalogue, distinct=distinct)
    check_shape_of_death(found, catalogue)
    known = oracle.everything((3, 2)) if catalogue is None else catalogue
    for b in range(2):
        log_probs = lambda codes: row(given, items, b, codes, False)  # noqa: B023
        want = oracle.enumerate_sessions(log_probs, known, items, distinct)
        count = {(True, False): 36, (True, True): 30, (False, False): 16, (False, True): 12}
        assert len(want) == found.alive[b].sum() == count[catalogue is None, distinct]
        np.testing.assert_allclose(found.scores[b, : len(want)], [score for score, _ in want], rtol=1e-5)
        got = {tuple(codes): score for codes, score in zip(
            found.codes[b].reshape(beams, -1).tolist(), found.scores[b].tolist(), strict=True)}  # fmt: skip
        for score, codes in want:
            np.testing.assert_allclose(got[codes], score, rtol=1e-5)


def check_slow(given, items, beams, catalogue, distinct, **options):
    """Both searches, beam for beam; log-probabilities as they are, so that ties are ties."""
    sizes = tuple(table.shape[-1] for table in given)
    found = run(given, items, beams, catalogue=catalogue, distinct=distinct, normalised=True, **options)
    check_shape_of_death(found, catalogue)
    known = oracle.everything(sizes) if catalogue is None else catalogue
    for b in range(len(given[0])):
        log_probs = lambda codes: row(given, items, b, codes, True)  # noqa: B023
        want = oracle.search(log_probs, known, sizes, items, beams, distinct)
        assert found.alive[b].sum() == len(want)
        np.testing.assert_array_equal(found.scores[b, : len(want)], [score for score, _ in want])
        got = found.codes[b, : len(want)].reshape(len(want), -1).tolist()
        assert [tuple(codes) for codes in got] == [codes for _, codes in want]
    return found


@pytest.mark.parametrize(
    ('beams', 'distinct', 'catalogue'),
    slow_cases_but_for(
        ((1, False, None), (5, True, 'some'), (9, False, 'some')),
        [(*of, catalogue) for of in ((1, False), (5, True), (9, False)) for catalogue in (None, 'some')],
    ),
)
def test_it_keeps_the_beams_of_the_slow_search_ties_and_all(beams, distinct, catalogue):
    sizes = (4, 3, 2)
    if catalogue:
        catalogue = np.random.default_rng(1).integers(0, sizes, (11, 3))
    check_slow(tables(sizes, 2, 'ties'), 3, beams, catalogue, distinct)


def test_prefixes_whose_ids_are_all_taken_are_closed_before_a_beam_enters():
    catalogue = np.array([[0, 0], [1, 0], [1, 1], [2, 1]])
    given = tables((3, 2), 1, 'ties')
    given[0][..., 0] = 5  # the best item by far, at every turn
    found = check_slow(given, 4, 3, catalogue, True)
    assert found.alive.all()  # a search that let beams enter would have lost them all at the second item


def test_a_beam_that_nothing_may_follow_dies():
    sizes = (3, 2)
    two = np.array([[0, 1], [2, 0]])
    assert not run(tables(sizes, 2, 'normal'), 3, 4, catalogue=two, distinct=True).alive.any()
    nobody = run(tables(sizes, 2, 'normal'), 2, 4, catalogue=np.zeros((0, 2), int))
    assert not nobody.alive.any()
    check_shape_of_death(nobody, None)
    given = tables(sizes, 1, 'ties')
    given[1][..., 1] = -np.inf  # the model itself forbids what the catalogue offers
    found = check_slow(given, 2, 4, two, False)
    assert found.alive.sum() == 1
    given = tables(sizes, 1, 'normal')
    given[1][:] = -np.inf
    assert not run(given, 2, 4).alive.any()


def test_a_nan_is_seen():
    given = tables((3, 2), 1, 'normal')
    given[1][:] = np.nan
    assert np.isnan(run(given, 1, 4).scores).any()


@pytest.mark.slow
def test_ten_thousand_sessions_are_legal_and_free_ones_are_counted():
    sizes, items = (8, 8, 8), 5
    catalogue = np.random.default_rng(0).integers(0, sizes, (100, 3))
    given = tables(sizes, 40, 'normal')
    trie = build_trie(catalogue, sizes)
    found = run(given, items, 256, catalogue=catalogue, distinct=True)
    counts = legality(trie, found)
    assert counts.sessions == counts.legal_sessions == counts.distinct_sessions == 40 * 256 > 10_000
    assert counts.items == counts.legal_items == items * counts.sessions
    np.testing.assert_array_equal(find(trie, found.codes), found.leaves)
    free = run([table[:2] for table in given], items, 50)
    counts = legality(trie, free)
    known = set(oracle.leaves(catalogue))
    legal = [[tuple(item) in known for item in codes] for codes in free.codes[free.alive].tolist()]
    assert counts.sessions == len(legal)
    assert counts.items == items * len(legal)
    assert 0 < counts.legal_items == np.sum(legal) < counts.items
    assert counts.legal_sessions == np.sum(np.all(legal, -1))
    whole = [len(set(map(tuple, codes))) == items for codes in free.codes[free.alive].tolist()]
    assert counts.distinct_sessions == sum(whole)


def test_one_program_serves_a_growing_catalogue():
    sizes, items, beams = (4, 3), 2, 49  # as many as there are sessions
    given = tables(sizes, 2, 'normal')
    catalogue = np.array([[0, 0], [1, 2], [3, 1], [1, 0], [0, 2], [3, 2], [2, 2]])
    traces = []
    step, cache = model(given, items)

    @jax.jit
    def search(cache, trie):
        traces.append(1)
        return beam_search(step, cache, batch=2, items=items, sizes=sizes, beams=beams, trie=trie)

    for count in (5, 6, 7):
        found = search(cache, build_trie(catalogue[:count], sizes, capacity=7))
        want = run(given, items, beams, catalogue=catalogue[:count])
        np.testing.assert_array_equal(found.codes, want.codes)
    assert (np.asarray(found.codes) == [2, 2]).all(-1).any()  # which came last
    assert len(traces) == 1


def test_a_batch_cut_over_devices_is_searched_where_it_lies(eight_devices):
    mesh = jax.sharding.Mesh(np.array(eight_devices), ('data',))
    sizes, items = (4, 3), 3
    given = tables(sizes, 8, 'normal')
    catalogue = np.array([[0, 0], [1, 2], [3, 1], [1, 0], [0, 2]])
    trie = build_trie(catalogue, sizes)

    def part(given):
        step, cache = model(given, items)
        return beam_search(
            step, cache, batch=len(given[0]), items=items, sizes=sizes, beams=6, trie=trie, distinct=True
        )

    spec = jax.P('data')
    found = jax.jit(jax.shard_map(part, mesh=mesh, in_specs=spec, out_specs=spec))(given)
    want = run(given, items, 6, catalogue=catalogue, distinct=True)
    np.testing.assert_array_equal(found.codes, want.codes)
    np.testing.assert_array_equal(found.leaves, want.leaves)


def test_beams_are_read_with_all_they_carry():
    tree = {'a': np.arange(12).reshape(2, 3, 2, 1), 'b': np.arange(6.0).reshape(2, 3), 'c': np.zeros((2, 3, 0))}
    beams = np.array([[2, 2, 0, 1], [1, 0, 0, 2]])
    for name, found in take_beams(tree, beams).items():
        np.testing.assert_array_equal(found, tree[name][np.arange(2)[:, None], beams])


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        ({'beams': 0}, r'1 examples, 2 items, levels of \(3, 2\) codes, 0 beams: give 1 or more of each'),
        ({'sizes': (3,)}, r'answered level 0 with logits of shape \(1, 1, 3\)|trie has levels'),
        ({'sizes': (4, 2)}, r'levels of \(3, 2\) codes, the search \(4, 2\): build the trie with these sizes'),
        ({'sizes': (4, 2), 'trie': None}, r'level 0 with logits of shape \(1, 1, 3\): there are 4 codes'),
        ({'cache': {'x': np.zeros((1, 5, 2))}}, r"cache\['x'\] has shape \(1, 5, 2\): it opens with one beam"),
    ],
)
def test_what_cannot_be_searched_is_refused(changed, message):
    step, cache = model(tables((3, 2), 1, 'normal'), 2)
    trie = build_trie(CATALOGUE, (3, 2))
    given = {'cache': cache, 'batch': 1, 'items': 2, 'sizes': (3, 2), 'beams': 4, 'trie': trie, **changed}
    with pytest.raises(ValueError, match=message):
        beam_search(step, **given)
