"""One candidate and its own copy of the user: a CTR task as a function of what is added to each pair's rows.

A gradient of summed scores would mix the candidates in the user's rows. Here each candidate owns the
perturbation of all the rows that it is scored by: the candidates are mapped over, and the user's rows are
not, until they differ.

B requests, C candidates, D width.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.ops.exploration import Tree
from jaxrec.training.task import Batch, Rows, Task

# Sides of features with an axis for the candidates, and keys that are no feature but have one too.
PER_CANDIDATE, ALSO = ('candidate', 'kept', 'cartesian'), ('label', 'valid', 'explorable')
ITEM = 'candidate'


def is_per_candidate(key: str) -> bool:
    """Whether what stands under a key of rows or of a batch has an axis for the candidates.

    Args:
      key: such as 'candidate/item' or 'valid'.

    Returns:
      True for [B, C, ...], False for [B, ...].
    """
    return key.partition('/')[0] in PER_CANDIDATE or key in ALSO


def is_perturbed(key: str, perturb: str) -> bool:
    """Whether the rows of a feature are perturbed.

    Args:
      key: such as 'history/item'.
      perturb: 'all', 'item' or 'user'.

    Returns:
      True or False.
    """
    return perturb == 'all' or (perturb == 'item') == (key.partition('/')[0] == ITEM)


@dataclasses.dataclass(frozen=True)
class Pairs:
    """The pairs of a batch.

    A delta is {table: {feature: float [B, C, ..., D]}} of the perturbed features, the user's too.

    Attributes:
      task: the CTR task.
      params: its parameters.
      model_state: its other state.
      rows: {table: {feature: [B, ..., D]}}.
      batch: {key: [B, ...]}.
      perturb: which rows a delta is of.
    """

    task: Task
    params: Any
    model_state: Any
    rows: Rows
    batch: Batch
    perturb: str = 'all'

    @property
    def moving(self) -> dict[str, dict[str, jax.Array]]:
        """{table: {feature: [B, ..., D]}}, the perturbed rows as they are."""
        return self._select(True)

    @property
    def width(self) -> int:
        """Numbers of a pair's delta."""
        candidates = self.batch['valid'].shape[1]
        own, shared = (jax.tree.leaves(side) for side in _divide(self.moving))
        return sum(x[0].size for x in own) // candidates + sum(x[0].size for x in shared)

    def gradient(self) -> Tree:
        """The gradient of each pair's logit with respect to the perturbed rows, at the rows themselves.

        Returns:
          A delta.
        """
        own, shared = _divide(self.moving)
        if not _leaves(shared):  # the candidates' rows touch their own scores alone, so a sum mixes nothing
            return jax.grad(lambda own: self._predict(own)['logits'].sum())(own)

        # The user's rows stay unmapped, so what the model makes of them is computed once a request.
        def of_candidate(own: Rows, still: Rows, batch: Batch) -> Tree:
            total = lambda own, shared: self._one(_join(own, shared), still, batch)['logits'].sum()
            return _join(*jax.grad(total, argnums=(0, 1))(own, shared))

        still_own, still_shared = _divide(self._select(False))
        mapped, unmapped = _divide({'': self.batch})
        over = jax.vmap(
            lambda own, still, batch: of_candidate(own, _join(still, still_shared), {**batch, **unmapped['']}),
            in_axes=1,
            out_axes=1,
        )
        return over(own, still_own, mapped[''])

    def gradient_at(self, delta: Tree) -> Tree:
        """The same at perturbed rows.

        Args:
          delta: where.

        Returns:
          A delta.
        """
        return jax.grad(lambda delta: self.scores(delta)['logits'].sum())(delta)

    def scores(self, delta: Tree) -> dict[str, jax.Array]:
        """Scores every pair at its own perturbed rows.

        Args:
          delta: what is added.

        Returns:
          {'logits', 'probability'}: float32 [B, C].
        """
        own, shared = _divide(self.moving)
        if not _leaves(shared):
            return self._predict(jax.tree.map(jnp.add, own, delta))
        moved = {
            table: {
                key: (x if is_per_candidate(key) else x[:, None]) + delta[table][key] for key, x in features.items()
            }
            for table, features in self.moving.items()
        }
        still_own, still_shared = _divide(self._select(False))
        mapped, unmapped = _divide({'': self.batch})
        over = jax.vmap(
            lambda moved, still, batch: self._one(moved, _join(still, still_shared), {**batch, **unmapped['']}),
            in_axes=1,
            out_axes=1,
        )
        return over(moved, still_own, mapped[''])

    def _predict(self, moving: Rows) -> dict[str, jax.Array]:
        predictions = self.task.predict(self.params, self.model_state, _join(moving, self._select(False)), self.batch)
        return {name: predictions[name] for name in ('logits', 'probability')}

    def _one(self, moved: Rows, still: Rows, batch: Batch) -> dict[str, jax.Array]:
        """Predictions [B] of one candidate a request, whose axis rows and batch lack."""
        widen = lambda features: {k: x[:, None] if is_per_candidate(k) else x for k, x in features.items()}
        rows = {table: widen(features) for table, features in _join(moved, still).items()}
        predictions = self.task.predict(self.params, self.model_state, rows, widen(batch))
        return {name: predictions[name][:, 0] for name in ('logits', 'probability')}

    def _select(self, perturbed: bool) -> dict[str, dict[str, jax.Array]]:
        return {
            table: {k: x for k, x in features.items() if is_perturbed(k, self.perturb) == perturbed}
            for table, features in self.rows.items()
        }


def _divide(tree: Mapping[str, Mapping[str, jax.Array]]) -> tuple[Any, Any]:
    """What has an axis for the candidates, and what is shared by them."""
    pick = lambda own: {t: {k: x for k, x in f.items() if is_per_candidate(k) == own} for t, f in tree.items()}
    return pick(True), pick(False)


def _join(a: Rows, b: Rows) -> dict[str, dict[str, jax.Array]]:
    return {table: {**a.get(table, {}), **b.get(table, {})} for table in [*a, *b]}


def _leaves(tree: Any) -> int:
    return len(jax.tree.leaves(tree))
