"""The rows of tables in a checkpoint, in files of some rows each, written and read without a copy of the table.

A file's name is its first row, its content an array in numpy's format. Rows that pad a table are not written, so any
mesh reads what another has written.

V rows, D width, n devices.
"""

import functools
from collections.abc import Awaitable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.layout import Format

PIECE = 1 << 26  # bytes of a file at most, and of what a save or a restore holds beside the table


class RowFiles:
    """Arrays whose first axis is a table's rows, as a part of an Orbax checkpoint.

    Orbax calls `save` and `load`; every process writes and reads the rows of its own devices.

    Attributes:
      tree: {table: array [V padded, ...], or a tree of such}; to read into, shapes with shardings, which
        `load` replaces by arrays whose rows past V are zero.
      rows: {table: V}.
      failed: why this process could not write its rows, where others wait for it; '' otherwise.
    """

    def __init__(self, tree: Mapping[str, Any], rows: Mapping[str, int]):
        """Takes what is to be saved, or the shapes of what is to be read."""
        self.tree, self.rows, self.failed = dict(tree), rows, ''

    async def save(self, directory: Any) -> Awaitable[None]:
        """Returns the writing of all rows, to be awaited, to the folder that Orbax promises."""
        return self._write(directory)

    async def _write(self, directory: Any) -> None:
        folder = await directory.await_creation()
        try:
            for name, leaf in self._leaves():
                write_rows(folder / _folder(name), leaf, self.rows[name[0]])
        except OSError as error:
            if jax.process_count() == 1:
                raise
            self.failed = str(error)  # raised here, Orbax would have the others wait for this process

    async def load(self, directory: Any) -> Awaitable[None]:
        """Returns the reading of all rows into `tree`, to be awaited; ValueError for missing rows or another shape."""
        return self._read(directory)

    async def _read(self, folder: Any) -> None:
        read = [read_rows(folder / _folder(name), leaf, self.rows[name[0]]) for name, leaf in self._leaves()]
        self.tree = jax.tree.unflatten(jax.tree.structure(self.tree), read)

    def _leaves(self) -> list[tuple[list[str], Any]]:
        """[(['table', 'slot', ...], leaf)], in the order of the tree."""
        return [
            ([str(getattr(key, 'key', key)) for key in path], leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(self.tree)
        ]


def _folder(name: list[str]) -> str:
    """A relative path; names may hold what a path may not."""
    return '/'.join(quote(part, safe='') for part in name)


def write_rows(folder: Any, array: jax.Array, rows: int) -> None:
    """Writes the first V rows of an array [V padded, ...], those on this process's devices, to a new folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in array.addressable_shards:
        if shard.replica_id:
            continue
        first = shard.index[0].start or 0
        for begin, block in _pieces(shard.data, min(shard.data.shape[0], rows - first)):
            with (folder / f'{first + begin:015d}.npy').open('wb') as file:
                _write_array(file, np.ascontiguousarray(block))


def _write_array(file: Any, block: np.ndarray) -> None:
    """`np.save`, whose own errors do not say that a disk is full."""
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(block))
    file.write(block.data.cast('B'))


def _pieces(data: jax.Array, count: int) -> Iterator[tuple[int, np.ndarray]]:
    """(place, block) of the first `count` rows of an array on one device."""
    size = _rows_a_piece(data)
    on_host = np.asarray(data) if next(iter(data.devices())).platform == 'cpu' else None  # no copy there
    for begin in range(0, count, size):
        number = min(size, count - begin)
        if on_host is not None:
            yield begin, on_host[begin : begin + number]
        else:
            yield begin, np.asarray(_cut(data, begin, number))


def _rows_a_piece(array: Any) -> int:
    each = array.dtype.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))
    return max(1, PIECE // max(1, each))


@functools.partial(jax.jit, static_argnums=2)
def _cut(data: jax.Array, begin: int, number: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(data, begin, number)


def read_rows(folder: Any, wanted: jax.ShapeDtypeStruct, rows: int) -> jax.Array:
    """Reads V rows from a folder of `write_rows` into an array [V padded, ...] of a sharding; rows past V are zero.

    Raises:
      ValueError: rows that are missing or of another shape.
    """
    files = _spans(folder, rows)
    places = wanted.sharding.addressable_devices_indices_map(wanted.shape)
    parts = []
    for device, index in places.items():
        start, stop = index[0].start or 0, wanted.shape[0] if index[0].stop is None else index[0].stop
        own = jax.ShapeDtypeStruct((stop - start, *wanted.shape[1:]), wanted.dtype)
        blocks = (_within(path, span, (start, stop), own) for span, path in files if span[1] > start)
        there, layout = jax.sharding.SingleDeviceSharding(device), wanted.format.layout
        at = there if layout is None else Format(layout, there)
        parts.append(_assemble(at, own, (block for block in blocks if block is not None)))
    return jax.make_array_from_single_device_arrays(wanted.shape, wanted.sharding, parts)


def _spans(folder: Any, rows: int) -> list[tuple[tuple[int, int], Any]]:
    """[((first row, row after the last), path)] of the files, which must cover all rows."""
    found = sorted((int(path.name.removesuffix('.npy')), path) for path in folder.glob('*.npy'))
    starts = [first for first, _ in found]
    if rows and starts[:1] != [0]:
        raise ValueError(f'{folder} has lost its first rows: the first file begins with {starts[:1]}')
    stops = [*starts[1:], rows]
    return [((first, stop), path) for (first, path), stop in zip(found, stops, strict=True)]


def _within(
    path: Any, span: tuple[int, int], wanted: tuple[int, int], own: jax.ShapeDtypeStruct
) -> tuple[int, np.ndarray] | None:
    """(place in the wanted rows, block) of a file, None if it has none of them."""
    start, stop = max(span[0], wanted[0]), min(span[1], wanted[1])
    if start >= stop:
        return None
    with path.open('rb') as file:
        block = np.load(file, allow_pickle=False)
    shape = (span[1] - span[0], *own.shape[1:])
    if block.shape != shape or block.dtype != own.dtype:
        raise ValueError(
            f'{path} holds {block.dtype} {block.shape}, and {own.dtype} {shape} belongs there: rows '
            f'{span[0]} to {span[1] - 1}'
        )
    return start - wanted[0], block[start - span[0] : stop - span[0]]


def _assemble(
    there: jax.sharding.Sharding | Format, own: jax.ShapeDtypeStruct, blocks: Iterator[tuple[int, np.ndarray]]
) -> jax.Array:
    """Puts blocks where they belong, in zeros."""
    if own.size * own.dtype.itemsize <= PIECE:
        whole = np.zeros(own.shape, own.dtype)
        for place, block in blocks:
            whole[place : place + len(block)] = block
        return jax.device_put(whole, there)
    device = there.sharding if isinstance(there, Format) else there
    array = jax.jit(lambda: jnp.zeros(own.shape, own.dtype), out_shardings=there)()
    for place, block in blocks:
        # Waiting keeps one piece in flight; the array is written in place.
        array = jax.block_until_ready(_writer(there)(array, jax.device_put(block, device), place))
    return array


@functools.cache
def _writer(there: jax.sharding.Sharding | Format) -> jax.stages.Wrapped:
    """(array, block, place) -> the array with the block in its place."""
    put = lambda array, block, place: jax.lax.dynamic_update_slice_in_dim(array, block, place, 0)
    return jax.jit(put, donate_argnums=0, out_shardings=there)
