"""One candidate and its own copy of the user: a CTR task as a function of what is added to each pair's rows.

A gradient of summed scores would mix the candidates in the user's rows. Here each candidate owns the perturbation of
all rows that it is scored by: candidates are mapped over, the user's rows only where they differ.

B requests, C candidates, D width.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.ops.exploration import Tree
from jaxrec.training.task import Batch, Rows

# Sides of features with an axis for the candidates, and keys that are no feature but have one too.
PER_CANDIDATE, ALSO = ('candidate', 'kept', 'cartesian'), ('label', 'valid', 'explorable')
ITEM = 'candidate'


def is_per_candidate(key: str) -> bool:
    """Whether the array under a key such as 'candidate/item' or 'valid' is [B, C, ...] and not [B, ...]."""
    return key.partition('/')[0] in PER_CANDIDATE or key in ALSO


def with_candidates(features: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Adds an axis 1 of one candidate to features that have one a candidate and lack it."""
    return {key: x[:, None] if is_per_candidate(key) else x for key, x in features.items()}


def candidate_axes(features: Mapping[str, Any], axis: int = 0) -> dict[str, int | None]:
    """Returns `jax.vmap`'s axes over candidates: `axis`, or None for features that have none."""
    return {key: axis if is_per_candidate(key) else None for key in features}


def is_perturbed(key: str, perturb: str) -> bool:
    """Whether the rows of a feature such as 'history/item' are perturbed under 'all', 'item' or 'user'."""
    return perturb == 'all' or (perturb == 'item') == (key.partition('/')[0] == ITEM)


@dataclasses.dataclass(frozen=True)
class Model:
    """A CTR task at work on a batch."""

    task: Any  # the CTR task
    params: Any  # its parameters
    model_state: Any  # its other state
    rows: Rows  # {table: {feature: [B, ..., D]}}
    batch: Batch  # {key: [B, ...]}

    @property
    def arguments(self) -> tuple[Any, Any, Any, Rows, Batch]:
        """All attributes, in order."""
        return self.task, self.params, self.model_state, self.rows, self.batch

    @property
    def ids(self) -> dict[str, dict[str, Any]]:
        """{table: {feature: [B, ...]}}."""
        return self.task.ids(self.batch)

    def predict(self) -> dict[str, jax.Array]:
        """Returns what the task predicts, {'probability': [B, C], ...}."""
        return self.task.predict(self.params, self.model_state, self.rows, self.batch)


@dataclasses.dataclass(frozen=True)
class Pairs(Model):
    """The pairs of a batch, a `Model` of which `perturb` says the rows that move.

    A delta is {table: {feature: float [B, C, ..., D]}} of the perturbed features, the user's too.
    """

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
        """Returns the delta of the gradient of each pair's logit, at the rows themselves."""
        own, shared = _divide(self.moving)
        if not _leaves(shared):  # the candidates' rows touch their own scores alone, so a sum mixes nothing
            return jax.grad(lambda own: self._predict(own)['logits'].sum())(own)

        # The user's rows stay unmapped, so what the model makes of them is computed once a request.
        def of_candidate(own: Rows, still: Rows, batch: Batch) -> Tree:
            total = lambda own, shared: self._one(_join(own, shared), still, batch)['logits'].sum()
            return _join(*jax.grad(total, argnums=(0, 1))(own, shared))

        still_own, still_shared = _divide(self._select(False))
        mapped, unmapped = _divide({'': self.batch})
        one = lambda own, still, batch: of_candidate(own, _join(still, still_shared), {**batch, **unmapped['']})
        return jax.vmap(one, in_axes=1, out_axes=1)(own, still_own, mapped[''])

    def gradient_at(self, delta: Tree) -> Tree:
        """Returns the same gradient at rows moved by `delta`."""
        return jax.grad(lambda delta: self.scores(delta)['logits'].sum())(delta)

    def scores(self, delta: Tree) -> dict[str, jax.Array]:
        """Scores pairs at rows moved by `delta`: {'logits', 'probability'}, float32 [B, C] each."""
        own, shared = _divide(self.moving)
        if not _leaves(shared):
            return self._predict(jax.tree.map(jnp.add, own, delta))
        moved = {
            table: {k: (x if is_per_candidate(k) else x[:, None]) + delta[table][k] for k, x in features.items()}
            for table, features in self.moving.items()
        }
        still_own, still_shared = _divide(self._select(False))
        mapped, unmapped = _divide({'': self.batch})
        one = lambda moved, still, batch: self._one(moved, _join(still, still_shared), {**batch, **unmapped['']})
        return jax.vmap(one, in_axes=1, out_axes=1)(moved, still_own, mapped[''])

    def _predict(self, moving: Rows) -> dict[str, jax.Array]:
        predictions = self.task.predict(self.params, self.model_state, _join(moving, self._select(False)), self.batch)
        return {name: predictions[name] for name in ('logits', 'probability')}

    def _one(self, moved: Rows, still: Rows, batch: Batch) -> dict[str, jax.Array]:
        """Predictions [B] of one candidate a request, whose axis rows and batch lack."""
        rows = {table: with_candidates(features) for table, features in _join(moved, still).items()}
        predictions = self.task.predict(self.params, self.model_state, rows, with_candidates(batch))
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
