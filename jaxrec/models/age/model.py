"""AGE (arXiv 2112.11136) around any CTR task: the gate trains beside it, and scores can be explored.

Loss and predictions are the base's own; AGE adds a gate, which sends no gradient into the base, and `explore`.

B requests, C candidates, D width.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxrec.configurable import configurable, resolve
from jaxrec.embeddings import Table
from jaxrec.models.age.explore import Explored, explore
from jaxrec.models.age.gate import Gate, item_average, make_gate
from jaxrec.models.age.options import Exploration, read_age_options
from jaxrec.models.age.pairs import Model, is_perturbed
from jaxrec.models.ctr.task import CtrTask, Ids, blank_rows, mean_cross_entropy
from jaxrec.training.task import Batch, Evaluator, Metrics, Rows


class TaskWrapper:
    """A task around another, `base`, whose tables, ids and evaluator are its own; for tasks to inherit."""

    base: Any

    @property
    def tables(self) -> Mapping[str, Table]:
        """The base's tables."""
        return self.base.tables

    def ids(self, batch: Mapping[str, Any]) -> Ids:
        """The base's ids."""
        return self.base.ids(batch)

    def given_ids(self, batch: Mapping[str, Any]) -> Ids:
        """The base's ids as they are in a batch."""
        return self.base.given_ids(batch)

    def evaluator(self) -> Evaluator:
        """The base's evaluator."""
        return self.base.evaluator()


@dataclasses.dataclass(frozen=True)
class AgeTask(TaskWrapper):
    """A CTR task that can explore; implements `training.task.Task`.

    Parameters are {'base'} or {'base', 'gate'}; the other state is the base's.
    """

    base: CtrTask  # the CTR task
    gate: Gate | None  # the gating unit; None where the exploration has no use for one
    exploration: Exploration  # how scores are explored
    dgu_loss_weight: float = 1.0  # of the gate's cross-entropy beside the base's loss

    def check_data(self, data: Mapping[str, Any]) -> None:
        """Checks a config's section `data` as the base does."""
        self.base.check_data(data)

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """Draws (params, model_state), those of the base as the base alone would; see `Task.init`."""
        params, model_state = self.base.init(rng, batch)
        if self.gate is None:
            return {'base': params}, model_state
        own = dict(self.gate.init(jax.random.fold_in(rng, 1), blank_rows(self.tables, self.ids(batch)), batch))
        return {'base': params, 'gate': own['params']}, model_state

    def loss(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        """Returns `Task.loss` of the base, plus the gate's cross-entropy on the same labels (eq. 17, 'dgu_logloss')."""
        loss, (metrics, new_state) = self.base.loss(params['base'], model_state, rows, batch, rng)
        if self.gate is None:
            return loss, (metrics, new_state)
        logits: Any = self.gate.apply({'params': params['gate']}, rows, batch)
        own = mean_cross_entropy(logits, batch)
        return loss + self.dgu_loss_weight * own, ({**metrics, 'dgu_logloss': own}, new_state)

    def predict(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Returns the base's predictions, unexplored, and with a gating unit its 'item_average' float32 [B, C]."""
        predictions = self.base.predict(params['base'], model_state, rows, batch, rng)
        average = self.average(params, rows, batch)
        return predictions if average is None else {**predictions, 'item_average': average}

    def average(self, params: Any, rows: Rows, batch: Batch) -> jax.Array | None:
        """Estimates each item's average CTR by the gating unit, float32 [B, C]; None without a unit."""
        return None if self.gate is None else item_average(self.gate, params['gate'], rows, batch)

    def explore(
        self,
        params: Any,
        model_state: Any,
        rows: Rows,
        batch: Batch,
        rng: jax.Array,
        explore_lambda: jax.Array | float | None = None,
    ) -> Explored:
        """Scores whole pools with pseudo-exploration (algorithm 1); see `explore.explore`.

        `batch` has `valid` [B, C], the pool, and where wanted `explorable` [B, C]; `rng` is a typed key. Where
        `explore_lambda` float [] is None it is the config's; without one there is a ValueError.
        """
        size, average = self.size(explore_lambda), self.average(params, rows, batch)
        return explore(Model(self.base, params['base'], model_state, rows, batch), rng, size, self.exploration, average)

    def size(self, explore_lambda: jax.Array | float | None = None) -> jax.Array | np.float32:
        """Returns the step's size per unit of uncertainty, float32 []; None takes the config's, which may be absent."""
        found = self.exploration.explore_lambda if explore_lambda is None else explore_lambda
        if found is None:
            raise ValueError(
                'model.explore_lambda is None: there is no size that suits every model, so tune it to a '
                'share of changed winners with models.age.tune_lambda, or give one'
            )
        return found if isinstance(found, jax.Array) else np.float32(found)


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> AgeTask:
    """Wraps a CTR model of the library.

    Args:
      config: `features`; `base`, {'task': import path, option: value}; any of `options.TRAINED` and of the attributes
        of `options.Exploration`.
      schema: the log's {column: Column}.

    Raises:
      ValueError: an unknown option or value, no base, what the base refuses, a gate column that is not the candidate's,
        or nothing to perturb.
    """
    options, exploration = read_age_options(config)
    features, own = options['features'], dict(options['base'])
    base = resolve(own.pop('task'), 'task')({**own, 'features': features}, schema)
    _check_perturbed(exploration.perturb, features, schema)
    gate = None
    if exploration.gate == 'dgu':
        gate = make_gate(options['gate_columns'], features, schema, options['gate_widths'])
    return AgeTask(base, gate, exploration, float(options['dgu_loss_weight']))


def _check_perturbed(perturb: str, features: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Refuses to perturb rows that there are none of: numeric columns have none."""
    moving = [
        name
        for side, names in features.items()
        for name in names
        if is_perturbed(f'{side}/{name}', perturb) and getattr(schema.get(name), 'kind', '') != 'numeric'
    ]
    if not moving:
        given = {side: tuple(names) for side, names in features.items()}
        raise ValueError(
            f'model.perturb = {perturb!r} moves no row: features has no column with ids on that side, it is '
            f"{given}; name one, or set model.perturb = 'all'"
        )
