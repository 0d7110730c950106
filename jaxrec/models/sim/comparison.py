"""Evaluates the searches of a table: what they keep of the relevant behaviours, and of what attention would weigh most.

A table names it among its `judges`, as 'jaxrec.models.sim.comparison:judge'. What is relevant is known in simulated
worlds alone; on real logs the agreement of the two stages is measured.

B batch, C candidates, S short and L long window, K kept.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxrec.configurable import configurable
from jaxrec.data.simulators.lifelong_truth import Truth, beside_search, load_truth
from jaxrec.data.simulators.worlds import truth_folder
from jaxrec.evaluation.searches import Means, kept_slots, ratio, share_found
from jaxrec.models.sim.inspection import make_inspect_step, most_attended, whole_windows, window_size
from jaxrec.models.sim.interest import Inspection
from jaxrec.models.sim.model import Sim
from jaxrec.parallel import put_batch
from jaxrec.runs.build import Experiment
from jaxrec.training.state import TrainState
from jaxrec.training.task import Evaluator

# At most, of the test part, in whole batches at equal distances: a share of so many is exact to about .01.
EXAMPLES = 4_096


@configurable('scorer')
def judge(run: Experiment, state: TrainState, evaluator: Evaluator | None = None) -> dict[str, float]:
    """Evaluates the search of a trained model on the test part; every search reads the complete window for it.

    Args:
      run, state: the experiment, and the state of its model.
      evaluator: unused.

    Returns:
      Means over test examples, of whatever is defined: nothing without a long window;
      - 'relevant_short', 'relevant_long': of the behaviours in either window that matter to the candidate, the share in
        each; 'relevant_of_long', the share of the long window that matters;
      - of searches 'recall', the share of those in the long window that is kept, with 'recall_recent' and
        'recall_random', of the K most recent and of K at random;
      - of searches with an exact unit 'agreement': the share of the K behaviours to which that unit would attend most,
        had it the complete window, that the search keeps (arXiv 2302.02352).

    Raises:
      ValueError: the world's ground truth is known, but the batches do not hold the items that it is about.
    """
    del evaluator
    if run.data.get('lifelong') is None:
        return {}
    source = whole_windows(run)
    known = (truth_folder(run.log.folder) / 'groups').exists()
    truth = load_truth(run.log.folder) if known else None
    module = getattr(run.setup.task, 'module', None)
    inspect = make_inspect_step(run.setup) if isinstance(module, Sim) else None
    means = Means()
    step = max(1, -(-source.events // EXAMPLES))
    for place in range(0, len(source), step):
        batch = source[place]
        inspected = inspect(state, put_batch(batch, run.setup.mesh)) if inspect else Inspection(None, None)
        means.add(_values(batch, truth, inspected), batch['valid'] > 0)
    return means.compute()


def _values(batch: Mapping[str, np.ndarray], truth: Truth | None, inspected: Inspection) -> dict[str, np.ndarray]:
    """{metric: float64 [B, C]} of one batch; the inspection may have rows that fill up the devices."""
    rows, size = len(batch['valid']), window_size(batch)
    values: dict[str, np.ndarray] = {}
    relevant = None
    if truth is not None:
        relevant, short = (_relevant(batch, truth, side) for side in ('long', 'history'))
        windows = {'relevant_short': short.sum(-1), 'relevant_long': relevant.sum(-1)}
        values = {name: ratio(found, sum(windows.values())) for name, found in windows.items()}
        values['relevant_of_long'] = ratio(relevant.sum(-1), batch['long/length'][:, None])
    if inspected.kept is None:
        return values
    kept = jax.device_get(inspected.kept)
    keep = kept.index.shape[-1]
    found = kept_slots(kept.index[:rows], kept.length[:rows], size)
    if relevant is not None:
        beside = beside_search(relevant, batch['long/length'][:, None], keep)
        values['recall'] = share_found(relevant, found)
        values |= {f'recall_{name}': ratio(beside[name], beside['all']) for name in ('recent', 'random')}
    if inspected.logits is not None:
        index, length = jax.device_get(_attended(inspected.logits[:rows], batch['long/length'], keep))
        values['agreement'] = share_found(kept_slots(index, length, size), found)
    return values


def _relevant(batch: Mapping[str, np.ndarray], truth: Truth, side: str) -> np.ndarray:
    """bool [B, C, L]: the behaviours of a window that matter to each candidate."""
    keys = 'candidate/item', f'{side}/item'
    if missing := [key for key in keys if key not in batch]:
        raise ValueError(
            f'the batches lack {missing[0]!r}, which the truth of a lifelong world is about: add item to '
            'features.candidate and features.history'
        )
    return truth.relevant(batch[keys[0]][:, :, None], batch[keys[1]][:, None])


_attended: Any = jax.jit(most_attended, static_argnums=2)
