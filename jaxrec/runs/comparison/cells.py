"""One run of a table: one model, data set and seed, trained and tested in a folder of its own."""

import dataclasses
import itertools
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from jaxrec.configurable import configurable, resolve
from jaxrec.evaluation.ranking import RankingEvaluator
from jaxrec.files import replace_text
from jaxrec.options import lay_over, plain
from jaxrec.parallel import put_batch
from jaxrec.runs.build import Experiment, batches, build
from jaxrec.runs.comparison.slices import judge_slice
from jaxrec.runs.fit import fit
from jaxrec.runs.restore import ceiling, restore_model, score
from jaxrec.runs.timing import measure
from jaxrec.training.parameters import count_parameters
from jaxrec.training.state import init_state
from jaxrec.training.step import make_train_step
from jaxrec.training.writers import read_metrics

log = logging.getLogger(__name__)
CEILING = 'true probabilities'
METRICS = ('auc', 'gauc', 'logloss', 'pcoc')
OWN = ('model', 'options')  # sections whose keys differ from row to row


@dataclasses.dataclass(frozen=True)
class Cell:
    """What a cell runs.

    Attributes:
      folder: takes the run and `result.json`.
      base: the data set's config: features, data, train.
      row: the model's config, laid over it; None takes a whole section out.
      seed: of the simulated data, the order of the data and the initial values.
      chosen: {'section.key': value}, what tuning found.
      test: read the test part; a trial reads validation alone.
    """

    folder: Path
    base: ml_collections.ConfigDict
    row: ml_collections.ConfigDict
    seed: int
    chosen: Mapping[str, Any]
    test: bool = True

    def config(self) -> ml_collections.ConfigDict:
        """The whole config of the run."""
        merged = ml_collections.ConfigDict(plain(self.base))
        lay_over(merged, plain(self.row) | {'seed': self.seed})
        if 'seed' in merged.data.arguments:
            merged.data.arguments.seed = self.seed
        for path, value in self.chosen.items():
            section, _, key = path.partition('.')
            # A row takes what it has: LR has no width to tune, DNN nothing to explore by.
            if section not in OWN or key in merged.get(section, {}):
                merged[section][key] = value
        return merged


@configurable('run')
def run_cell(
    cell: Cell, data_dir: str | None, slices: Sequence[str] = (), judges: Sequence[str] = ()
) -> dict[str, Any]:
    """Trains and tests a cell, or reads its result if it was finished with this config.

    Args:
      slices: parts of the test set that are judged apart, names of `jaxrec.runs.comparison.slices.SLICES`.
      judges: import paths 'package.module:name' of functions (run, state of the best step, evaluator that
        has taken in its predictions) -> {metric: float}, which look at more.

    Returns:
      {'validation', 'parameters', 'parameters_candidates'}, 'seconds' of a cell that was not stopped in between, of
      what has parameters 'trained' and 'curve', [[step, value of the monitored metric], ...] on validation, and, where
      the test part is read, 'test' and, on simulated worlds, 'ceiling', each {metric: value}.
    """
    config = cell.config()
    described = describe_cell(config, cell.test, slices, judges)
    if (finished := read_finished(cell.folder, described)) is not None:
        return finished
    jax.clear_caches()
    start, resumed = time.perf_counter(), (cell.folder / 'checkpoints').exists()
    run = build(config, data_dir)
    progress = fit(run, cell.folder)
    counted = count_trained(run)
    result: dict[str, Any] = {'config': described, 'validation': progress.best, **counted}
    if not resumed:  # else the time is of the last process alone
        result['seconds'] = round(time.perf_counter() - start, 1)
    if counted['parameters']:  # what only counts is done when it has counted
        result['trained'] = trained(cell.folder, run.train['monitor'], run.train['maximize'])
        result['curve'] = curve(cell.folder, run.train['monitor'])
    if cell.test:
        result |= test_cell(run, cell.folder, slices, judges)
    replace_text(cell.folder / 'result.json', json.dumps(result, indent=1))
    taken = f'{result["seconds"]:.0f} s' if 'seconds' in result else 'several goes'
    log.info('%s: validation %.4f in %s', cell.folder, result['validation'], taken)
    return result


