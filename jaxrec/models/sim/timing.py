"""Times how the cost of scoring grows with the length of the history.

B batch, L long window.
"""

import time
from collections.abc import Sequence

import jax
import numpy as np

from jaxrec.models.sim.inspection import whole_windows
from jaxrec.parallel import put_batch
from jaxrec.runs.build import Experiment
from jaxrec.training.state import init_state
from jaxrec.training.step import make_predict_step

CALLS = 5


def milliseconds_by_length(run: Experiment, lengths: Sequence[int]) -> list[float]:
    """Times the scoring of one test batch whose long windows are lengthened by repeating their behaviours.

    The time does not depend on what the model has learned, so its parameters are newly drawn. A hard search runs within
    the model, and compilation is not counted.

    Args:
      run: with `data.lifelong`.
      lengths: L, each 1 or more.

    Returns:
      For each length the milliseconds of the fastest of `CALLS` calls.

    Raises:
      ValueError: a length below 1, or a run that reads no long window.
    """
    if min(lengths) < 1:
        raise ValueError(f'lengths = {tuple(lengths)}: give 1 or more')
    setup, batch = run.setup, whole_windows(run)[0]
    state, predict = init_state(setup, put_batch(batch, setup.mesh), run.config.seed), make_predict_step(setup)
    fastest = []
    for length in lengths:
        filled = {'long/length': np.full_like(batch['long/length'], length)}
        for key, x in batch.items():
            if key.startswith('long/') and x.ndim > 1:
                filled[key] = x[:, np.arange(length) % x.shape[1]]
        given = put_batch({**batch, **filled}, setup.mesh)
        jax.block_until_ready(predict(state, given))
        taken = []
        for _ in range(CALLS):
            start = time.perf_counter()
            jax.block_until_ready(predict(state, given))
            taken.append(1e3 * (time.perf_counter() - start))
        fastest.append(min(taken))
    return fastest
