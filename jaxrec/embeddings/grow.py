"""Growing tables for new ids: old rows and their optimizer state stay, new rows are those of a fresh table.

V rows, V' rows before, D width, n devices.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxrec.embeddings.optimizers import RowOptimizer, Slots
from jaxrec.embeddings.table import Table, draw_table, place_rows, table_keys

Arrays = dict[str, jax.Array]


def grow(
    specs: Mapping[str, Table],
    old_rows: Mapping[str, int],
    tables: Mapping[str, jax.Array],
    slots: Mapping[str, Slots],
    key: jax.Array,
    default: RowOptimizer,
    mesh: Mesh | None = None,
) -> tuple[Arrays, dict[str, Slots]]:
    """Fills the rows past the old ones; every shard works on its own rows, nothing moves between devices.

    Args:
      specs, old_rows: {table: Table} of the grown tables, and {table: V'}, V' <= V.
      tables: {table: float32 [V padded, D]}, of which the first V' rows count; donated.
      slots: {table: {slot: [V padded] or [V padded, D]}}, likewise; donated.
      key: as for `init_tables`: the new rows are the ones it would draw.
      default, mesh: the optimizer of tables that name none, and the mesh of the rows.

    Raises:
      ValueError: a table that would shrink.
    """
    for name, spec in specs.items():
        if old_rows[name] > spec.rows:
            raise ValueError(
                f'table {name!r} has {old_rows[name]} rows and would have {spec.rows}: ids are only ever '
                'added, give a log that extends the one of the checkpoint'
            )
    places = jax.tree.map(lambda x: place_rows(mesh, x.shape), (dict(tables), dict(slots)))

    def fill(tables: Arrays, slots: dict[str, Slots], keys: Arrays) -> tuple[Arrays, dict[str, Slots]]:
        grown, grown_slots = {}, {}
        for name, spec in specs.items():
            length = tables[name].shape[0]
            old = jnp.arange(length) < old_rows[name]
            grown[name] = jnp.where(old[:, None], tables[name], draw_table(spec, keys[name], length))
            fresh = (spec.optimizer or default).init(length, spec.dim)
            keep = lambda held, new, old=old: jnp.where(old.reshape(-1, *[1] * (held.ndim - 1)), held, new)
            grown_slots[name] = {slot: keep(slots[name][slot], value) for slot, value in fresh.items()}
        return grown, grown_slots

    filled = jax.jit(fill, out_shardings=places, donate_argnums=(0, 1))
    return filled(dict(tables), dict(slots), table_keys(specs, key))
