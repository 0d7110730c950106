"""What the table of SMS says of a trained cell: recalls, entities, parts, and images a second."""

import math
import time
from typing import Any

import jax
import numpy as np

from experiments.building import Experiment, batches
from jaxrec.evaluation.relation_segmentation import THRESHOLDS
from jaxrec.parallel import put_batch
from jaxrec.training.evaluate import evaluate
from jaxrec.training.state import TrainState
from jaxrec.training.step import make_predict_step

PERCENT = tuple(round(100 * threshold) for threshold in THRESHOLDS)
# Of all figures of the evaluator, those that the table keeps; each of the first also with the part condition.
RELATIONS = tuple(
    f'{kind}_{cut}_{at}' for kind in ('recall', 'mean_recall') for cut in ('100', 'G') for at in PERCENT
)
KEPT = (
    *RELATIONS, *(f'{name}_parts' for name in RELATIONS), 'entity_ap', 'entity_ap_50', 'part_miou',
    'wholly_right', 'error_missed_entity', 'error_wrong_pair', 'error_wrong_relation', 'error_wrong_part',
)  # fmt: skip
TIMED = 20  # images, after the first


def judge(run: Experiment, state: TrainState) -> dict[str, float]:
    """Judges a cell on the test part; `comparison.cells.run_cell` calls it.

    Args:
      run: the experiment.
      state: of its best step.

    Returns:
      The figures of `KEPT` that are defined, and `fps`, see `images_a_second`.
    """
    predict = make_predict_step(run.setup)
    found = evaluate(run.setup, predict, state, batches(run.source('test'))).compute()
    kept = {name: found[name] for name in KEPT if math.isfinite(found.get(name, math.nan))}
    return kept | {'fps': images_a_second(run, state)}


def images_a_second(run: Experiment, state: TrainState, images: int = TIMED) -> float:
    """How many images a second are read one by one, from uint8 pixels to triplets and masks on the host.

    On the cores of this process, which in a table is one of several workers: figures of one table compare
    with one another.

    Args:
      run: the experiment.
      state: of its best step.
      images: how many are timed; the median counts.

    Returns:
      Images a second.
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
