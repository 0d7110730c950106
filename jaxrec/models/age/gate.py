"""The dynamic gating unit (arXiv 2112.11136, section 3.4; version 1 calls it Dynamic Threshold Unit).

A shallow net on the item's features alone learns the item's average CTR from the clicks that train the model.
It reads the model's own rows and sends no gradient into them.

B requests, C candidates, D width, W values of a multi-valued column.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.data.schema import Column
from jaxrec.models.ctr.features import FeatureMap
from jaxrec.models.ctr.layers import Mlp


class Gate(nn.Module):
    """The net f_dgu.

    Attributes:
      features: a map of candidate columns alone.
      tables: {vocabulary: table} where the model keeps the rows of a column.
      widths: of the hidden layers; one makes the paper's two-layer net.
    """

    features: FeatureMap
    tables: Mapping[str, str]
    widths: Sequence[int] = (32,)

    @nn.compact
    def __call__(
        self, rows: Mapping[str, Mapping[str, jax.Array]], batch: Mapping[str, jax.Array]
    ) -> jax.Array:
        """Estimates the average CTR of each candidate.

        Args:
          rows: {table: {feature: [B, ..., D]}} of the model it is beside.
          batch: {key: [B, ...]}.

        Returns:
          logits float32 [B, C].
        """
        rows = {vocabulary: rows[table] for vocabulary, table in self.tables.items()}
        parts = self.features.parts('candidate', jax.lax.stop_gradient(rows), batch)
        return Mlp((*self.widths, 1), name='item')(jnp.concatenate(parts, -1))[..., 0]


def make_gate(
    columns: Sequence[str],
    features: Mapping[str, Sequence[str]],
    schema: Mapping[str, Column],
    tables: Sequence[str],
    widths: Sequence[int],
) -> Gate:
    """Builds the gate of a model.

    Args:
      columns: candidate columns that describe the item; none takes all of the model's.
      features: the model's {side: [column, ...]}.
      schema: the log's {column: Column}.
      tables: names of the model's tables; those of a vocabulary begin with its name.
      widths: of the hidden layers.

    Returns:
      The gate.

    Raises:
      ValueError: a column that is not the candidate's, or whose rows the model does not have.
    """
    given = tuple(features.get('candidate', ()))
    if strange := [name for name in columns if name not in given]:
        raise ValueError(
            f'model.gate_columns names {strange[0]!r}, which is not among features.candidate {list(given)}: '
            'the gate reads rows of the model it is beside'
        )
    own = FeatureMap.make({'candidate': tuple(columns) or given}, schema)
    found = {}
    for vocabulary in own.table_rows():
        # A table of the vocabulary's own name where there is one, since others may be wide.
        known = [name for name in sorted(tables) if name == vocabulary or name.startswith(f'{vocabulary}_')]
        if not known:
            raise ValueError(
                f'model.gate_columns: the base has no table for the vocabulary {vocabulary!r}, only '
                f'{sorted(tables)}; name other candidate columns'
            )
        found[vocabulary] = known[0]
    return Gate(own, found, tuple(widths))


def item_average(gate: Gate, params: Any, rows: Any, batch: Mapping[str, jax.Array]) -> jax.Array:
    """The gate's estimate as a probability.

    Args:
      gate: the net.
      params: its parameters.
      rows: {table: {feature: [B, ..., D]}}.
      batch: {key: [B, ...]}.

    Returns:
      float32 [B, C].
    """
    logits: Any = gate.apply({'params': params}, rows, batch)
    return jax.nn.sigmoid(logits.astype(jnp.float32))
