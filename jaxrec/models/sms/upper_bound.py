"""What perfect maps of a config's images hold: the ceiling of any network that is decoded as its own."""

import dataclasses
from typing import Any

import jax

from jaxrec.evaluation.relation_segmentation import THRESHOLDS
from jaxrec.models.sms.images.finder import names_of
from jaxrec.models.sms.oracle import perfect_predictions
from jaxrec.runs.build import Experiment, batches
from jaxrec.training.task import Evaluator

RECALLS = tuple(f'recall_{cut}_{round(100 * at)}' for cut in ('100', 'G') for at in THRESHOLDS)
SHOWN = (*RECALLS, *(f'{name}_parts' for name in RECALLS), 'error_missed_entity', 'error_wrong_pair')


def ceilings(run: Experiment, part: str) -> dict[str, Evaluator]:
    """Evaluates perfect maps of a part for the network of a run, which need not be trained.

    Returns:
      {where relation points lie: the filled evaluator}, the network's own before PPDM's midpoint.

    Raises:
      ValueError: the run is of something else, or its network has no points of relations.
    """
    names_of(run)
    task: Any = run.setup.task
    told: dict[str, Evaluator] = {}
    if not getattr(task.module, 'relations', False):
        raise ValueError(f'{type(task).__name__} has no relation points to paint: give the row SMS')
    for where in dict.fromkeys((task.network.relation_point, 'midpoint')):
        network = dataclasses.replace(task.network, relation_point=where)
        decode = jax.jit(lambda batch, network=network: perfect_predictions(network, task.names, batch))
        told[where] = task.evaluator()
        for batch in batches(run.source(part)):
            shown = {key: x for key, x in batch.items() if not key.startswith('host/')}
            told[where].add(batch, jax.device_get(decode(shown)))
    return told
