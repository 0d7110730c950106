"""A prior from classes alone: each pair of true entities gets the most frequent relation of its classes.

The image is not read. Training counts, and has no parameters. Predictions have neither masks nor a part map: the
evaluator uses the true ones, so errors are of the relation, its order or its parts alone.

B batch, N entities, R relations, C entity classes, V relations, P parts.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.configurable import configurable
from jaxrec.data.images.scene import UNKNOWN_PART
from jaxrec.data.images.targets import unpack_masks
from jaxrec.evaluation.segmentation.found import check_judged
from jaxrec.models.sms.losses import entity_targets, parts_labelled
from jaxrec.models.sms.network import fusion
from jaxrec.models.sms.network.backbones import STRIDE
from jaxrec.models.sms.task import TRUTH
from jaxrec.models.sms.two_stage import TwoStageTask, read_pairwise
from jaxrec.training.task import Batch, Evaluator, Metrics, Rows


class PerfectMasks:
    """Judges predictions whose entities are those of the batch, row by row, with the batch's full masks."""

    def __init__(self, evaluator: Evaluator):
        """Args: `evaluator`, which judges."""
        self.evaluator = evaluator

    def add(self, batch: Mapping[str, np.ndarray], predictions: Mapping[str, np.ndarray]) -> None:
        """Adds one host batch and its predictions, as `training.task.Evaluator`; a ValueError names missing keys."""
        check_judged(batch)
        parts = np.asarray(batch['host/part'])
        shown = {
            'entity/mask': unpack_masks(np.asarray(batch['host/mask']), parts.shape[2]),
            'part': np.where(parts == UNKNOWN_PART, 0, parts),
        }
        self.evaluator.add(batch, {**predictions, **shown})

    def merge(self, other: Self) -> Self:
        """Judges what either has taken in."""
        return type(self)(self.evaluator.merge(other.evaluator))

    def compute(self) -> dict[str, float]:
        """Returns the evaluator's figures."""
        return self.evaluator.compute()


@dataclasses.dataclass(frozen=True, eq=False)
class PriorTask(TwoStageTask):
    """Counts; implements `training.task.Task`, and predicts what `SmsTask` does but maps, from the ground truth."""

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """Returns no parameters, and counts of zero.

        They are 'pair' [C, C], 'relation' [C, C, V] and, where there are parts, 'labelled' [C, C, V], of relations in
        images whose parts are labelled, and 'part' [C, C, V, P].
        """
        del rng
        self._check(batch, ('image', *TRUTH))
        self.check_pairs(batch['entity/category'].shape[1])
        counts = self.names.counts
        classes = (counts.entities, counts.entities)
        shapes = {'pair': classes, 'relation': (*classes, counts.relations)}
        if counts.parts:  # checkpoints hold no array without elements
            shapes |= {'labelled': shapes['relation'], 'part': (*shapes['relation'], counts.parts)}
        return {}, {name: jnp.zeros(shape) for name, shape in shapes.items()}

    def loss(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        """Counts a batch; the loss is zero; raises what `SmsTask.loss` does."""
        del params, rows, rng
        self._check(batch, ('image', *TRUTH))
        self._check_sizes(batch)
        members, may = self._truth(batch)
        category = members.category
        of = lambda key: jnp.take_along_axis(category, batch[f'relation/{key}'], 1)
        which = of('subject'), of('object'), batch['relation/category']
        counts = batch['relation/valid'] * batch['valid'][:, None]
        state = {
            'pair': model_state['pair'].at[category[:, :, None], category[:, None]].add(may),
            'relation': model_state['relation'].at[which].add(counts),
        }
        if 'part' in model_state:
            labelled = counts * parts_labelled(batch)[:, None]
            state['labelled'] = model_state['labelled'].at[which].add(labelled)
            state['part'] = model_state['part'].at[which].add(labelled[..., None] * batch['relation/parts'])
        return jnp.zeros(()), ({'relations': counts.sum()}, state)

    def predict(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Returns the N true entities, and for each pair its classes' most frequent relation: `fusion.read_lists`."""
        del params, rows, rng
        self._check(batch, ('image', *TRUTH))
        members, may = self._truth(batch)
        exists = members.exists.astype(jnp.float32)
        cell = jnp.zeros((*exists.shape, 2), jnp.int32)
        entities = fusion.Entities(exists, members.category, cell, members.box, None)
        relation = model_state['relation']
        often = jax.nn.one_hot(jnp.argmax(relation, -1), relation.shape[-1]) * relation  # [C, C, V]
        chance = often / jnp.maximum(model_state['pair'], 1)[..., None]
        told = jnp.zeros((*chance.shape[:2], 0))
        if 'part' in model_state:
            which = (often > 0).astype(jnp.float32)
            told = jnp.einsum('abv,abvp->abp', which, model_state['part'])
            told = told / jnp.maximum((which * model_state['labelled']).sum(-1), 1)[..., None]
        pair = members.category[:, :, None], members.category[:, None]
        return fusion.read_lists(entities, self.best_pairs(entities, may, chance[pair], told[pair]))

    def pretrained(self, params: Any, model_state: Any) -> tuple[Any, Any]:
        """Both as they are: there is no trunk."""
        return params, model_state

    def evaluator(self) -> PerfectMasks:
        """Returns a fresh accumulator that shows the true masks."""
        return PerfectMasks(super().evaluator())

    def _truth(self, batch: Batch) -> tuple[Any, jax.Array]:
        """The true entities, classes of those that are none set to 0, and which pairs may be."""
        true = entity_targets(batch, tuple(side // STRIDE for side in batch['image'].shape[1:3]))
        members = self.true_members(batch, true)
        members = members._replace(category=jnp.where(members.exists, members.category, 0))
        return members, self.pairs_that_may_be(members)


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Any) -> PriorTask:
    """Builds the task; arguments, result and errors are those of `two_stage.make_task`."""
    return PriorTask(*read_pairwise(config, schema))
