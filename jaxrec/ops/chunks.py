"""A function of a batch, computed a few examples at a time.

XLA's CPU backend writes every intermediate of a product out. Of a few examples they stay in the cache; those
of a batch are written to memory and read back, and may be several times what goes in and comes out.

B batch, S examples at a time, N chunks.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

CHUNK_BYTES = 1 << 23  # what the caches of two cores hold, about


def by_chunks(
    function: Callable[..., Any],
    *arrays: jax.Array,
    bytes_each: int,
    limit: int | None = None,
    trained: bool = False,
) -> Any:
    """Applies a function of examples to a batch of them.

    Nothing is cut on accelerators, which make intermediates as they are consumed, nor where little is made.
    Which of them it is follows the devices that the program is compiled for.

    Args:
      function: (array [S, ...], ...) -> tree of arrays [S, ...]; no example depends on another.
      *arrays: [B, ...] each.
      bytes_each: of an example's intermediates.
      limit: of those of a chunk; None for `CHUNK_BYTES`.
      trained: that it can be differentiated where the batch is cut, by the arrays and by what the function
        closes over. A chunk's intermediates are made again then and not kept, but the arrays are copied.

    Returns:
      The tree of arrays [B, ...].
    """
    number = number_of_chunks(arrays[0].shape[0], bytes_each, limit or CHUNK_BYTES)
    if number == 1:
        return function(*arrays)
    chunked = functools.partial(_mapped if trained else _chunked, function, number)
    return jax.lax.platform_dependent(*arrays, cpu=chunked, default=function)


def _chunked(function: Callable[..., Any], number: int, *arrays: jax.Array) -> Any:
    batch = arrays[0].shape[0]
    size = batch // number
    # A chunk takes every N-th example, so that a batch that is cut over devices stays cut.
    views = [x.reshape(size, number, *x.shape[1:]) for x in arrays]
    at = lambda i: [jax.lax.dynamic_index_in_dim(x, i, 1, keepdims=False) for x in views]
    shapes = jax.eval_shape(lambda: function(*at(0)))
    empty = jax.tree.map(lambda x: jnp.empty((size, number, *x.shape[1:]), x.dtype), shapes)

    def step(i: jax.Array, found: Any) -> Any:
        put = lambda x, y: jax.lax.dynamic_update_index_in_dim(x, y, i, 1)
        return jax.tree.map(put, found, function(*at(i)))

    found = jax.lax.fori_loop(0, number, step, empty)
    return jax.tree.map(lambda x: x.reshape(batch, *x.shape[2:]), found)


def _mapped(function: Callable[..., Any], number: int, *arrays: jax.Array) -> Any:
    # The chunks are those of `_chunked`, and first here, as `scan` wants it.
    views = [x.reshape(-1, number, *x.shape[1:]).swapaxes(0, 1) for x in arrays]
    found = jax.lax.map(jax.checkpoint(lambda chunk: function(*chunk)), views)
    return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), found)


def number_of_chunks(batch: int, bytes_each: int, limit: int) -> int:
    """Into how many equal chunks a batch is cut.

    Args:
      batch: B.
      bytes_each: of an example's intermediates.
      limit: of those of a chunk.

    Returns:
      N, which divides B, so that a chunk keeps to the limit or is one example.
    """
    if batch * bytes_each <= limit:
        return 1
    wanted = min(batch, -(-batch * bytes_each // limit))
    return next(number for number in range(wanted, batch + 1) if batch % number == 0)
