"""How far one comes without looking: masks are given, and a pair of classes has its most frequent relation.

Training counts; nothing is learned by gradients. The evaluator shows the true masks and part maps as if they
had been found, so that what is missed is missed for the relation, its order or its parts alone.

B batch, N entities, R relations, C classes, V kinds of relation, P parts, T triplets.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.data.images.scene import UNKNOWN_PART, Vocabulary
from jaxrec.data.images.targets import unpack_masks
from jaxrec.importing import resolve
from jaxrec.models.sms.task import EVALUATOR
from jaxrec.ops.largest import largest
from jaxrec.options import read_options
from jaxrec.training.task import Batch, Evaluator, Metrics, Rows, WithoutTables

OPTIONS: dict[str, Any] = {'triplets': 100, 'any_subject': False, 'evaluator': EVALUATOR, 'features': {}}


class PerfectMasks:
    """Judges predictions whose entities are those of the batch, row by row, with the batch's full masks."""

    def __init__(self, evaluator: Evaluator):
        """Args: `evaluator`, which judges."""
        self.evaluator = evaluator

    def add(self, batch: Mapping[str, np.ndarray], predictions: Mapping[str, np.ndarray]) -> None:
        """Takes in one host batch and its predictions, as `training.task.Evaluator`."""
        parts = np.asarray(batch['host/part'])
        shown = {
            'entity/mask': unpack_masks(np.asarray(batch['host/mask']), parts.shape[2]),
            'part': np.where(parts == UNKNOWN_PART, 0, parts),
        }
        self.evaluator.add(batch, {**predictions, **shown})

    def compute(self) -> dict[str, float]:
        """Returns the evaluator's figures."""
        return self.evaluator.compute()


@dataclasses.dataclass(frozen=True, eq=False)
class PriorTask(WithoutTables):
    """The most frequent relation of each pair of classes; implements `training.task.Task`.

    Attributes:
      vocabulary: of classes, relations and parts.
      triplets: T, of an image.
      any_subject: subjects need not be people.
      evaluator_name: 'module:callable', vocabulary -> what judges.
    """

    vocabulary: Vocabulary
    triplets: int
    any_subject: bool
    evaluator_name: str

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """Returns no parameters, and counts of zero: 'pairs' [C, C], 'relations' [C, C, V] and 'parts'."""
        del rng, batch
        words = self.vocabulary
        kinds = (len(words.entities), len(words.entities))
        return {}, {
            'pairs': jnp.zeros(kinds),
            'relations': jnp.zeros((*kinds, len(words.relations))),
            'parts': jnp.zeros((*kinds, len(words.relations), len(words.parts))),
        }

    def loss(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        """Counts a batch; there is nothing to descend, so the loss is 0."""
        del params, rows, rng
        category, may = batch['entity/category'], self.pairs_that_may_be(batch)
        at = lambda key: jnp.take_along_axis(category, batch[key], 1)
        where = at('relation/subject'), at('relation/object'), batch['relation/category']
        counts = batch['relation/valid'] * batch['valid'][:, None]
        parts = batch['relation/parts'] * counts[..., None]
        counted = {
            'pairs': model_state['pairs'].at[category[:, :, None], category[:, None]].add(may),
            'relations': model_state['relations'].at[where].add(counts),
            'parts': model_state['parts'].at[where].add(parts.astype(jnp.float32)),
        }
        return jnp.zeros(()), ({'relations': counts.sum()}, counted)

    def predict(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Gives each pair of true entities its likeliest relation, the surest pairs first.

        Args:
          params, rows, rng: unused.
          model_state: counts.
          batch: with 'entity/category', 'entity/valid' and 'valid'.

        Returns:
          As `fusion.read_out`, without boxes, masks and parts; entities are those of the batch.
        """
        del params, rows, rng
        category = batch['entity/category']
        often = model_state['relations'] / jnp.maximum(model_state['pairs'], 1)[..., None]
        best = jnp.argmax(often, -1)  # [C, C]
        of = lambda x: x[category[:, :, None], category[:, None]]
        score = of(often.max(-1)) * self.pairs_that_may_be(batch)  # [B, N, N]
        number, count = category.shape
        kept = min(self.triplets, count * count)
        score, index = largest(score.reshape(number, -1), kept)
        subject, target = index // count, index % count
        at = lambda who: jnp.take_along_axis(category, who, 1)
        relation = best[at(subject), at(target)]
        place = at(subject), at(target), relation
        told = model_state['parts'][place] / jnp.maximum(model_state['relations'][place], 1)[..., None]
        return {
            'entity/score': (batch['entity/valid'] * batch['valid'][:, None]).astype(jnp.float32),
            'entity/category': category,
            'triplet/subject': subject,
            'triplet/object': target,
            'triplet/relation': relation,
            'triplet/score': score,
            'triplet/parts': told,
        }

    def pairs_that_may_be(self, batch: Batch) -> jax.Array:
        """float32 [B, N, N]: two different entities, the first one a person unless any may be."""
        exists = (batch['entity/valid'] * batch['valid'][:, None]) > 0
        subject = exists
        if not self.any_subject:
            subject = exists & (
                batch['entity/category'] == self.vocabulary.entities.index(self.vocabulary.person)
            )
        others = ~jnp.eye(exists.shape[1], dtype=bool)
        return (subject[:, :, None] & exists[:, None] & others).astype(jnp.float32)

    def evaluator(self) -> PerfectMasks:
        """Returns a fresh accumulator that shows the true masks."""
        return PerfectMasks(resolve(self.evaluator_name)(self.vocabulary))


def make_task(config: Mapping[str, Any], schema: Any) -> PriorTask:
    """Builds the task.

    Args:
      config: `triplets` (100) and `any_subject` (False), as the networks have them; `evaluator`.
      schema: {'vocabulary': Vocabulary}.

    Returns:
      The task.

    Raises:
      ValueError: an unknown option, or fewer than 1 triplet.
    """
    options = read_options(config, 'model', **OPTIONS)
    if options['triplets'] < 1:
        raise ValueError(f'model.triplets = {options["triplets"]}: give at least 1')
    return PriorTask(schema['vocabulary'], options['triplets'], options['any_subject'], options['evaluator'])
