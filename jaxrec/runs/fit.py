"""Training and evaluating a run in its workdir; the mains and `compare` call the same functions."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from jaxrec.data.ingest.extend import check_grown
from jaxrec.data.logs.log_watch import LogWatch
from jaxrec.data.sources.batch_source import BatchSource
from jaxrec.data.sources.behaviour_source import make_loader
from jaxrec.options import plain, read_options
from jaxrec.parallel import placement
from jaxrec.runs.build import TRAIN_OPTIONS, Experiment, batches
from jaxrec.runs.optimizers import make_optimizer, without_schedule
from jaxrec.runs.row_files import new_figure, save_figure
from jaxrec.runs.sources import log_of
from jaxrec.runs.workdir import claim_together, hold, open_checkpoints, own_checkpoints, read_config, table_rows
from jaxrec.training.checkpoints import Checkpoints
from jaxrec.training.evaluate import evaluate
from jaxrec.training.loop import train
from jaxrec.training.progress import Progress
from jaxrec.training.state import TrainState, abstract_state, init_state, new_scratch
from jaxrec.training.step import make_predict_step, make_train_step
from jaxrec.training.stopping import stop_awaited
from jaxrec.training.task import Continued
from jaxrec.training.warm_start import grown_rows, warm_state
from jaxrec.training.writers import MetricWriter, QuietWriter, read_metrics

log = logging.getLogger(__name__)


def fit(run: Experiment, workdir: Path, data_dir: str | None = None) -> Progress:
    """Trains, or resumes a stopped run, and returns the loop's progress: best validation value and its step.

    Args:
      run: the experiment.
      workdir: takes `config.json`, `metrics.jsonl`, `curves.png` and `checkpoints/`.
      data_dir: where real data sets are, for the log of the run that `train.init_from` names.

    Raises:
      ValueError: the workdir holds a run of another config, another process trains in it, or the run to start from does
        not fit.
    """
    with hold(workdir):
        progress = _fit(run, workdir, data_dir)
        if jax.process_index() == 0:
            draw_curves(workdir, run.train['monitor'])
    return progress


def _fit(run: Experiment, workdir: Path, data_dir: str | None) -> Progress:
    source, validation = run.source('train', shuffle=True), run.source('validation')
    example = run.example(source)
    claim_together(workdir, run.config)  # not before: what is refused leaves the workdir free
    loader = make_loader(source)
    predict, watch = make_predict_step(run.setup), LogWatch(run.log)
    with open_checkpoints(run, workdir) as checkpoints:
        state, progress = _begin(run, workdir, example, checkpoints, loader, watch, data_dir)
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


def _begin(
    run: Experiment,
    workdir: Path,
    example: dict[str, jax.Array],
    checkpoints: Checkpoints,
    loader: Any,
    watch: LogWatch,
    data_dir: str | None,
) -> tuple[TrainState, Progress]:
    """The state of the latest checkpoint, of another run, or a new one."""
    if checkpoints.steps:
        abstract = abstract_state(run.setup, example)
        restored = checkpoints.restore(abstract, table_rows=table_rows(run), data=loader)
        watch.require_same(restored.trained_on)
        state = dataclasses.replace(restored.state, scratch=new_scratch(run.setup, example))
        progress = Progress(**restored.progress)
        log.info('restored step %d of %s', int(state.step), workdir)
        return state, progress
    if run.train['init_from']:
        state = start_from(run, Path(run.train['init_from']), example, data_dir)
        return state, Progress(start=int(state.step))
    return init_state(run.setup, example, run.config.seed), Progress()


def start_from(
    run: Experiment, workdir: Path, example: dict[str, jax.Array], data_dir: str | None = None
) -> TrainState:
    """The state that a run continues from the best checkpoint in another's workdir, its tables grown to the new log.

    Raises:
      ValueError: the new log's vocabularies do not extend those of the other, or it is of another model.
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


def draw_curves(workdir: Path, monitor: str, output: Path | None = None) -> None:
    """Draws training loss and validation metric against steps, to `curves.png` of the workdir by default."""
    lines = read_metrics(workdir / 'metrics.jsonl')
    figure, (left, right) = new_figure(1, 2, figsize=(9, 3.2))
    for axes, part, metric in ((left, 'train', 'loss'), (right, 'validation', monitor)):
        points = [(line['step'], line[metric]) for line in lines if line['part'] == part and metric in line]
        axes.plot(*zip(*points, strict=True), marker='.' if part == 'validation' else None)
        axes.set(xlabel='step', title=f'{part} {metric}')
        axes.grid(alpha=0.3)
    save_figure(figure, output or workdir / 'curves.png')
