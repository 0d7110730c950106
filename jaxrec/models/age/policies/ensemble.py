"""Ensembles: several networks over the same tables, of which one is drawn, or whose spread is the uncertainty.

The paper has 5 networks (arXiv 2112.11136, section 4.4). They differ in their initial values, and on request in the
events that each learns from.

B requests, C candidates, M networks.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.models.age.model import TaskWrapper
from jaxrec.models.age.pairs import Model
from jaxrec.models.age.policies.neural import Greedy, bonus, check_form
from jaxrec.models.age.policies.policy import Ranked
from jaxrec.ops.dropout import keep_mask, key_words
from jaxrec.training.task import Batch, Metrics, Rows, Task


@dataclasses.dataclass(frozen=True)
class EnsembleTask(TaskWrapper):
    """M copies of a task with stacked parameters over shared tables; implements `training.task.Task`."""

    base: Task  # the task
    networks: int = 5  # M
    share: float = 1.0  # of the events that each network learns from

    def __post_init__(self) -> None:
        if self.networks < 2 or not 0 < self.share <= 1:
            raise ValueError(
                f'options.networks = {self.networks} and options.share = {self.share}: give at least 2 '
                'networks, each of which sees a share of the events in (0, 1]'
            )

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """Draws every network apart; parameters and state have a leading axis M."""
        return jax.vmap(lambda key: self.base.init(key, batch))(jax.random.split(rng, self.networks))

    def loss(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        """The mean of the networks' losses; arguments and result are those of `Task.loss`."""

        def one(params: Any, model_state: Any, number: jax.Array) -> Any:
            own, seen = jax.random.fold_in(rng, number), batch
            if self.share < 1:
                mask = keep_mask(key_words(own), 0, batch['valid'].shape, 1 - self.share) > 0
                seen = {**batch, 'valid': batch['valid'] * mask}
            return self.base.loss(params, model_state, rows, seen, own)

        losses, (metrics, new_state) = jax.vmap(one)(params, model_state, jnp.arange(self.networks))
        return losses.mean(), (jax.tree.map(lambda x: x.mean(0), metrics), new_state)

    def predict(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Returns the mean 'probability', its 'logits' [B, C], and each network's own as 'networks' [B, C, M]."""
        one = lambda params, state: self.base.predict(params, state, rows, batch)['probability']
        networks = jax.vmap(one, out_axes=-1)(params, model_state)
        mean = networks.mean(-1)
        return {'logits': jnp.log(mean) - jnp.log1p(-mean), 'probability': mean, 'networks': networks}


@dataclasses.dataclass(frozen=True)
class Ensemble(Greedy):
    """Ranks by one network, drawn for each request, or by mean and standard deviation."""

    form: str = 'ts'  # 'ts' or 'ucb'
    scale: float = 1.0  # of the standard deviation in 'ucb'

    def __post_init__(self) -> None:
        check_form(self.form, self.scale)

    def rank(self, model: Model, memory: dict[str, Any], rng: jax.Array) -> Ranked:
        """As `Explorer.rank`."""
        predicted = model.predict()
        networks = predicted['networks']  # [B, C, M]
        if self.form == 'ucb':
            score = bonus('ucb', self.scale, predicted['probability'], networks.std(-1), rng)
        else:
            drawn = jax.random.randint(rng, networks.shape[:1], 0, networks.shape[-1])
            score = jnp.take_along_axis(networks, drawn[:, None, None], -1)[..., 0]
        return Ranked(score, predicted['probability'])
