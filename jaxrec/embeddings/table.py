"""Embedding tables: their description, their initial rows, and how they are sharded over a mesh.

A table is an array [V, D] outside the dense parameters. Row 0 is padding: it reads as zeros and never moves. Row 1 is
for values outside the vocabulary. On a mesh of n devices the array has `padded_rows(V, n)` rows, sharded in contiguous
blocks; the rows past V are zeros, no id reaches them, and checkpoints do not count them.

V rows, D width, n devices.
"""

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.layout import Format, Layout

from jaxrec.embeddings.optimizers import RowOptimizer
from jaxrec.ops import hashing

Placement = jax.sharding.Sharding | Format | None
WIDE = 128  # numbers of a float32 row that a TPU's memory holds side by side
BY_ROW_ON = ('tpu',)
Initializer = Callable[[jax.Array, jax.Array, int], jax.Array]  # (key, rows int32 [V], D) -> float32 [V, D]


def normal(std: float = 0.01) -> Initializer:
    """Returns an initializer of Gaussian rows of mean 0 and this standard deviation."""
    return lambda key, rows, dim: std * hashing.counter_normal(key, rows, dim)


def uniform(limit: float = 0.01) -> Initializer:
    """Returns an initializer of rows uniform in (-limit, limit); several times cheaper to draw than Gaussian ones."""
    return lambda key, rows, dim: limit * (2 * hashing.counter_uniform(key, rows, dim) - 1)


@dataclasses.dataclass(frozen=True)
class Table:
    """One embedding table; several features may read it.

    Attributes:
      name: unique in its task.
      rows, dim: V, ids 0 (padding) and 1 (out of vocabulary) included; and D.
      initializer: draws the rows; row 0 is zeroed whatever it returns.
      optimizer: its row optimizer; None takes the run's.

    Raises:
      ValueError: fewer than 2 rows, more than int32 ids can name, or a width below 1.
    """

    name: str
    rows: int
    dim: int
    initializer: Initializer = normal()
    optimizer: RowOptimizer | None = None

    def __post_init__(self):
        if not 2 <= self.rows < np.iinfo(np.int32).max:
            raise ValueError(
                f'table {self.name!r}: rows={self.rows}, but ids are int32 and rows 0 (padding) and 1 (out '
                f'of vocabulary) always exist; give 2 to {np.iinfo(np.int32).max - 1} rows'
            )
        if self.dim < 1:
            raise ValueError(f'table {self.name!r}: dim={self.dim}, but a row needs at least one number')


def as_specs(tables: Sequence[Table]) -> dict[str, Table]:
    """Indexes the table specs of one task by name.

    Raises:
      ValueError: two tables share a name.
    """
    specs: dict[str, Table] = {}
    for table in tables:
        if specs.setdefault(table.name, table) is not table:
            raise ValueError(f'two tables are called {table.name!r}; let the features share one, or rename it')
    return specs


def padded_rows(rows: int, devices: int) -> int:
    """Rows of the array that holds a table on n devices: the least multiple of n that is at least V."""
    return -(-rows // devices) * devices


def cut_rows(mesh: jax.sharding.Mesh | None) -> tuple[int, jax.NamedSharding | None]:
    """The number of devices, and the sharding of rows [V padded, ...] of tables and slots, None without a mesh."""
    return (1, None) if mesh is None else (mesh.size, jax.NamedSharding(mesh, jax.P(mesh.axis_names)))


def place_rows(mesh: jax.sharding.Mesh | None, shape: Sequence[int]) -> Placement:
    """The sharding of `cut_rows` for an array of shape (V padded, ...), with the order of rows for wide ones on TPUs.

    A TPU lays a float32 [V, 160] out column after column, since its rows would be padded to 256, but takes rows of 128
    numbers and more from arrays that are row-major: each step would copy the table to that order and back.
    """
    _, sharding = cut_rows(mesh)
    if mesh is None or mesh.devices.flat[0].platform not in BY_ROW_ON or len(shape) < 2 or shape[-1] < WIDE:
        return sharding
    return Format(Layout(tuple(range(len(shape)))), sharding)


def init_tables(
    specs: Mapping[str, Table], key: jax.Array, mesh: jax.sharding.Mesh | None = None
) -> dict[str, jax.Array]:
    """Draws every table, each shard on its own device; the values do not depend on the mesh.

    Args:
      specs: {name: Table}.
      key: a typed PRNG key; each table folds in a checksum of its name, so adding a table changes no other.
      mesh: where the rows are sharded; None for one device.

    Returns:
      {name: float32 [padded_rows(V, n), D]}, row 0 and the rows past V zero.
    """
    devices, _ = cut_rows(mesh)
    places = {name: place_rows(mesh, (padded_rows(spec.rows, devices), spec.dim)) for name, spec in specs.items()}

    draw_all = lambda keys: {
        name: draw_table(spec, keys[name], padded_rows(spec.rows, devices)) for name, spec in specs.items()
    }
    return jax.jit(draw_all, out_shardings=places)(table_keys(specs, key))


def table_keys(specs: Mapping[str, Table], key: jax.Array) -> dict[str, jax.Array]:
    """{table: its key}: `key` with a checksum of the table's name folded in."""
    return {name: jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF) for name in specs}


def draw_table(spec: Table, key: jax.Array, length: int) -> jax.Array:
    """The initial values of one table: float32 [length, D], row 0 and the rows past V zero."""
    rows = jnp.arange(length, dtype=jnp.int32)
    values = spec.initializer(key, rows, spec.dim)
    return jnp.where(((rows > 0) & (rows < spec.rows))[:, None], values, 0).astype(jnp.float32)


def check_ids(specs: Mapping[str, Table], ids: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Refuses host ids that no row answers to; the last moment to do so, since a jitted step cannot raise.

    Args:
      specs, ids: {table: Table} and {table: {feature: int [B, ...]}}, numpy arrays.

    Raises:
      ValueError: an id outside [0, rows), a dtype that is not an integer, or a table that does not exist.
    """
    for table, features in ids.items():
        if table not in specs:
            raise ValueError(f'ids of table {table!r}, but the task has only {sorted(specs)}')
        for feature, values in features.items():
            values = np.asarray(values)
            if not np.issubdtype(values.dtype, np.integer):
                raise ValueError(f'feature {feature!r} of table {table!r} has dtype {values.dtype}; ids are integers')
            if values.size and not (0 <= values.min() and values.max() < specs[table].rows):
                bad = values[(values < 0) | (values >= specs[table].rows)].flat[0]
                raise ValueError(
                    f'feature {feature!r} of table {table!r} holds id {bad}, outside '
                    f'[0, {specs[table].rows}); map unknown values to 1 (out of vocabulary) or build the '
                    'table with more rows'
                )
