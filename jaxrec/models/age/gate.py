"""The dynamic gating unit (arXiv 2112.11136, section 3.4; version 1 calls it Dynamic Threshold Unit).

A shallow net on the item's features alone learns the item's average CTR from the clicks that train the model. It reads
the model's own rows and sends no gradient into them.

B requests, C candidates, D width, W values of a multi-valued column.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.data.logs.schema import Column
from jaxrec.models.ctr.features import FeatureMap
from jaxrec.models.ctr.layers import Mlp


class Gate(nn.Module):
    """The net f_dgu."""

    features: FeatureMap  # a map of candidate columns alone
    widths: Sequence[int] = (32,)  # of the hidden layers; one makes the paper's two-layer net

    @nn.compact
    def __call__(self, rows: Mapping[str, Mapping[str, jax.Array]], batch: Mapping[str, jax.Array]) -> jax.Array:
        """Estimates the average CTR of each candidate, logits float32 [B, C], from rows of the model it is beside."""
        own = jax.lax.stop_gradient(own_rows(self.features, rows))
        parts = self.features.parts('candidate', own, batch)
        return Mlp((*self.widths, 1), name='item')(jnp.concatenate(parts, -1))[..., 0]


def make_gate(
    columns: Sequence[str], features: Mapping[str, Sequence[str]], schema: Mapping[str, Column], widths: Sequence[int]
) -> Gate:
    """Builds the gate of a model with `features` {side: [column, ...]}, on candidate `columns`, all of them if empty.

    Raises:
      ValueError: a column that is not the candidate's.
    """
    given = tuple(features.get('candidate', ()))
    if strange := [name for name in columns if name not in given]:
        raise ValueError(
            f'model.gate_columns names {strange[0]!r}, which is not among features.candidate {list(given)}: '
            'the gate reads rows of the model it is beside'
        )
    return Gate(FeatureMap.make({'candidate': tuple(columns) or given}, schema), tuple(widths))


def own_rows(features: FeatureMap, rows: Mapping[str, Mapping[str, jax.Array]]) -> dict[str, dict[str, jax.Array]]:
    """Finds the rows of candidate columns, the `features` map, in a model's rows, whatever its tables are called.

    Returns:
      {vocabulary: {feature: [B, ..., D]}}; of several tables of a column the one of its vocabulary's own name, since
      others may be wide, else the first by name.

    Raises:
      ValueError: no table has rows of a column.
    """
    found: dict[str, dict[str, jax.Array]] = {}
    for side, name in features.features:
        key, column = f'{side}/{name}', features.columns[name]
        if column.kind == 'numeric':
            continue
        holding = sorted(table for table, held in rows.items() if key in held)
        if not holding:
            raise ValueError(
                f'model.gate_columns: the base has no rows of {key!r}, only of '
                f'{sorted({feature for held in rows.values() for feature in held})}; name other candidate '
                'columns'
            )
        vocabulary = str(column.vocabulary)
        table = vocabulary if vocabulary in holding else holding[0]
        found.setdefault(vocabulary, {})[key] = rows[table][key]
    return found


def item_average(gate: Gate, params: Any, rows: Any, batch: Mapping[str, jax.Array]) -> jax.Array:
    """Estimates each item's average CTR, float32 [B, C], from the parameters of the gate and the model's rows."""
    logits: Any = gate.apply({'params': params}, rows, batch)
    return jax.nn.sigmoid(logits.astype(jnp.float32))
