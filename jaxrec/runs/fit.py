"""Training and evaluating a run in its workdir; the mains and `compare` call the same functions."""

import dataclasses
import fcntl
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import jax
import matplotlib
import ml_collections
import numpy as np

from jaxrec.data.ingest.extend import check_grown
from jaxrec.data.logs.log_watch import LogWatch, require_same_log
from jaxrec.data.sources.batch_source import BatchSource
from jaxrec.data.sources.behaviour_source import make_loader
from jaxrec.evaluation.ctr import CtrEvaluator
from jaxrec.files import needs_room, replace_text
from jaxrec.options import plain, read_options
from jaxrec.parallel import placement
from jaxrec.parallel.processes import gather, wait_for_all
from jaxrec.runs.build import TRAIN_OPTIONS, Experiment, batches, read_config
from jaxrec.runs.optimizers import make_optimizer
from jaxrec.runs.row_files import save_figure
from jaxrec.runs.schedules import without_schedule
from jaxrec.runs.sources import log_of
from jaxrec.training.checkpoints import Checkpoints
from jaxrec.training.evaluate import evaluate, of_all_processes
from jaxrec.training.loop import train
from jaxrec.training.progress import Progress
from jaxrec.training.state import TrainState, abstract_state, init_state, new_scratch
from jaxrec.training.step import make_predict_step, make_train_step
from jaxrec.training.stopping import stop_awaited
from jaxrec.training.task import Continued, Evaluator
from jaxrec.training.warm_start import grown_rows, warm_state
from jaxrec.training.writers import MetricWriter, QuietWriter, read_metrics

log = logging.getLogger(__name__)


def table_rows(run: Experiment) -> dict[str, int]:
    """{table: V} of a run's task."""
    return {name: spec.rows for name, spec in run.setup.task.tables.items()}


@contextmanager
def open_checkpoints(run: Experiment, workdir: Path, read_only: bool = False) -> Iterator[Checkpoints]:
    """Opens the checkpoints of a workdir as the run's config says."""
    t = run.train
    folder = workdir / 'checkpoints'
    kept = t['keep'], t['monitor'], t['maximize']
    with Checkpoints(folder, *kept, read_only, t['save_timeout']) as checkpoints:
        yield checkpoints


def fit(run: Experiment, workdir: Path, data_dir: str | None = None) -> Progress:
    """Trains, or goes on where a stopped run left off.

    Args:
      run: the experiment.
      workdir: takes `config.json`, `metrics.jsonl`, `curves.png` and `checkpoints/`.
      data_dir: where real data sets lie, for the log of the run that `train.init_from` names.

    Returns:
      The loop's progress: best validation value and its step.

    Raises:
      ValueError: the workdir holds a run of another config, another process trains in it, or the run to
        start from does not fit.
    """
    with hold(workdir):
        progress = _fit(run, workdir, data_dir)
        if jax.process_index() == 0:
            draw_curves(workdir, run.train['monitor'])
    return progress


def claim_together(workdir: Path, run_config: ml_collections.ConfigDict) -> None:
    """Claims a workdir for all processes of a run: the first writes, the others see that it is theirs too.

    Args:
      workdir: where each of them writes its part of every checkpoint.
      run_config: of this process.

    Raises:
      ValueError: it holds a run of another config, or a process does not see what the first has written.
    """
    first = jax.process_index() == 0
    if first:
        claim(workdir, run_config)
    wait_for_all('workdir claimed')
    seen = gather((workdir / 'config.json').exists())
    if not all(seen):
        raise ValueError(
            f'{workdir} of process 0 is not seen by process {seen.index(False)}: give a --workdir on a file '
            'system that all processes share'
        )
    if not first:
        claim(workdir, run_config)


def _fit(run: Experiment, workdir: Path, data_dir: str | None) -> Progress:
    source, validation = run.source('train', shuffle=True), run.source('validation')
    example = run.example(source)
    claim_together(workdir, run.config)  # not before: what is refused leaves the workdir free
    loader = make_loader(source)
    predict, watch = make_predict_step(run.setup), LogWatch(run.log)
    with open_checkpoints(run, workdir) as checkpoints:
        if checkpoints.steps:
            abstract = abstract_state(run.setup, example)
            restored = checkpoints.restore(abstract, table_rows=table_rows(run), data=loader)
            watch.require_same(restored.trained_on)
            state = dataclasses.replace(restored.state, scratch=new_scratch(run.setup, example))
            progress = Progress(**restored.progress)
            log.info('restored step %d of %s', int(state.step), workdir)
        elif run.train['init_from']:
            state = start_from(run, Path(run.train['init_from']), example, data_dir)
            progress = Progress(start=int(state.step))
        else:
            state, progress = init_state(run.setup, example, run.config.seed), Progress()
        describe(run, source, state)
        if stop_awaited(int(state.step)):
            log.info('stopped by a signal before the next step; the same command goes on from there')
            raise SystemExit(0)
        first = jax.process_index() == 0
        told = run.train['tensorboard'], run.train['log_metrics']
        writer = MetricWriter(workdir, int(state.step), *told) if first else QuietWriter()
        try:
            _, progress, stopped = train(
                run.setup,
                make_train_step(run.setup),
                state,
                progress,
                loader,
                lambda state: evaluate(
                    run.setup, predict, state, batches(validation, run.train['eval_batches'])
                ).compute(),
                checkpoints,
                writer,
                run.loop_options(source, progress.start),
                watch=watch,
            )
        finally:
            writer.close()
            loader.close()
    if stopped:
        raise SystemExit(0)
    return progress


