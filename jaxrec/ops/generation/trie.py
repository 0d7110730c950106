"""A catalogue of semantic IDs as a prefix tree of flat arrays: what may follow a prefix, and the items of a path.

Items sorted by their codes make every prefix a range. A node is a distinct prefix; those of one depth are numbered in
the order of their codes, so that the children of a node are a range of the next depth's nodes, and the leaves below it
are a range too. Two arrays a level suffice, and a beam reads only what may follow (the CSR half of STATIC, arXiv
2602.22647; of its dense half, only the root's row pays).

V items, L levels, K_l codes of level l, N_l nodes of depth l (N_0 = 1, the root), W_l children of the widest node.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.ops.sorting import vary_like

ROOT = 0
NONE = -1  # no node, no leaf, no item


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Trie:
    """The prefix tree of a catalogue; its arrays are leaves of a pytree, its sizes are static."""

    starts: tuple[jax.Array, ...]  # int32 [N_l + 1] a level; the children of node n are starts[n] to starts[n + 1]
    codes: tuple[jax.Array, ...]  # int32 [N_(l + 1)] a level, the last code of each node of the next depth
    first: jax.Array  # int32 [N_L + 1]; the items of leaf n are first[n] to first[n + 1]
    items: jax.Array  # int32 [V], item ids in the order of the leaves, ascending within one
    sizes: tuple[int, ...] = dataclasses.field(metadata={'static': True})  # K_l a level
    widest: tuple[int, ...] = dataclasses.field(metadata={'static': True})  # W_l a level, rounded up to a power of two


class Children(NamedTuple):
    """What may follow nodes."""

    codes: jax.Array  # int32 [..., W], ascending; any code where there is no child
    nodes: jax.Array  # int32 [..., W], of the next depth; `NONE` where there is no child
    exist: jax.Array  # bool [..., W]


def build_trie(codes: np.ndarray, sizes: Sequence[int], *, capacity: int | None = None) -> Trie:
    """Builds the tree of a catalogue on the host.

    The shapes of its arrays follow from the capacity alone, not from the codes. New items enter by building again with
    their codes appended; up to the capacity a compiled search keeps serving, unless the widest node of a level outgrows
    the power of two above it.

    Args:
      codes: int [V, L], item v has the ID codes[v]; items may share one.
      sizes: K_l a level.
      capacity: items for which arrays have room; None for V.

    Returns:
      The tree, on the default device.

    Raises:
      ValueError: codes that are not integers [V, L] or lie outside their level; fewer places than items.
    """
    codes = _checked(np.asarray(codes), sizes)
    count, levels = codes.shape
    room = count if capacity is None else capacity
    if not count <= room < 2**30:  # sums of two positions stay below 2^31
        raise ValueError(f'a catalogue of {count} items and a capacity of {room}: give one from {count} on')
    order = _sorted_order(codes, sizes)
    codes = codes[order]
    heads = np.zeros(count, bool)  # rows that open a node of the depth at hand
    heads[:1] = True
    above, depth_rows = np.zeros(min(count, 1), np.int64), 1  # rows that open a node of the depth above
    starts, labels, widest = [], [], []
    for level in range(levels):
        heads[1:] |= codes[1:, level] != codes[:-1, level]
        rows = np.flatnonzero(heads)
        begins = np.searchsorted(rows, above)
        widest.append(_power_of_two(np.diff(begins, append=len(rows)).max(initial=1)))
        starts.append(_padded(begins, depth_rows + 1, len(rows)))
        depth_rows = max(1, min(room, depth_rows * sizes[level]))
        labels.append(_padded(codes[rows, level], depth_rows, 0))
        above = rows
    first = _padded(above, depth_rows + 1, count)
    items = _padded(order, max(1, room), NONE)
    placed = jax.device_put((tuple(starts), tuple(labels), first, items))
    return Trie(placed[0], placed[1], placed[2], placed[3], tuple(map(int, sizes)), tuple(widest))


def children(trie: Trie, level: int, node: jax.Array) -> Children:
    """Lists what may follow nodes int32 [...] of depth `level`, `NONE` for no node, in the order of the codes."""
    begin, end = _range(trie.starts[level], node)
    nodes = begin[..., None] + jnp.arange(trie.widest[level], dtype=jnp.int32)
    exist = nodes < end[..., None]
    codes = trie.codes[level].at[nodes].get(mode='clip', wrap_negative_indices=False)
    return Children(codes, jnp.where(exist, nodes, NONE), exist)


def child(trie: Trie, level: int, node: jax.Array, slot: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Reads the code and node, int32 [...] each, in `slot` int32 [...] of the `children` of each node of depth `level`.

    Any code and `NONE` where the node has no such child.
    """
    begin, end = _range(trie.starts[level], node)
    found = begin + slot
    code = trie.codes[level].at[found].get(mode='clip', wrap_negative_indices=False)
    return code, jnp.where(found < end, found, NONE)


