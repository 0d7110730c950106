"""What a network that errs nowhere finds of a config's own images: the ceiling of its table.

    python -m experiments.sms.ceiling --config=configs/sms/scenes.py:SMS
    python -m experiments.sms.ceiling --config=configs/sms/own.py:SMS,album --part=validation

Maps are painted from the truth and decoded as the config's network would be, with relation points shifted
towards the subject and with PPDM's midpoints. What is lost is lost to cells: masks coarser than pixels, two
things on one place, a relation and its mirror image on one point.
"""

import dataclasses
from typing import Any

import jax
from absl import app, flags
from ml_collections import config_flags

from experiments.building import Experiment, batches, build
from experiments.comparison.tables import side_by_side
from experiments.flags import DATA_DIR, friendly
from experiments.sms.looking import names_of
from jaxrec.evaluation.relation_segmentation import THRESHOLDS
from jaxrec.models.sms.perfect import perfect_predictions
from jaxrec.training.task import Evaluator

CONFIG = config_flags.DEFINE_config_file('config', lock_config=True)
PART = flags.DEFINE_enum('part', 'test', ['train', 'validation', 'test'], 'Which part of the log.')
WHERE = ('shifted', 'midpoint')
RECALLS = tuple(f'recall_{cut}_{round(100 * at)}' for cut in ('100', 'G') for at in THRESHOLDS)
SHOWN = (*RECALLS, *(f'{name}_parts' for name in RECALLS), 'error_missed_entity', 'error_wrong_pair')


@friendly
def main(_: list[str]) -> None:
    """Decodes perfect maps and prints what they hold."""
    run = build(CONFIG.value, DATA_DIR.value, (1, 1))
    found = {where: evaluator.compute() for where, evaluator in ceilings(run, PART.value).items()}
    first = found[WHERE[0]]
    counts = ', '.join(f'{first[name]:.0f} {name}' for name in ('images', 'entities', 'relations'))
    print(f'\n{PART.value}: {counts}')
    print(side_by_side({where: {name: told[name] for name in SHOWN} for where, told in found.items()}))


def ceilings(run: Experiment, part: str) -> dict[str, Evaluator]:
    """Judges perfect maps.

    Args:
      run: of a network of configs/sms; nothing of it need be trained.
      part: of its log.

    Returns:
      {where relation points lie: the filled evaluator}.

    Raises:
      ValueError: the run is of something else, or its network has no points of relations.
    """
    names_of(run)
    task: Any = run.setup.task
    told: dict[str, Evaluator] = {}
    if not getattr(task.module, 'relations', False):
        raise ValueError(f'{type(task).__name__} has no relation points to paint: give the row SMS')
    for where in WHERE:
        network = dataclasses.replace(task.network, relation_point=where)
        decode = jax.jit(lambda batch, network=network: perfect_predictions(network, task.names, batch))
        told[where] = task.evaluator()
        for batch in batches(run.source(part)):
            shown = {key: x for key, x in batch.items() if not key.startswith('host/')}
            told[where].add(batch, jax.device_get(decode(shown)))
    return told


if __name__ == '__main__':
    app.run(main)
