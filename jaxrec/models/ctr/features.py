"""From the columns of a log to the tables a CTR model reads and the vectors it starts from.

Each feature declares its side: 'user' [B, ...], 'candidate' [B, C, ...] or 'history' [B, L, ...]. Columns
with one vocabulary share one table, so an item is the same row as candidate and as history.

B batch, C candidates, L history, W values of a multi-valued column, F features of a side, D width.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.data.schema import Column
from jaxrec.ops.pooling import length_mask, masked_mean, masked_sum

SIDES = ('user', 'candidate', 'history')
POOLINGS = {'sum': masked_sum, 'mean': masked_mean}


class Inputs(NamedTuple):
    """A batch in vectors.

    Attributes:
      user: float [B, Fu * D], or [B, 0] without user features.
      candidate: float [B, C, Fc * D].
      history: float [B, L, Fh * D], or [B, 0, 0] without history features.
      mask: float [B, L], 1 for real history slots.
      pooled: float [B, Fh * D], the history in one vector.
    """

    user: jax.Array
    candidate: jax.Array
    history: jax.Array
    mask: jax.Array
    pooled: jax.Array


@dataclasses.dataclass(frozen=True)
class FeatureMap:
    """Which features a model reads, in the order in which it concatenates them.

    Attributes:
      features: ((side, column), ...).
      columns: {column: Column}.
      history_pooling: 'sum', or 'mean' where histories at test are longer than those of training.
    """

    features: tuple[tuple[str, str], ...]
    columns: Mapping[str, Column]
    history_pooling: str = 'sum'

    @classmethod
    def make(
        cls, features: Mapping[str, Any], schema: Mapping[str, Column], history_pooling: str = 'sum'
    ) -> 'FeatureMap':
        """Reads a config's features against a log's schema.

        Args:
          features: {side: [column, ...]}; only the three sides are allowed.
          schema: the log's {column: Column}; a vocabulary's name is its table's.
          history_pooling: 'sum' or 'mean'.

        Returns:
          The feature map.

        Raises:
          ValueError: an unknown side, column or pooling, or no candidate feature.
        """
        if history_pooling not in POOLINGS:
            raise ValueError(
                f'model.history_pooling = {history_pooling!r} does not exist; '
                f'choose one of {sorted(POOLINGS)}'
            )
        pairs = []
        for side, names in features.items():
            if side not in SIDES:
                raise ValueError(f'features.{side}: a feature is on one of the sides {SIDES}')
            for name in names:
                if name not in schema:
                    raise ValueError(
                        f'features.{side} names column {name!r}; the log has the columns {sorted(schema)}'
                    )
                pairs.append((side, name))
        if not any(side == 'candidate' for side, _ in pairs):
            raise ValueError(
                'features.candidate is empty: a CTR model scores candidates, name at least one column'
            )
        pairs.sort(key=lambda pair: SIDES.index(pair[0]))  # stable: a side keeps its order
        return cls(tuple(pairs), {name: schema[name] for _, name in pairs}, history_pooling)

    def ids(self, batch: Mapping[str, Any], suffix: str = '') -> dict[str, dict[str, Any]]:
        """Names the rows of all features that have a table.

        Args:
          batch: {'side/column': array}.
          suffix: appended to the table names.

        Returns:
          {table: {'side/column': ids [B, ...]}}.

        Raises:
          ValueError: the batch lacks a feature.
        """
        ids: dict[str, dict[str, Any]] = {}
        for side, name in self.features:
            if self.columns[name].kind == 'numeric':
                continue
            table = f'{self.columns[name].vocabulary}{suffix}'
            ids.setdefault(table, {})[f'{side}/{name}'] = read(batch, f'{side}/{name}')
        return ids

    def table_rows(self) -> dict[str, int]:
        """Rows of every vocabulary that a feature reads.

        Returns:
          {vocabulary: V}.
        """
        columns = (self.columns[name] for _, name in self.features)
        return {c.vocabulary: c.rows for c in columns if c.vocabulary is not None and c.kind != 'numeric'}

    def vectors(self, rows: Mapping[str, Mapping[str, jax.Array]], batch: Mapping[str, jax.Array]) -> Inputs:
        """Concatenates the vectors of each side; multi-valued columns are averaged over their values.

        Args:
          rows: {table: {'side/column': [B, ..., D]}} as `lookup` returns them for `ids`.
          batch: {'side/column': array}.

        Returns:
          The inputs.
        """
        parts: dict[str, list[jax.Array]] = {side: [] for side in SIDES}
        for side, name in self.features:
            key = f'{side}/{name}'
            column = self.columns[name]
            if column.kind == 'numeric':
                # Counts and prices span decades; the signed logarithm keeps order and tames the range.
                value = read(batch, key)
                parts[side].append((jnp.sign(value) * jnp.log1p(jnp.abs(value)))[..., None])
                continue
            found = rows[str(column.vocabulary)][key]
            if column.kind == 'multi':
                found = masked_mean(found, (batch[key] > 0).astype(jnp.float32))
            parts[side].append(found)
        batch_size = read(batch, 'label').shape[0]
        empty = jnp.zeros((batch_size, 0), jnp.float32)
        user = jnp.concatenate(parts['user'], -1) if parts['user'] else empty
        history = jnp.concatenate(parts['history'], -1) if parts['history'] else empty[:, :, None][:, :, :0]
        mask = length_mask(read(batch, 'history/length'), history.shape[1]) if parts['history'] else empty
        pooled = POOLINGS[self.history_pooling](history, mask)
        return Inputs(user, jnp.concatenate(parts['candidate'], -1), history, mask, pooled)


def read(batch: Mapping[str, Any], key: str) -> Any:
    """Reads one key of a batch.

    Args:
      batch: {key: array}.
      key: such as 'candidate/item'.

    Returns:
      The array.

    Raises:
      ValueError: the batch lacks the key.
    """
    if key not in batch:
        raise ValueError(
            f'the batch lacks {key!r}, which the model reads; it has {sorted(batch)}. Give the source and '
            'the model the same features'
        )
    return batch[key]