def describe_cell(
    config: ml_collections.ConfigDict, test: bool, slices: Sequence[str] = (), judges: Sequence[str] = ()
) -> str:
    """What a result is of: kept beside it, so that a cell of another config is run anew."""
    # Only where there are judges, so that a table without stays finished.
    judged = [list(judges)] if judges else []
    return json.dumps([plain(config), test, list(slices), *judged], sort_keys=True)


def read_finished(folder: Path, described: str) -> dict[str, Any] | None:
    """The result in a cell's folder, None where there is none of this description."""
    path = folder / 'result.json'
    if path.exists() and (result := json.loads(path.read_text()))['config'] == described:
        return result
    return None


def test_cell(run: Experiment, folder: Path, slices: Sequence[str], judges: Sequence[str]) -> dict[str, Any]:
    """Reads the test part of a trained cell, and the ceiling of its world."""
    evaluator, step = score(run, folder)
    found = evaluator.compute()
    test = found if isinstance(evaluator, RankingEvaluator) else {m: found[m] for m in METRICS if m in found}
    best = ceiling(run)
    for name in slices:
        found, reachable = judge_slice(name, run, evaluator)
        test |= found
        if best is not None:
            best |= reachable
    if judges:
        state, _ = restore_model(run, folder, step)
        for path in judges:
            test |= resolve(path, 'scorer')(run, state, evaluator)
    return {'test': test} | ({} if best is None else {'ceiling': best})


def time_cells(cells: Sequence[Cell], results: Sequence[dict[str, Any]], data_dir: str | None) -> None:
    """Adds `step_ms`, the training step of the first cell's config, to the results of a row's cells.

    The median of several windows over rotating batches, after warm-up; it is kept next to the first cell's result.
    """
    path = cells[0].folder / 'step_ms.json'
    if not path.exists():
        run = build(cells[0].config(), data_dir)
        source = run.source('train', shuffle=True)
        ready = itertools.cycle([source[i] for i in range(min(4, len(source)))])
        held: dict[str, Any] = {'state': init_state(run.setup, run.example(source), run.config.seed)}
        step = make_train_step(run.setup)

        def call() -> None:
            held['state'], held['metrics'] = step(held['state'], put_batch(next(ready), run.setup.mesh))

        seconds, _ = measure(call, lambda: jax.block_until_ready((held['state'], held['metrics'])))
        replace_text(path, json.dumps(round(seconds * 1e3, 2)))
        jax.clear_caches()
    for result in results:
        result['step_ms'] = json.loads(path.read_text())


def curve(folder: Path, monitor: str) -> list[tuple[int, float]]:
    """(step, what the evaluation after it found on validation) of a run."""
    lines = read_metrics(folder / 'metrics.jsonl')
    return [(line['step'], line[monitor]) for line in lines if line['part'] == 'validation']


def validated(folder: Path, monitor: str, maximize: bool = True) -> list[float]:
    """What each evaluation of a run found on validation, with a minus where less is better."""
    return [value if maximize else -value for _, value in curve(folder, monitor)]


def trained(folder: Path, monitor: str, maximize: bool = True) -> bool:
    """Whether the validation metric has peaked, or gained less than .001 over its last two evaluations."""
    values = validated(folder, monitor, maximize)
    peaked = len(values) > 1 and max(values) > values[-1]
    return peaked or (len(values) > 2 and max(values[-2:]) - values[-3] < 0.001)


def count_trained(run: Experiment) -> dict[str, int]:
    """Numbers that are trained: {'parameters', 'parameters_candidates'}, see `training.parameters`."""
    example = run.example(run.source('validation'))
    params, _ = jax.eval_shape(run.setup.task.init, jax.random.key(0), example)

    def training() -> Iterator[dict[str, np.ndarray]]:
        yield from batches(run.source('train'))  # opened only if it is read

    counted = count_parameters(run.setup.task, params, training())
    return {'parameters': counted.full, 'parameters_candidates': counted.candidates}
