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

from jaxrec.data.features.pairs import SIDES
from jaxrec.data.logs.schema import Column
from jaxrec.ops.histories.pooling import length_mask, masked_mean, masked_sum

POOLINGS = {'sum': masked_sum, 'mean': masked_mean}
NEGATIVE = 'history_negative'  # for each behaviour one that did not happen, where a source draws them


class Inputs(NamedTuple):
    """A batch in vectors.

    Attributes:
      user, candidate: float [B, Fu * D], or [B, 0] without user features; and [B, C, Fc * D].
      history, mask: float [B, L, Fh * D], or [B, 0, 0] without history features; and [B, L], 1 for real history slots.
      pooled: float [B, Fh * D], the history in one vector.
      negative: float [B, L, Fh * D], behaviours that did not happen; None where they are not read.
    """

    user: jax.Array
    candidate: jax.Array
    history: jax.Array
    mask: jax.Array
    pooled: jax.Array
    negative: jax.Array | None = None


@dataclasses.dataclass(frozen=True)
class FeatureMap:
    """Which features a model reads, in the order in which it concatenates them.

    Attributes:
      features, columns: ((side, column), ...) and {column: Column}.
      history_pooling: 'sum', or 'mean' where histories at test are longer than those of training.
      negatives: read the history's columns once more under 'history_negative', from batches that have them.
    """

    features: tuple[tuple[str, str], ...]
    columns: Mapping[str, Column]
    history_pooling: str = 'sum'
    negatives: bool = False

    @classmethod
    def make(
        cls,
        features: Mapping[str, Any],
        schema: Mapping[str, Column],
        history_pooling: str = 'sum',
        negatives: bool = False,
    ) -> 'FeatureMap':
        """Reads a config's features {side: [column, ...]} against a log's schema, whose vocabularies name the tables.

        Raises:
          ValueError: an unknown side, column or pooling, or no candidate feature.
        """
        if history_pooling not in POOLINGS:
            raise ValueError(
                f'model.history_pooling = {history_pooling!r} does not exist; choose one of {sorted(POOLINGS)}'
            )
        pairs = []
        for side, names in features.items():
            if side == 'cartesian':
                raise ValueError(
                    'data.cartesian gives pair ids, but this model reads none: take it out of the config, or '
                    "use the task 'jaxrec.models.baselines.cartesian:make_task' or CAN's model.base = "
                    "'cartesian'"
                )
            if side not in SIDES:
                raise ValueError(f'features.{side}: a feature is on one of the sides {SIDES}')
            for name in names:
                if name not in schema:
                    raise ValueError(f'features.{side} names column {name!r}; the log has the columns {sorted(schema)}')
                pairs.append((side, name))
        if not any(side == 'candidate' for side, _ in pairs):
            raise ValueError('features.candidate is empty: a CTR model scores candidates, name at least one column')
        pairs.sort(key=lambda pair: SIDES.index(pair[0]))  # stable: a side keeps its order
        return cls(tuple(pairs), {name: schema[name] for _, name in pairs}, history_pooling, negatives)

    def ids(self, batch: Mapping[str, Any], suffix: str = '') -> dict[str, dict[str, Any]]:
        """Names the rows of all features that have a table: {table with suffix: {'side/column': ids [B, ...]}}.

        Raises:
          ValueError: the batch lacks a feature.
        """
        ids: dict[str, dict[str, Any]] = {}
        for side, name in self._read(batch):
            if self.columns[name].kind == 'numeric':
                continue
            table = f'{self.columns[name].vocabulary}{suffix}'
            ids.setdefault(table, {})[f'{side}/{name}'] = read(batch, f'{side}/{name}')
        return ids

    def table_rows(self) -> dict[str, int]:
        """Rows of every vocabulary that a feature reads, {vocabulary: V}."""
        columns = (self.columns[name] for _, name in self.features)
        return {c.vocabulary: c.rows for c in columns if c.vocabulary is not None and c.kind != 'numeric'}

    def vectors(self, rows: Mapping[str, Mapping[str, jax.Array]], batch: Mapping[str, jax.Array]) -> Inputs:
        """Concatenates the vectors of each side; multi-valued columns are averaged over their values.

        Args:
          rows: {table: {'side/column': [B, ..., D]}} as `lookup` returns them for `ids`.
          batch: {'side/column': array}.
        """
        parts = {side: self.parts(side, rows, batch) for side in (*SIDES, NEGATIVE)}
        batch_size = read(batch, 'label').shape[0]
        empty = jnp.zeros((batch_size, 0), jnp.float32)
        user = jnp.concatenate(parts['user'], -1) if parts['user'] else empty
        history = jnp.concatenate(parts['history'], -1) if parts['history'] else empty[:, :, None][:, :, :0]
        mask = length_mask(read(batch, 'history/length'), history.shape[1]) if parts['history'] else empty
        pooled = POOLINGS[self.history_pooling](history, mask)
        negative = jnp.concatenate(parts[NEGATIVE], -1) if parts[NEGATIVE] else None
        return Inputs(user, jnp.concatenate(parts['candidate'], -1), history, mask, pooled, negative)

    def parts(
        self, side: str, rows: Mapping[str, Mapping[str, jax.Array]], batch: Mapping[str, jax.Array]
    ) -> tuple[jax.Array, ...]:
        """The vectors [B, ..., Di] of one side, such as 'history', a part each column; the rest as for `vectors`."""
        found = []
        for where, name in self._read(batch):
            if where != side:
                continue
            key, column = f'{side}/{name}', self.columns[name]
            if column.kind == 'numeric':
                # Counts and prices span decades; the signed logarithm keeps order and tames the range.
                value = read(batch, key)
                found.append((jnp.sign(value) * jnp.log1p(jnp.abs(value)))[..., None])
                continue
            part = rows[str(column.vocabulary)][key]
            if column.kind == 'multi':
                part = masked_mean(part, (batch[key] > 0).astype(jnp.float32))
            found.append(part)
        return tuple(found)

    def as_history(self, side: str) -> 'FeatureMap':
        """The history's columns alone, under another side such as 'long': another window in the same tables."""
        features = tuple((side, name) for where, name in self.features if where == 'history')
        return dataclasses.replace(self, features=features, negatives=False)

    def _read(self, batch: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        """The features that are read from this batch: negatives too, if it has those of the whole history."""
        negative = [(NEGATIVE, name) for side, name in self.features if side == 'history']
        has_all = all(f'{side}/{name}' in batch for side, name in negative)
        return (*self.features, *negative) if self.negatives and has_all else self.features


def read(batch: Mapping[str, Any], key: str) -> Any:
    """Reads one key of a batch, such as 'candidate/item'.

    Raises:
      ValueError: the batch lacks the key.
    """
    if key not in batch:
        raise ValueError(
            f'the batch lacks {key!r}, which the model reads; it has {sorted(batch)}. Give the source and '
            'the model the same features'
        )
    return batch[key]