def allowed(trie: Trie, level: int, node: jax.Array) -> jax.Array:
    """Marks the codes that may follow nodes int32 [...] of depth `level`: bool [..., K_l]; none follow `NONE`."""
    found = children(trie, level, node.reshape(-1))
    codes = jnp.where(found.exist, found.codes, trie.sizes[level])
    mask = jnp.zeros((node.size, trie.sizes[level]), bool)
    mask = mask.at[jnp.arange(node.size)[:, None], codes].set(True, mode='drop')
    return mask.reshape(*node.shape, -1)


def step(trie: Trie, level: int, node: jax.Array, code: jax.Array) -> jax.Array:
    """Follows codes int32 [...] from nodes int32 [...] of depth `level`, by halving the range of their children.

    Returns:
      int32 [...], nodes of the next depth; `NONE` where the catalogue has no such prefix.
    """
    code = jnp.asarray(code)
    begin, end = _range(trie.starts[level], node)
    labels = trie.codes[level]
    read = lambda at: labels.at[at].get(mode='clip')

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = (low + high) // 2
        right = (low < high) & (read(middle) < code)
        return jnp.where(right, middle + 1, low), jnp.where(right, high, jnp.minimum(middle, high))

    low, high = (vary_like(x, code) for x in jnp.broadcast_arrays(begin, end, code)[:2])
    low, _ = jax.lax.fori_loop(0, trie.widest[level].bit_length(), halve, (low, high))
    return jnp.where((low < end) & (read(low) == code), low, NONE)


def find(trie: Trie, codes: jax.Array) -> jax.Array:
    """Returns the leaves, int32 [...], of IDs int32 [..., L]; `NONE` where no item has the ID."""
    node = jnp.full(codes.shape[:-1], ROOT, jnp.int32)
    for level in range(len(trie.sizes)):
        node = step(trie, level, node, codes[..., level])
    return node


def leaf_count(trie: Trie, depth: int, node: jax.Array) -> jax.Array:
    """Counts the distinct IDs, int32 [...], below nodes int32 [...] of a depth from 0, the root, to L."""
    begin, end = jnp.maximum(node, 0), node + 1
    for starts in trie.starts[depth:]:
        begin, end = starts[begin], starts[end]
    return jnp.where(node == NONE, 0, end - begin)


def leaf_items(trie: Trie, leaf: jax.Array, width: int) -> jax.Array:
    """Lists the `width` lowest items of leaves int32 [...]: int32 [..., width], ascending, then `NONE`."""
    begin, end = _range(trie.first, leaf)
    at = begin[..., None] + jnp.arange(width, dtype=jnp.int32)
    return jnp.where(at < end[..., None], trie.items.at[at].get(mode='clip'), NONE)


def _range(starts: jax.Array, node: jax.Array) -> tuple[jax.Array, jax.Array]:
    """First and end of the ranges of nodes [...]; empty for `NONE`."""
    begin = starts[jnp.maximum(node, 0)]
    return begin, jnp.where(node == NONE, begin, starts[node + 1])


def _checked(codes: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    if codes.ndim != 2 or codes.shape[1] != len(sizes) or not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(
            f'codes of shape {codes.shape} and {codes.dtype} for {len(sizes)} levels: '
            f'give integers of shape [items, {len(sizes)}]'
        )
    for level, size in enumerate(sizes):
        if wrong := np.flatnonzero((codes[:, level] < 0) | (codes[:, level] >= size))[:1].tolist():
            raise ValueError(
                f'item {wrong[0]} has the code {codes[wrong[0], level]} at level {level}: '
                f'codes lie from 0 to {size - 1}; mend the ID or give sizes the level its true number'
            )
    return codes


def _sorted_order(codes: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """The stable order of IDs; one integer an ID, where 63 bits hold it, sorts five times as fast."""
    if np.prod([float(size) for size in sizes]) >= 2.0**63:
        return np.lexsort(codes.T[::-1])
    key = np.zeros(len(codes), np.int64)
    for level, size in enumerate(sizes):
        key = key * size + codes[:, level]
    return np.argsort(key, kind='stable')


def _padded(x: np.ndarray, size: int, value: int) -> np.ndarray:
    return np.concatenate([x, np.full(size - len(x), value)]).astype(np.int32)


def _power_of_two(number: int) -> int:
    return 1 << int(number - 1).bit_length()
