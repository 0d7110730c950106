"""The task of click prediction: any module that turns rows and a batch into logits [B, C].

B batch, C candidates, D width.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxrec.embeddings import Table
from jaxrec.evaluation.ctr import CtrEvaluator
from jaxrec.models.ctr.features import read
from jaxrec.training.task import Batch, Metrics, Rows

Ids = dict[str, dict[str, Any]]


class Scored(NamedTuple):
    """The result of a module with losses of its own.

    Attributes:
      logits, losses: float [B, C] and {name: float []}, weighted.
      weight: of the cross-entropy of the logits, added to those losses.
    """

    logits: jax.Array
    losses: dict[str, jax.Array]
    weight: float = 1.0


def mean_cross_entropy(logits: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
    """Binary cross-entropy, averaged over the valid candidates, float32 [].

    Args:
      logits: float [B, C].
      batch: {key: [B, ...]} with label and valid float [B, C].

    Raises:
      ValueError: label or valid is absent or of another shape.
    """
    label, valid = read(batch, 'label'), read(batch, 'valid')
    if not label.shape == valid.shape == logits.shape:  # [B] would broadcast to [B, B] without a word
        raise ValueError(
            f"the batch has 'label' {label.shape} and 'valid' {valid.shape}, logits are "
            f'{logits.shape}; give both as [B, C], C = 1 for pairs'
        )
    losses = optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), label)
    return jnp.sum(losses * valid) / jnp.maximum(valid.sum(), 1)


def blank_rows(tables: Mapping[str, Table], ids: Ids) -> dict[str, dict[str, jax.Array]]:
    """Rows of zeros, {table: {feature: float32 [B, ..., D]}}, for a module whose parameters are drawn."""
    return {
        table: {name: jnp.zeros((*x.shape, tables[table].dim)) for name, x in features.items()}
        for table, features in ids.items()
    }


def row_penalty(rows: Rows, weight: float, valid: jax.Array) -> jax.Array:
    """Half the squared rows that an example reads, averaged over the examples (`valid` [B, C]), times the weight."""
    squares = jnp.asarray(sum(jnp.sum(x**2) for features in rows.values() for x in features.values()))
    return 0.5 * weight * squares / jnp.maximum(valid.sum(), 1)


@dataclasses.dataclass(frozen=True)
class CtrTask:
    """Click prediction by binary cross-entropy; implements `training.task.Task`.

    Attributes:
      module: a Flax module called as (rows, batch, train) -> logits [B, C], or `Scored`.
      tables, ids: {table: Table}, and batch -> {table: {feature: ids}}.
      row_l2: weight of half the squared rows that an example reads, averaged over the examples.
      named: batch -> {table: {batch key: ids}}, as `given_ids`; None where `ids` itself reads a batch alone.
      wanted: refuses a config's section `data` whose batches the module cannot read as intended; None for no check.
    """

    module: nn.Module
    tables: Mapping[str, Table]
    ids: Callable[[Mapping[str, Any]], Ids]
    row_l2: float = 0.0
    named: Callable[[Mapping[str, Any]], Ids] | None = None
    wanted: Callable[[Mapping[str, Any]], None] | None = None

    def check_data(self, data: Mapping[str, Any]) -> None:
        """Refuses a config's section `data`, defaults filled in, whose batches the module cannot read (ValueError)."""
        if self.wanted is not None:
            self.wanted(data)

    def given_ids(self, batch: Mapping[str, Any]) -> Ids:
        """The ids {table: {batch key: ids}} in a batch, of which `ids` looks up all or some; shapes are enough."""
        return (self.named or self.ids)(batch)

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """Draws the parameters from a typed key; only the shapes of the batch matter.

        Returns:
          (params, model_state): model_state holds batch statistics where the module keeps them.
        """
        rows = blank_rows(self.tables, self.ids(batch))
        variables = dict(self.module.init(rng, rows, batch, train=False))
        return variables.pop('params', {}), variables

    def loss(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        """Mean cross-entropy over the valid candidates, plus the module's own losses and the row penalty.

        Args:
          params, model_state: the module's parameters and its other collections.
          rows: {table: {feature: [B, ..., D]}}.
          batch: {key: [B, ...]} with label and valid float [B, C].
          rng: a typed key; unused, the module draws nothing.

        Returns:
          loss float32 [], ({'logloss', 'pcoc', a name each of the module's losses}, new model_state).

        Raises:
          ValueError: what `mean_cross_entropy` refuses.
        """
        del rng
        scored, new_state = self.module.apply(
            {'params': params, **model_state}, rows, batch, train=True, mutable=list(model_state)
        )
        if not isinstance(scored, Scored):
            scored = Scored(scored, {})
        logloss = mean_cross_entropy(scored.logits, batch)
        label, valid = batch['label'], batch['valid']
        probability = jax.nn.sigmoid(scored.logits.astype(jnp.float32))
        clicks = jnp.sum(probability * valid) / jnp.maximum(jnp.sum(label * valid), 1)
        metrics = {**scored.losses, 'logloss': logloss, 'pcoc': clicks}
        loss = scored.weight * logloss + sum(scored.losses.values())
        if self.row_l2:
            loss = loss + row_penalty(rows, self.row_l2, valid)
        return loss, (metrics, new_state)

    def predict(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Scores every candidate: {'logits', 'probability'}, float32 [B, C]. Arguments are those of `loss`."""
        del rng
        scored: Any = self.module.apply({'params': params, **model_state}, rows, batch, train=False)
        logits = (scored.logits if isinstance(scored, Scored) else scored).astype(jnp.float32)
        return {'logits': logits, 'probability': jax.nn.sigmoid(logits)}

    def evaluator(self) -> CtrEvaluator:
        """A fresh accumulator of AUC, GAUC, log-loss and PCOC."""
        return CtrEvaluator()
