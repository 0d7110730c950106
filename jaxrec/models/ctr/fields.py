"""Fields: every feature as one vector, for models that cross features.

A field is one feature of one side. Several values of one column are averaged; a history column is a field once it is
pooled over the real behaviours, so pairs inside a history are not crossed. A numeric column is its signed logarithm
times a learned vector (in a history: the pooled logarithms times it). Fields of the request (user and history) are made
once a request and have no candidate axis.

B batch, C candidates, R request fields, K candidate fields, F = R + K, D width.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.embeddings import Table, normal, uniform
from jaxrec.models.ctr.features import FeatureMap

WEIGHT, AWARE = '_weight', '_aware'  # what is appended to a vocabulary's name for its further tables


class Fields(NamedTuple):
    """A batch in fields, numbered request first; [b, i] and [b, c, i] are fields i and R + i.

    Attributes:
      request: float [B, R, D]; field-aware [B, R, F, D], [b, i, j] the vector of field i for field j.
      candidate: float [B, C, K, D]; field-aware [B, C, K, F, D].
    """

    request: jax.Array
    candidate: jax.Array


@dataclasses.dataclass(frozen=True)
class FieldMap:
    """Which fields a model crosses; the `history_pooling` of `features` makes history columns fields."""

    features: FeatureMap

    @classmethod
    def make(
        cls, features: Mapping[str, Any], schema: Mapping[str, Any], history_pooling: str, model: str
    ) -> 'FieldMap':
        """Reads a config's features as fields; `model` is the name in messages, the rest as for `FeatureMap.make`.

        Raises:
          ValueError: what `FeatureMap.make` refuses, or fewer than two fields.
        """
        fields = cls(FeatureMap.make(features, schema, history_pooling))
        if len(fields.names) < 2:
            raise ValueError(
                f'{model} crosses pairs of fields, but features names only {fields.names[0]!r}; name two '
                'columns or more, on any sides'
            )
        return fields

    @property
    def names(self) -> tuple[str, ...]:
        """'side/column' of every field: user, history, candidate."""
        sides = ('user', 'history', 'candidate')
        return tuple(f'{side}/{name}' for side in sides for s, name in self.features.features if s == side)

    @property
    def numeric(self) -> tuple[str, ...]:
        """The fields that are numbers."""
        kinds = {f'{side}/{name}': self.features.columns[name].kind for side, name in self.features.features}
        return tuple(name for name in self.names if kinds[name] == 'numeric')

    def ids(self, batch: Mapping[str, Any], suffixes: Sequence[str] = ('',)) -> dict[str, dict[str, Any]]:
        """Names the rows of tables of each suffix, such as '' and `WEIGHT`: {table: {'side/column': ids [B, ...]}}."""
        return {table: ids for suffix in suffixes for table, ids in self.features.ids(batch, suffix).items()}

    def read(self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array], suffix: str = '') -> dict[str, jax.Array]:
        """Reads every field's row, pooled over values and behaviours; of a numeric field its one number.

        Args:
          rows: {table with suffix: {'side/column': [B, ..., W]}}.
          batch: {'side/column': array}.
          suffix: of the tables.

        Returns:
          {'side/column': float [B, W], of the candidate [B, C, W]}, in the order of `names`.
        """
        rows = {name: rows[f'{name}{suffix}'] for name in self.features.table_rows()}
        x = self.features.vectors(rows, batch)
        sides = {'user': x.user, 'history': x.pooled, 'candidate': x.candidate}
        found, start = {}, dict.fromkeys(sides, 0)
        for name in self.names:
            side, _, column = name.partition('/')
            vocabulary = self.features.columns[column].vocabulary
            width = 1 if name in self.numeric else rows[str(vocabulary)][name].shape[-1]
            found[name] = sides[side][..., start[side] : start[side] + width]
            start[side] += width
        return found

    def slots(self, vocabulary: str) -> int:
        """Field-aware vectors in a row: one a field, less the own one if no other field reads the table."""
        readers = [n for _, n in self.features.features if self.features.columns[n].vocabulary == vocabulary]
        return len(self.names) - (len(readers) == 1)

    def aware_tables(self, dim: int, init_std: float) -> list[Table]:
        """The tables of field-aware vectors: F * D numbers a row, or (F - 1) * D; see `slots`."""
        return [
            Table(f'{name}{AWARE}', rows, self.slots(name) * dim, normal(init_std))
            for name, rows in self.features.table_rows().items()
        ]


def weight_tables(features: FeatureMap) -> list[Table]:
    """Tables one number wide, the weights of one-hots: one table a vocabulary, `<vocabulary>_weight`."""
    return [Table(f'{name}{WEIGHT}', rows, 1, uniform(1e-4)) for name, rows in features.table_rows().items()]


class FieldVectors(nn.Module):
    """One vector of `dim` numbers a field; owns those of the numeric fields."""

    fields: FieldMap
    dim: int
    suffix: str = ''

    @nn.compact
    def __call__(self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> Fields:
        """Reads the fields of a batch from rows {table: {'side/column': [B, ..., D]}}."""
        found = _scale_numbers(self, self.fields, self.fields.read(rows, batch, self.suffix), self.dim)
        return _stack(found, self.dim)


class AwareVectors(nn.Module):
    """For every field one vector of `dim` numbers towards each other field; owns those of the numeric fields."""

    fields: FieldMap
    dim: int

    @nn.compact
    def __call__(self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> Fields:
        """Reads the field-aware vectors of a batch from rows [B, ..., F * D or (F - 1) * D].

        Vectors of a field for itself are zeros where its table has none.
        """
        count = len(self.fields.names)
        found = self.fields.read(rows, batch, AWARE)
        found = _scale_numbers(self, self.fields, found, (count - 1) * self.dim)
        for number, (name, x) in enumerate(found.items()):
            x = x.reshape(*x.shape[:-1], -1, self.dim)
            if x.shape[-2] < count:
                own = jnp.zeros_like(x[..., :1, :])
                x = jnp.concatenate([x[..., :number, :], own, x[..., number:, :]], -2)
            found[name] = x
        return _stack(found, count, self.dim)


class LinearTerms(nn.Module):
    """First-order terms: a bias and the weights of all fields, pooled as the fields are."""

    fields: FieldMap

    @nn.compact
    def __call__(self, rows: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> jax.Array:
        """Sums the weights, rows [B, ..., 1] of the tables of `weight_tables`, to float32 [B, C]."""
        bias = self.param('bias', nn.initializers.zeros, ())
        request, candidate = FieldVectors(self.fields, 1, WEIGHT, name='weights')(rows, batch)
        return bias + request.sum((1, 2))[:, None] + candidate.sum((2, 3))


def _scale_numbers(
    module: nn.Module, fields: FieldMap, found: dict[str, jax.Array], width: int
) -> dict[str, jax.Array]:
    """Makes vectors of the numeric fields, by a parameter `numeric` [fields, width] of the module."""
    if not fields.numeric:
        return found
    slopes = module.param('numeric', nn.initializers.normal(0.01), (len(fields.numeric), width))
    return found | {name: found[name] * slopes[i] for i, name in enumerate(fields.numeric)}


def _stack(found: Mapping[str, jax.Array], *size: int) -> Fields:
    """Fields of the given size each, side by side after their batch (and candidate) axes."""
    candidate = [x for name, x in found.items() if name.startswith('candidate/')]
    request = [x for name, x in found.items() if not name.startswith('candidate/')]
    none = jnp.zeros((candidate[0].shape[0], 0, *size), jnp.float32)
    return Fields(jnp.stack(request, 1) if request else none, jnp.stack(candidate, 2))
