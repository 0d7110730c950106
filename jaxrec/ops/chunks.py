"""A function of a batch, computed a few examples at a time, so that its intermediates stay in a CPU's cache.

B batch, n devices, Q examples of a device, S of them at a time, N chunks.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

CHUNK_BYTES = 1 << 23  # what the caches of two cores hold, about


def by_chunks(function: Callable[..., Any], *arrays: jax.Array, bytes_each: int, limit: int | None = None) -> Any:
    """Applies a function of examples to a batch of them.

    Nothing is split on accelerators, which consume intermediates as they are computed, nor where these are small. This
    follows the devices that the program is compiled for. A chunk has as many examples of each device that may hold a
    share of the batch, at least one, so that a sharded batch stays sharded.

    Args:
      function: (array [n S, ...], ...) -> tree of arrays [n S, ...]; no example depends on another.
      *arrays: [B, ...] each.
      bytes_each: of an example's intermediates.
      limit: of those of a chunk; None for `CHUNK_BYTES`.

    Returns:
      The tree of arrays [B, ...]; not to be differentiated where the batch is split.
    """
    batch = arrays[0].shape[0]
    devices = _devices(arrays[0])
    size, number = chunk_sizes(batch // devices, devices * bytes_each, limit or CHUNK_BYTES)
    if number == 1:
        return function(*arrays)
    chunked = functools.partial(_chunked, function, _Cut(devices, batch // devices, size, number))
    return jax.lax.platform_dependent(*arrays, cpu=chunked, default=function)


class _Cut(NamedTuple):
    """A batch of n Q examples in N chunks, each of S examples of every device; N S may exceed Q."""

    devices: int
    each: int
    size: int
    number: int

    def split(self, x: jax.Array) -> jax.Array:
        """[B, ...] to [n S, N, ...]."""
        # A chunk takes every N-th example of each device's.
        if extra := self.size * self.number - self.each:
            x = x.reshape(self.devices, self.each, *x.shape[1:])
            # Examples once more, not zeros, of which a function may make no number.
            x = jnp.concatenate([x, x[:, :extra]], 1)
            # An Explicit mesh follows a split or a join of axes, not both at once.
            x = x.reshape(self.devices, self.size, self.number, *x.shape[2:])
            return x.reshape(self.devices * self.size, *x.shape[2:])
        return x.reshape(self.devices * self.size, self.number, *x.shape[1:])

    def room(self, x: jax.ShapeDtypeStruct) -> jax.Array:
        """[n S, N, ...] for N of [n S, ...], cut as these under an Explicit mesh."""
        place = None
        if x.sharding is not None:
            spec = x.sharding.spec
            place = jax.NamedSharding(x.sharding.mesh, jax.P(*spec[:1], None, *spec[1:]))
        return jnp.empty((x.shape[0], self.number, *x.shape[1:]), x.dtype, out_sharding=place)

    def join(self, x: jax.Array) -> jax.Array:
        """[n S, N, ...] to [B, ...]."""
        if self.size * self.number > self.each:
            x = x.reshape(self.devices, self.size, self.number, *x.shape[2:])
            x = x.reshape(self.devices, -1, *x.shape[3:])[:, : self.each]
        return x.reshape(self.devices * self.each, *x.shape[2:])


def _chunked(function: Callable[..., Any], cut: _Cut, *arrays: jax.Array) -> Any:
    views = [cut.split(x) for x in arrays]
    at = lambda i: [jax.lax.dynamic_index_in_dim(x, i, 1, keepdims=False) for x in views]
    shapes = jax.eval_shape(lambda: function(*at(0)))
    empty = jax.tree.map(cut.room, shapes)

    def step(i: jax.Array, found: Any) -> Any:
        put = lambda x, y: jax.lax.dynamic_update_index_in_dim(x, y, i, 1)
        return jax.tree.map(put, found, function(*at(i)))

    return jax.tree.map(cut.join, jax.lax.fori_loop(0, cut.number, step, empty))


def _devices(x: jax.Array) -> int:
    """Over how many devices [B, ...] may be cut; 1 if they do not divide B, since then it is not."""
    # Traced under an Auto mesh that is not set, an array does not say where it lies.
    mesh = jax.typeof(x).sharding.mesh
    devices = jax.device_count() if mesh.empty else mesh.size
    return devices if len(x) % devices == 0 else 1


def chunk_sizes(batch: int, bytes_each: int, limit: int) -> tuple[int, int]:
    """Returns S and N of the equal chunks of Q examples, each within a limit of bytes or one example.

    N S is Q where less than twice the fewest chunks divide it, else up to N - 1 more.
    """
    most = max(1, limit // max(bytes_each, 1))
    if batch <= most:
        return batch, 1
    fewest = -(-batch // most)
    # Chunks that divide the batch need no copy of it, and those half full are hardly slower.
    dividing = (number for number in range(fewest, min(2 * fewest, batch)) if batch % number == 0)
    size = -(-batch // next(dividing, fewest))
    return size, -(-batch // size)
