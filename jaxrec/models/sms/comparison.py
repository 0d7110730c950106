"""What the table of SMS says of a trained cell: recalls, entities, parts, and images a second."""

import math
import time
from typing import Any

import jax
import numpy as np

from jaxrec.configurable import configurable
from jaxrec.evaluation.relation_segmentation import THRESHOLDS
from jaxrec.models.sms.prior import PriorTask
from jaxrec.parallel import put_batch
from jaxrec.runs.build import Experiment
from jaxrec.training.state import TrainState
from jaxrec.training.step import make_predict_step
from jaxrec.training.task import Evaluator

PERCENT = tuple(round(100 * threshold) for threshold in THRESHOLDS)
# Of all figures of the evaluator, those that the table keeps; each of the first also with the part condition.
RELATIONS = tuple(f'{kind}_{cut}_{at}' for kind in ('recall', 'mean_recall') for cut in ('100', 'G') for at in PERCENT)
KEPT = (
    *RELATIONS, *(f'{name}_parts' for name in RELATIONS), 'parts_given_relation', 'wholly_right',
    'entity_ap', 'entity_ap_50', 'part_miou',
    'error_missed_entity', 'error_wrong_pair', 'error_wrong_relation', 'error_wrong_part',
)  # fmt: skip
# What is said of masks that a network finds: of those that are shown as the truth has them it says nothing.
OF_MASKS = ('entity_ap', 'entity_ap_50', 'part_miou')
TIMED = 20  # images, after the first


@configurable('scorer')
def judge(run: Experiment, state: TrainState, evaluator: Evaluator) -> dict[str, float]:
    """Evaluates a run on the test part; `comparison.cells.run_cell` calls it.

    Args:
      run: the experiment.
      state: of its best step.
      evaluator: has the predictions of that state.

    Returns:
      The figures of `KEPT` that are defined, and `fps`, see `images_a_second`; of counts of classes, which look at no
      image, neither that nor those of `OF_MASKS`.
    """
    found = evaluator.compute()
    kept = {name: found[name] for name in KEPT if math.isfinite(found.get(name, math.nan))}
    if isinstance(run.setup.task, PriorTask):
        return {name: value for name, value in kept.items() if name not in OF_MASKS}
    return kept | {'fps': images_a_second(run, state)}


def images_a_second(run: Experiment, state: TrainState, images: int = TIMED) -> float:
    """Images read per second, one by one, from uint8 pixels to triplets and masks on the host, by the median.

    It uses the cores of this process, which a table divides among workers: compare the figures of one table only.
    """
    predict, source = make_predict_step(run.setup), run.source('test')
    batch: dict[str, Any] = source[0]
    seconds = []
    for number in range(images + 1):
        row = number % int((batch['valid'] > 0).sum())
        one = {name: array[row : row + 1] for name, array in batch.items()}
        start = time.perf_counter()
        jax.device_get(predict(state, put_batch(one, run.setup.mesh)))
        seconds.append(time.perf_counter() - start)
    return float(1 / np.median(seconds[1:]))
