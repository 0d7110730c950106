"""Gradients as uncertainty: NeuralUCB (arXiv 1911.04462) and NeuralTS (arXiv 2010.00827), with a diagonal.

sigma^2 = ridge * sum(g^2 / U), g the gradient of a candidate's probability with respect to all weights, the rows that
it reads included; U starts at the ridge and collects g^2 of what was shown. Without a precision sigma is the gradient's
L2 norm, as AGE's authors describe their baseline (arXiv 2112.11136, section 4.4).

Underestimation refinement (SIGIR 2021) is a stand-in, since neither text says how it was applied. We assume that it
raises the uncertainty of items whose predictions have been too low, and lowers it where they have been too high: sigma
is multiplied by (clicks + prior) / (predicted clicks + prior) of the item, each click as predicted before the model
learned it.

B requests, C candidates, V rows, D width.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.embeddings import Table
from jaxrec.models.age.pairs import Model, candidate_axes, is_per_candidate
from jaxrec.models.age.policies.neural import Greedy, bonus, check_form
from jaxrec.models.age.policies.policy import Ranked
from jaxrec.training.task import Batch, Rows


@dataclasses.dataclass(frozen=True)
class Gradient(Greedy):
    """Ranks by the mean and a gradient's length."""

    form: str = 'ucb'  # 'ts', a Gaussian draw for each candidate, or 'ucb'
    scale: float = 1.0  # of sigma
    ridge: float = 1.0  # what U starts from
    precision: bool = True  # collect U; False takes the plain L2 norm
    refine: str | None = None  # batch key of the item, such as 'candidate/item', to refine by; None does without
    items: int = 0  # rows of the item's vocabulary
    prior: float = 1.0  # clicks that every item is taken to have had, as predicted

    # What is predicted of a click tells nothing of the doubt once the model was trained on that click.
    observes_first = True

    def __post_init__(self) -> None:
        check_form(self.form, self.scale)
        if self.ridge <= 0 or self.prior <= 0:
            raise ValueError(
                f'options.ridge = {self.ridge} and options.prior = {self.prior}: sigma divides by what they '
                'start from, give more than 0'
            )

    def start(self, tables: Mapping[str, Table], params: Any) -> dict[str, Any]:
        """U of weights and rows, and clicks and predictions by item."""
        memory: dict[str, Any] = {}
        if self.precision:
            full = lambda shape: jnp.full(shape, self.ridge, jnp.float32)
            memory['weights'] = jax.tree.map(lambda x: full(x.shape), params)
            memory['rows'] = {name: full((spec.rows, spec.dim)) for name, spec in tables.items()}
        if self.refine:
            # An array each: the memory is updated in place.
            memory |= {name: jnp.zeros(self.items, jnp.float32) for name in ('clicks', 'predicted')}
        return memory

    def rank(self, model: Model, memory: dict[str, Any], rng: jax.Array) -> Ranked:
        """As `Explorer.rank`."""
        probability = model.predict()['probability']
        sigma = jnp.sqrt(self._variance(model, memory))
        if self.refine:
            item = model.batch[self.refine]
            ratio = (memory['clicks'] + self.prior) / (memory['predicted'] + self.prior)
            sigma = sigma * ratio[item]
        return Ranked(bonus(self.form, self.scale, probability, sigma, rng), probability)

    def observe(self, model: Model, memory: dict[str, Any]) -> dict[str, Any]:
        """Adds the squares of what was shown to U, and its click and prediction to its item's."""
        memory, valid = dict(memory), model.batch['valid']
        if self.precision:
            squares = lambda *gradients: jax.tree.map(jnp.square, gradients[:2])
            of_weights, of_rows = _each_pair(model, None, squares)  # [B, 1, ...]
            weigh = lambda x: x * valid.reshape(*valid.shape, *[1] * (x.ndim - 2))
            add = lambda u, x: u + weigh(x).sum((0, 1))
            memory['weights'] = jax.tree.map(add, memory['weights'], of_weights)
            memory['rows'] = {
                table: self._add_rows(u, model.ids.get(table, {}), of_rows.get(table, {}), weigh)
                for table, u in memory['rows'].items()
            }
        if self.refine:
            item, probability = model.batch[self.refine], model.predict()['probability']
            memory['clicks'] = memory['clicks'].at[item].add(model.batch['label'] * valid)
            memory['predicted'] = memory['predicted'].at[item].add(probability * valid)
        return memory

    def _variance(self, model: Model, memory: dict[str, Any]) -> jax.Array:
        """sigma^2, float32 [B, C]."""
        if not self.precision:
            total = lambda *trees: sum(jnp.sum(x * x) for x in jax.tree.leaves(trees[:2]))
            return _each_pair(model, None, total)

        def ratio(of_weights: Any, of_rows: Rows, of_precision: Rows) -> jax.Array:
            pairs = jax.tree.map(
                lambda g, u: jnp.sum(g * g / u), (of_weights, of_rows), (memory['weights'], of_precision)
            )
            return self.ridge * functools.reduce(jnp.add, jax.tree.leaves(pairs))

        return _each_pair(model, memory['rows'], ratio)

    def _add_rows(self, u: jax.Array, ids: Any, squares: Any, weigh: Callable[..., jax.Array]) -> jax.Array:
        for key, x in squares.items():
            named = ids[key] if is_per_candidate(key) else ids[key][:, None]  # [B, 1, ...]
            # Row 0 is padding, which reads as zeros and never moves.
            kept = jnp.where(named > 0, named, u.shape[0])
            u = u.at[kept].add(weigh(x), mode='drop')
        return u


def _each_pair(model: Model, beside: Rows | None, reduce: Callable[..., Any]) -> Any:
    """Reduces the gradient of each pair's probability with respect to all weights and its rows, one by one.

    `reduce` is (gradient of params, of rows of one pair, its part of `beside`) -> a tree of arrays [...]; the result is
    the same tree of [B, C, ...]. The gradients themselves are never all in memory.
    """

    def pair(rows: Rows, batch: Batch, beside: Rows | None) -> Any:
        def probability(params: Any, rows: Rows) -> jax.Array:
            whole = {t: _widen(f, 2) for t, f in rows.items()}
            lone = model.task.predict(params, model.model_state, whole, _widen(batch, 2))
            return lone['probability'][0, 0]

        return reduce(*jax.grad(probability, (0, 1))(model.params, rows), beside)

    of_rows = {table: candidate_axes(features) for table, features in model.rows.items()}
    candidates = jax.vmap(pair, (of_rows, candidate_axes(model.batch), None if beside is None else of_rows))
    return jax.lax.map(lambda args: candidates(*args), (model.rows, dict(model.batch), beside))


def _widen(features: Mapping[str, jax.Array], axes: int) -> dict[str, jax.Array]:
    """Puts back the axes of request and candidate that mapping took away."""
    return {k: x[(None,) * (axes if is_per_candidate(k) else axes - 1)] for k, x in features.items()}
