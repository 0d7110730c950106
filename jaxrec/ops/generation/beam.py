"""Beam search over sessions of items (OneRec, arXiv 2502.18965, sections 3.2 and 5.1): one program, on the device.

A session is m items, an item L codes, each level with a vocabulary of its own, so that no sequence ends early and every
step is known before the first. The decoder reads BOS before each item: BOS s1 s2 s3 BOS s1 ...

What the beams share, above all the history's keys and values, belongs to the caller and is never tiled. What differs
between beams is the cache, whose second axis is the beams. It opens with one beam, not K equal ones, and grows as the
first expansions do.

With a catalogue's trie, a beam reads the scores of the codes that may follow it and no others. A beam that nothing may
follow dies.

B batch, K beams, k beams at a step, m items, L levels, K_l codes of level l, W codes that may follow.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.ops.generation.trie import NONE, ROOT, Trie, allowed, child, children, find, leaf_count
from jaxrec.ops.generation.trie import step as follow
from jaxrec.ops.largest import largest

Cache = Any  # a tree of arrays [B, k, ...]


class Place(NamedTuple):
    """The position of a step in a session.

    `position` counts the decoder inputs before the one that answers. At level 0 that one is BOS, at others the chosen
    code. At level 0 of later items the chosen code, the last of the item before, is an input too, at position - 1, and
    the step writes both into the cache.
    """

    item: int | jax.Array  # int or int32 [], 0 to m - 1, of the code that is asked for
    level: int  # 0 to L - 1, of that code; the step answers with logits of that level
    position: int | jax.Array  # int or int32 [], item * (L + 1) + level
    first: bool  # whether nothing was chosen yet


# (cache, int32 [B, k] codes chosen last, place) -> (float [B, k, K_l] logits, the cache with the codes in it)
Step = Callable[[Cache, jax.Array, Place], tuple[jax.Array, Cache]]


class Sessions(NamedTuple):
    """What a beam search found, best first."""

    codes: jax.Array  # int32 [B, K, m, L], `NONE` for dead beams
    scores: jax.Array  # float32 [B, K], log-probabilities, -inf for dead beams
    alive: jax.Array  # bool [B, K], whether there is a session at all
    leaves: jax.Array  # int32 [B, K, m], the items' leaves in the trie, `NONE` for dead beams and without a trie


class Legality(NamedTuple):
    """Counts of what a search generated, which add up over batches."""

    items: jax.Array  # int32 [], items of live beams
    legal_items: jax.Array  # int32 [], those among them that the catalogue has
    sessions: jax.Array  # int32 [], live beams
    legal_sessions: jax.Array  # int32 [], those of legal items only
    distinct_sessions: jax.Array  # int32 [], those in which no ID stands twice


class _State(NamedTuple):
    codes: jax.Array  # int32 [B, k, m, L]
    scores: jax.Array  # float32 [B, k]
    node: jax.Array  # int32 [B, k], of the item at hand
    leaves: jax.Array  # int32 [B, k, m]
    cache: Cache


def beam_search(
    step: Step, cache: Cache, *, batch: int, items: int, sizes: Sequence[int], beams: int, trie: Trie | None = None,
    distinct: bool = False, normalised: bool = False,
) -> Sessions:  # fmt: skip
    """Searches for the K sessions of the highest log-probability.

    Log-probabilities are normalised over all codes of a level, with a trie too, and summed in float32. Among equal
    scores the lower parent wins, then the lower code. Call it under `jax.jit`, with the trie as an argument of the
    program.

    Args:
      step: asks the model for the next codes; see `Step` and `Place`. It is traced with ever more beams until there are
        K, and with all K from then on.
      cache: arrays [B, 1, ...], what the first step finds in the cache.
      batch: B.
      items: m.
      sizes: K_l a level.
      beams: K; there may be fewer sessions.
      trie: the catalogue, of the same sizes; None searches all sequences of codes.
      distinct: no ID occurs twice in a session. A prefix all of whose IDs were taken is closed already.
      normalised: the step answers with log-probabilities, which are summed as they are.

    Raises:
      ValueError: numbers below 1, a trie of other sizes, or a cache or an answer of the wrong shape.
    """
    sizes = tuple(sizes)
    _check(cache, batch, items, sizes, beams, trie)
    search = _Search(step, items, sizes, beams, trie, distinct, normalised)
    state = _State(
        codes=jnp.full((batch, 1, items, len(sizes)), NONE, jnp.int32), scores=jnp.zeros((batch, 1), jnp.float32),
        node=jnp.full((batch, 1), ROOT, jnp.int32), leaves=jnp.full((batch, 1, items), NONE, jnp.int32), cache=cache,
    )  # fmt: skip
    item = 0
    while item < items and (item == 0 or state.scores.shape[1] < beams):
        state = search.write_item(item, state)
        item += 1
    if item < items:
        state = jax.lax.fori_loop(item, items, search.write_item, state)
    return _sessions(state, beams)


class _Search(NamedTuple):
    """The fixed part of a search."""

    step: Step
    items: int
    sizes: tuple[int, ...]
    beams: int
    trie: Trie | None
    distinct: bool
    normalised: bool

    def write_item(self, item: int | jax.Array, state: _State) -> _State:
        """Adds one item to each beam."""
        state = state._replace(node=jnp.full_like(state.node, ROOT))
        for level in range(len(self.sizes)):
            state = self.write_code(item, level, state)
        if self.trie is not None:
            state = state._replace(leaves=state.leaves.at[:, :, item].set(state.node))
        return state

    def write_code(self, item: int | jax.Array, level: int, state: _State) -> _State:
        """Adds one code to each beam, and keeps the best beams with all their state."""
        opening = isinstance(item, int) and item == 0  # nothing is taken yet
        first = opening and level == 0
        place = Place(item, level, item * (len(self.sizes) + 1) + level, first)
        chosen = self.chosen(item, level, state, first)
        logits, cache = self.step(state.cache, chosen, place)
        if logits.shape != (*chosen.shape, self.sizes[level]):
            raise ValueError(
                f'the step answered level {level} with logits of shape {logits.shape}: '
                f'there are {self.sizes[level]} codes, answer with {(*chosen.shape, self.sizes[level])}'
            )
        scores = self.candidates(logits, level, state)
        if self.distinct and not opening:
            scores = self.without_taken(scores, item, level, state)
        batch, beams, width = scores.shape
        scores, flat = largest(scores.reshape(batch, -1), min(self.beams, beams * width))
        parent = flat // width
        kept = take_beams(state._replace(cache=cache), parent)
        code, node = self.reached(level, kept.node, flat % width)
        alive = scores != -jnp.inf  # a NaN lives on, to be seen
        return kept._replace(
            scores=scores,
            codes=kept.codes.at[:, :, item, level].set(jnp.where(alive, code, 0)),
            node=jnp.where(alive, node, NONE),
        )

    def chosen(self, item: int | jax.Array, level: int, state: _State, first: bool) -> jax.Array:
        """The codes chosen last, int32 [B, k]; zeros at the first step."""
        if first:
            return jnp.zeros(state.scores.shape, jnp.int32)
        return state.codes[:, :, item, level - 1] if level else state.codes[:, :, item - 1, -1]

    def candidates(self, logits: jax.Array, level: int, state: _State) -> jax.Array:
        """Scores of what may follow, float32 [B, k, W]: a trie's children, or all codes."""
        total = state.scores
        if not self.normalised:
            total = total - _log_normaliser(logits)
        if self.trie is not None and level > 0:
            following = children(self.trie, level, state.node)
            found = jnp.take_along_axis(logits, following.codes, -1, mode='promise_in_bounds')
            return jnp.where(following.exist, total[..., None] + found.astype(jnp.float32), -jnp.inf)
        scores = total[..., None] + logits.astype(jnp.float32)
        if self.trie is None:
            return scores
        # All beams stand at the root, whose children are many: one row masks them all.
        return jnp.where(allowed(self.trie, 0, jnp.int32(ROOT)), scores, -jnp.inf)

    def reached(self, level: int, node: jax.Array, slot: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Codes and nodes, int32 [B, k] each, in slots of `candidates`."""
        if self.trie is None:
            return slot, node
        if level == 0:
            return slot, follow(self.trie, 0, node, slot)
        return child(self.trie, level, node, slot)

    def without_taken(self, scores: jax.Array, item: int | jax.Array, level: int, state: _State) -> jax.Array:
        """Closes codes that lead only to IDs of the session."""
        batch, beams, width = scores.shape
        taken = state.codes[..., level]  # [B, k, m]
        prefix = state.codes[:, :, item, None, :level]  # [B, k, 1, l]
        shared = jnp.arange(self.items) < item
        shared = shared & jnp.all(state.codes[..., :level] == prefix, -1)  # earlier items of this prefix
        same = shared[..., None, :] & (taken[..., None] == taken[..., None, :])
        number = jnp.sum(same, -1)  # IDs taken below each one's code
        below: int | jax.Array
        if self.trie is None:
            below = min(math.prod(self.sizes[level + 1 :]), self.items)  # never as many are taken
            slot = taken
        else:
            parent = state.node[..., None]
            node = follow(self.trie, level, parent, taken)
            below = leaf_count(self.trie, level + 1, node)
            slot = taken if level == 0 else node - child(self.trie, level, parent, jnp.zeros_like(parent))[1]
        slot = jnp.where(shared & (number >= below), slot, width)
        rows = jnp.arange(batch * beams)[:, None]
        flat = scores.reshape(-1, width).at[rows, slot.reshape(-1, self.items)].set(-jnp.inf, mode='drop')
        return flat.reshape(scores.shape)


def take_beams(tree: Any, beams: jax.Array) -> Any:
    """Takes beams int32 [B, K], from 0 to k - 1, of a tree of arrays [B, k, ...]."""

    def take(x: jax.Array) -> jax.Array:
        flat = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))  # whole rows are copied, not elements
        found = jax.vmap(lambda x, at: x.at[at].get(mode='promise_in_bounds'))(flat, beams)
        return found.reshape(*beams.shape, *x.shape[2:])

    return jax.tree.map(take, tree)


def legality(trie: Trie, sessions: Sessions) -> Legality:
    """Counts how much of the sessions of a search without a trie is in the catalogue, of the same sizes."""
    alive = sessions.alive[..., None]
    legal = find(trie, sessions.codes) != NONE  # [B, K, m]
    same = jnp.all(sessions.codes[..., :, None, :] == sessions.codes[..., None, :, :], -1)
    twice = jnp.any(jnp.tril(same, -1), (-2, -1))
    return Legality(
        items=jnp.sum(jnp.broadcast_to(alive, legal.shape)),
        legal_items=jnp.sum(legal & alive),
        sessions=jnp.sum(alive),
        legal_sessions=jnp.sum(jnp.all(legal & alive, -1)),
        distinct_sessions=jnp.sum(sessions.alive & ~twice),
    )


def _log_normaliser(logits: jax.Array) -> jax.Array:
    """float32 [...] of logits [..., K_l]; 0 where all are -inf, which leaves them so."""
    total = jax.nn.logsumexp(logits.astype(jnp.float32), -1)
    return jnp.where(total == -jnp.inf, 0, total)


def _sessions(state: _State, beams: int) -> Sessions:
    """The result of a search, padded with dead beams to K."""
    lacking = beams - state.scores.shape[1]
    pad = lambda x, value: jnp.pad(x, [(0, 0), (0, lacking)] + [(0, 0)] * (x.ndim - 2), constant_values=value)
    scores = pad(state.scores, -jnp.inf)
    alive = scores != -jnp.inf
    null = lambda x: jnp.where(alive.reshape(*alive.shape, *[1] * (x.ndim - 2)), pad(x, NONE), NONE)
    return Sessions(null(state.codes), scores, alive, null(state.leaves))


def _check(cache: Cache, batch: int, items: int, sizes: tuple[int, ...], beams: int, trie: Trie | None) -> None:
    if min(batch, items, beams, len(sizes), *sizes) < 1:
        raise ValueError(
            f'{batch} examples, {items} items, levels of {sizes} codes, {beams} beams: give 1 or more of each'
        )
    if trie is not None and trie.sizes != sizes:
        raise ValueError(
            f'the trie has levels of {trie.sizes} codes, the search {sizes}: build the trie with these sizes'
        )
    for path, x in jax.tree_util.tree_leaves_with_path(cache):
        if jnp.shape(x)[:2] != (batch, 1):
            raise ValueError(
                f'cache{jax.tree_util.keystr(path)} has shape {jnp.shape(x)}: it opens with one beam, '
                f'give [{batch}, 1, ...]; what the beams share is none of the cache'
            )