def start_from(
    run: Experiment, workdir: Path, example: dict[str, jax.Array], data_dir: str | None = None
) -> TrainState:
    """The state that a run takes over from the best checkpoint of another.

    Args:
      run: the new run.
      workdir: of the run to start from.
      example: a batch on the devices, for its shapes.
      data_dir: where real data sets lie.

    Returns:
      The state, its tables grown to the new log; of a schedule of the other run nothing is left.

    Raises:
      ValueError: the new log's vocabularies do not extend those of the other, or it is of another model or
        one whose parameters mean something else.
    """
    config = read_config(str(workdir / 'config.json'))
    if run.data['cartesian']:
        raise ValueError(
            'a run with data.cartesian cannot start from another: ids of pairs are drawn up anew from the '
            'training part, train it without --warm_start'
        )
    check_grown(log_of(config, data_dir), run.log, run.config.features)
    if isinstance(run.setup.task, Continued):
        run.setup.task.check_start(plain(config.get('model', {})))
    t = read_options(config.get('train', {}), 'train', **TRAIN_OPTIONS)
    setup, scheduled = run.setup, plain(t['schedule'])
    if scheduled:  # its optimizer's state counts steps
        rate = run.train['learning_rate']
        name, decay = run.train['optimizer'], run.train['weight_decay']
        setup = setup._replace(optimizer=make_optimizer(name, rate, scheduled, 1, decay))
    with own_checkpoints(workdir) as checkpoints:
        state = warm_state(setup, checkpoints, example, run.config.seed)
        added = grown_rows(run.setup, checkpoints)
    log.info('started from step %d of %s, rows added: %s', int(state.step), workdir, added)
    return dataclasses.replace(state, opt_state=without_schedule(state.opt_state))


def own_checkpoints(workdir: Path) -> Checkpoints:
    """The checkpoints of a run, to be read, of which the best is so by the metric that the run monitors."""
    config = read_config(str(workdir / 'config.json'))
    t = read_options(config.get('train', {}), 'train', **TRAIN_OPTIONS)
    return Checkpoints(workdir / 'checkpoints', t['keep'], t['monitor'], t['maximize'], True)


@contextmanager
def hold(workdir: Path) -> Iterator[None]:
    """Keeps other processes out of a workdir; the system lets go of it when this one ends, however it ends.

    Args:
      workdir: takes `.lock`; created if absent. Of a run's own processes the first one holds it for all.

    Raises:
      ValueError: another process holds it, or the disk is full.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / '.lock').open('ab+', buffering=0) as file:  # closing has nothing left to write
        if jax.process_index() == 0:
            _lock(file, workdir)
        yield


def _lock(file: BinaryIO, workdir: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().decode().strip() or 'unknown'
        raise ValueError(
            f'{workdir} is in use by another run (process {holder}): wait until it ends, or give another '
            '--workdir'
        ) from None
    except OSError as error:  # some network file systems have no locks
        log.warning('%s cannot be locked (%s): see that no second run writes there', workdir, error)
    with needs_room(workdir / '.lock'):
        file.truncate(0)
        file.write(f'{os.getpid()}\n'.encode())


def claim(workdir: Path, run_config: ml_collections.ConfigDict) -> None:
    """Writes the config into an empty workdir, or checks that the one there is the same."""
    path, text = workdir / 'config.json', json.dumps(plain(run_config.to_dict()), indent=1, sort_keys=True)
    if path.exists() and path.read_text() != text:
        old, new = (dict(_leaves(json.loads(config))) for config in (path.read_text(), text))
        differs = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        shown = ', '.join(f'{key} was {old.get(key)!r} and is {new.get(key)!r}' for key in differs[:3])
        raise ValueError(
            f'{workdir} holds a run of another config ({shown}); use another --workdir, or remove it'
        )
    if not path.exists():  # of several processes the others may be reading it
        replace_text(path, text)


def _leaves(config: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Yields ('section.key', value) for every value of a nested config."""
    if isinstance(config, dict):
        for key, value in config.items():
            yield from _leaves(value, f'{path}.{key}' if path else key)
    else:
        yield path, config


