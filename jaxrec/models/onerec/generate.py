"""Sessions written by beam search over the catalogue's semantic IDs (arXiv 2502.18965, sections 3.2 and 5.1).

The history is read once and its keys and values are shared by all beams of a request.

B batch, K beams, k beams at a step, m items, L levels, T session tokens.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxrec.models.onerec.network import Cache, OneRec
from jaxrec.models.onerec.options import Network
from jaxrec.models.onerec.task import BIASES, SessionTask, codes_of
from jaxrec.models.transformer.layers import Memory
from jaxrec.ops.generation.beam import Place, Sessions, Step, beam_search
from jaxrec.ops.generation.trie import NONE, Trie, build_trie, find, leaf_items


class Written(NamedTuple):
    """Sessions, best first.

    Attributes:
      items: int32 [B, K, m], item ids; of a group that shares its ID the first one; -1 where a beam is dead
        or, without a catalogue, where no item has the ID.
      scores: float32 [B, K], log-probabilities, -inf for dead beams.
      sessions: codes and leaves.
    """

    items: jax.Array
    scores: jax.Array
    sessions: Sessions


def make_generate(
    task: SessionTask, *, beams: int, items: int | None = None, distinct: bool = True, free: bool = False
) -> Callable[[Any, Any, Mapping[str, jax.Array], Trie], Written]:
    """Builds the jitted generation.

    Args:
      task: whose network writes.
      beams: K.
      items: m; None for the network's.
      distinct: no item stands twice in a session; the paper does not say.
      free: let beams write any codes, to see how many are legal; dead ends are then found afterwards.

    Returns:
      (params, model_state, batch, trie of the catalogue) -> sessions. The batch has 'history/item' and
      'history/length'.

    Raises:
      ValueError: more items than the network's sessions have.
    """
    network = task.network
    count = network.session if items is None else items
    if not 1 <= count <= network.session:
        raise ValueError(
            f'{count} items are asked for; the network writes 1 to {network.session} (its model.session): '
            'ask for as many'
        )

    def write(module: OneRec, state: Any, batch: Mapping[str, jax.Array], trie: Trie) -> Sessions:
        codes = codes_of(state, batch['history/item'])
        memory = module.encode(codes, batch['history/length'])
        return beam_search(
            _asked(module, memory, state.get(BIASES)),
            module.new_cache(len(memory.mask), 1),
            batch=len(memory.mask),
            items=count,
            sizes=network.levels,
            beams=beams,
            trie=None if free else trie,
            distinct=distinct,
        )

    @jax.jit
    def generate(params: Any, state: Any, batch: Mapping[str, jax.Array], trie: Trie) -> Written:
        sessions: Any = task.module.apply({'params': params}, state, batch, trie, method=write)
        leaves = find(trie, sessions.codes) if free else sessions.leaves
        return Written(leaf_items(trie, leaves, 1)[..., 0], sessions.scores, sessions)

    return generate


@functools.lru_cache(maxsize=8)
def shared_generate(
    network: Network, mesh: Mesh | None, beams: int, items: int, distinct: bool, free: bool
) -> Callable[[Any, Any, Mapping[str, jax.Array], Trie], Written]:
    """One program for all models of a network, since codes are in the state and the trie is given.

    Args:
      network: what writes.
      mesh: where; None for one device.
      beams, items, distinct, free: as of `make_generate`.

    Returns:
      As `make_generate`.

    Raises:
      ValueError: as `make_generate`.
    """
    task = SessionTask(network, np.zeros((0, len(network.levels)), np.int32), mesh=mesh)
    return make_generate(task, beams=beams, items=items, distinct=distinct, free=free)


def _asked(module: OneRec, memory: Memory, biases: jax.Array | None) -> Step:
    """How the beams ask the network for the next codes."""
    levels, history = module.network.levels, module.history_keys(memory)

    def step(cache: Cache, chosen: jax.Array, place: Place) -> tuple[jax.Array, Cache]:
        if place.level:
            tokens, position = [module.embed_tokens(chosen, place.level - 1)], place.position
        elif place.first:
            tokens, position = [module.embed_tokens(chosen, -1)], place.position
        else:  # the last code of the item before has not been read yet
            last = module.embed_tokens(chosen, len(levels) - 1)
            tokens, position = [last, module.embed_tokens(chosen, -1)], place.position - 1
        read = jnp.stack(tokens, 2)  # [B, k, Q, X]
        hidden, cache = module.step(cache, read, position, history, memory.mask, biases)
        return module.logits(hidden, place.level), cache

    return step


def catalogue(codes: np.ndarray, levels: Sequence[int], capacity: int | None = None) -> Trie:
    """The trie of the items that have a semantic ID, whose leaves name them by their row.

    Args:
      codes: int [V, L]; rows of -1 are left out.
      levels: codes of each level.
      capacity: items for which it has room, so that new ones enter without a new program; None for no more.

    Returns:
      The trie.

    Raises:
      ValueError: no item has a semantic ID, or codes outside their levels.
    """
    rows = np.flatnonzero((np.asarray(codes) >= 0).all(1))
    if not len(rows):
        raise ValueError('no item has a semantic ID: tokenize the items of this log')
    trie = build_trie(np.asarray(codes)[rows], levels, capacity=capacity)
    named = np.where(np.asarray(trie.items) >= 0, rows[trie.items], NONE)
    return dataclasses.replace(trie, items=jnp.asarray(named, jnp.int32))