def told_of(manifest: Mapping[str, Any]) -> str:
    """Where a log is from, what it holds and what was left out of it, in a line."""
    counts = [f'{count} {what}' for what, count in manifest['counts'].items() if count]
    left_out = [f'{count} x {reason}' for reason, count in manifest['dropped'].items() if count]
    without = f'; left out: {", ".join(left_out)}' if left_out else ''
    return ', '.join([manifest['provenance'], *counts]) + without


def describe(run: Experiment, source: BatchSource, state: TrainState) -> None:
    """Logs what is trained on what, and what lies where, in bytes."""
    log.info('log %s: %s', run.log.folder, told_of(run.log.manifest))
    log.info('%d training examples, %d steps an epoch, %d in all', source.examples, source.steps, len(source))
    for pairs in source.vocabularies:
        found, size = len(pairs.keys), pairs.keys.nbytes / 1e6
        log.info('%s: %d pairs in training have ids, %.1f MB of keys on the host', pairs.name, found, size)
    trees = {f'table {name}': table for name, table in state.tables.items()}
    trees |= {name: getattr(state, name) for name in ('params', 'opt_state', 'row_opt_state', 'scratch')}
    placed = placement({title: tree for title, tree in trees.items() if jax.tree.leaves(tree)})
    log.info('on mesh %s:\n  %s', dict(run.setup.mesh.shape), placed.replace('\n', '\n  '))


def score(
    run: Experiment, workdir: Path, part: str = 'test', step: int | None = None
) -> tuple[Evaluator, int]:
    """Restores a checkpoint and predicts one part of the log.

    Args:
      run: the experiment, on any mesh.
      workdir: of a trained run.
      part: 'train', 'validation' or 'test'.
      step: which checkpoint; None takes the best.

    Returns:
      The filled evaluator and the step.

    Raises:
      ValueError: there is no such checkpoint.
    """
    source = run.source(part)
    state, step = restore_model(run, workdir, step, source)
    return evaluate(run.setup, make_predict_step(run.setup), state, batches(source)), step


def restore_model(
    run: Experiment, workdir: Path, step: int | None = None, source: BatchSource | None = None
) -> tuple[TrainState, int]:
    """Reads the model of a checkpoint.

    Args:
      run: the experiment, on any mesh.
      workdir: of a trained run.
      step: which checkpoint; None takes the best.
      source: of batches, for their shapes; None takes the training part.

    Returns:
      The state, its optimizer left abstract, and the step.

    Raises:
      ValueError: there is no such checkpoint, or it was trained on another log.
    """
    example = run.example(source or run.source('train', shuffle=True))
    with open_checkpoints(run, workdir, read_only=True) as checkpoints:
        step = checkpoints.best if step is None else step
        abstract = abstract_state(run.setup, example)
        restored = checkpoints.restore(abstract, step, table_rows=table_rows(run), model_only=True)
        require_same_log(restored.trained_on, run.log)
        return restored.state, checkpoints.steps[-1] if step is None else step


def ceiling(run: Experiment, part: str = 'test') -> dict[str, float] | None:
    """The metrics that the true click probabilities reach, where the log holds them.

    Args:
      run: the experiment.
      part: which part of the log.

    Returns:
      {metric: value}, or None for logs without truth.
    """
    if 'true_ctr' not in run.log.events.names:
        return None
    evaluator = CtrEvaluator()
    truth = np.asarray(run.log.events['true_ctr'])
    for batch in batches(run.source(part)):
        evaluator.add(batch, {'probability': truth[batch['host/event']]})
    return of_all_processes(evaluator).compute()


def draw_curves(workdir: Path, monitor: str) -> None:
    """Draws training loss and validation metric against steps to `curves.png`."""
    matplotlib.use('agg')
    import matplotlib.pyplot as plt

    lines = read_metrics(workdir / 'metrics.jsonl')
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout='constrained')
    for axes, part, metric in ((left, 'train', 'loss'), (right, 'validation', monitor)):
        points = [(line['step'], line[metric]) for line in lines if line['part'] == part and metric in line]
        axes.plot(*zip(*points, strict=True), marker='.' if part == 'validation' else None)
        axes.set(xlabel='step', title=f'{part} {metric}')
        axes.grid(alpha=0.3)
    save_figure(figure, workdir / 'curves.png')
