"""Iterative preference alignment (arXiv 2502.18965, Algorithm 2), which can be stopped and resumed anywhere.

Iteration t mines pairs from the frozen model M_t and learns from them and from sessions; the result is M_{t+1}. There
is a checkpoint between iterations: mining resumes after its finished chunks, training from its last checkpoint with the
pair log read back.

B batch, P pairs a step, K beams.
"""

import dataclasses
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tqdm
from ml_collections import ConfigDict

from jaxrec.data.logs.log_watch import LogWatch
from jaxrec.data.sources.behaviour_source import make_loader
from jaxrec.models.onerec.alignment.pairs import Mined, chunk_path, draw
from jaxrec.models.onerec.alignment.setup import Alignment
from jaxrec.models.onerec.alignment.task import PairSource, pairs_of_steps
from jaxrec.models.onerec.reward.generated import all_requests, judge_written
from jaxrec.models.onerec.reward.open_scorer import Bench
from jaxrec.models.onerec.task import CODES
from jaxrec.runs.build import batches
from jaxrec.runs.fit import draw_curves, start_from
from jaxrec.runs.workdir import claim, hold, open_checkpoints, table_rows
from jaxrec.training.evaluate import evaluate
from jaxrec.training.loop import train
from jaxrec.training.progress import Progress
from jaxrec.training.state import TrainState, abstract_state
from jaxrec.training.step import make_train_step
from jaxrec.training.writers import MetricWriter

log = logging.getLogger(__name__)


def align(pieces: Alignment, workdir: Path, data_dir: str | None = None) -> list[dict[str, float]]:
    """Runs all iterations, or those that are left.

    Args:
      pieces: from `prepare`.
      workdir: takes `config.json` of the aligned generator, `metrics.jsonl`, `curves.png`, `checkpoints/`, and under
        `align/` the options and the pair logs.
      data_dir: the data root.

    Returns:
      Figures of each iteration's pairs; empty without pairs.

    Raises:
      ValueError: an iteration would have no pair, the workdir holds another alignment, another process works in it, or
        a pair log cannot be used.
    """
    if pieces.task.preference.learns:
        _require_pairs(pieces)
    with hold(workdir):
        claim(workdir, pieces.run.config)
        (workdir / 'align').mkdir(exist_ok=True)
        told = {'generator': str(pieces.generator), **_identity(pieces.bench), **pieces.options}
        claim(workdir / 'align', ConfigDict(told))
        found = _align(pieces, workdir, data_dir)
        draw_curves(workdir, pieces.run.train['monitor'])
    return found


def _require_pairs(pieces: Alignment) -> None:
    """Refuses so few pairs that an iteration has none."""
    per, iterations = pieces.per, pieces.options['iterations']
    if not min(pairs_of_steps(pieces.share, n * per, (n + 1) * per) for n in range(iterations)):
        raise ValueError(
            f'align.ratio = {pieces.options["ratio"]} of batches of {pieces.base.batch_size} gives no pair '
            f'to an iteration of {per} steps: raise align.ratio or align.passes, or lower align.iterations'
        )


def _align(pieces: Alignment, workdir: Path, data_dir: str | None) -> list[dict[str, float]]:
    run, per, iterations = pieces.run, pieces.per, pieces.options['iterations']
    found = []
    watch, every = LogWatch(run.log), -(-per // pieces.options['evals'])
    loop = dataclasses.replace(run.loop_options(pieces.base), eval_every=every)
    with open_checkpoints(run, workdir) as checkpoints:
        state, progress, position = _begin(pieces, workdir, checkpoints, watch, data_dir)
        step_fn, scores = make_train_step(run.setup), _evaluation(pieces)
        writer = MetricWriter(workdir, int(state.step), run.train['tensorboard'], run.train['log_metrics'])
        try:
            for iteration in range(iterations):
                first, stop = iteration * per, (iteration + 1) * per
                taken = int(state.step) - progress.start
                if progress.done and taken <= first:
                    break  # patience ran out in the iteration before
                source: Any = pieces.base
                if pieces.task.preference.learns:
                    wanted = pairs_of_steps(pieces.share, first, stop)
                    mined = _mine(pieces, workdir, state, progress.start + first, wanted, taken == first)
                    log.info('iteration %d of %d: %s', iteration + 1, iterations, mined.describe())
                    found.append(_figures(mined))
                    source = PairSource(pieces.base, mined, pieces.share, first, stop)
                if taken >= stop or progress.done:
                    continue
                loader = make_loader(source)
                if position is not None:
                    loader.set_state(position)
                try:
                    state, progress, stopped = train(
                        run.setup, step_fn, state, progress, loader, scores, checkpoints, writer,
                        dataclasses.replace(loop, steps=progress.start + stop), watch=watch,
                    )  # fmt: skip
                    position = loader.get_state()
                finally:
                    loader.close()
                if stopped:
                    raise SystemExit(0)
        finally:
            writer.close()
    return found


def _begin(
    pieces: Alignment, workdir: Path, checkpoints: Any, watch: LogWatch, data_dir: str | None
) -> tuple[TrainState, Progress, Any]:
    """Returns state, progress and the loader's position: of a stopped alignment, or M_0."""
    run = pieces.run
    example = run.example(pieces.base)
    if not checkpoints.steps:
        state = _same_codes(pieces, start_from(run, pieces.generator, example, data_dir))
        return state, Progress(start=int(state.step)), None
    loader = make_loader(pieces.base)  # its state is a position, whatever stands beside the sessions
    restored = checkpoints.restore(abstract_state(run.setup, example), table_rows=table_rows(run), data=loader)
    watch.require_same(restored.trained_on)
    position = loader.get_state()
    loader.close()
    log.info('restored step %d of %s', int(restored.state.step), workdir)
    return _same_codes(pieces, restored.state), Progress(**restored.progress), position


def _same_codes(pieces: Alignment, state: TrainState) -> TrainState:
    """Returns the state, whose codes must be those that beams are searched among."""
    if not np.array_equal(state.model_state[CODES], pieces.miner.task.codes):
        raise ValueError(
            f'{pieces.generator} was trained with other semantic IDs than its config names now: put back the '
            'file that it was trained with, or train it anew'
        )
    return state


def _mine(pieces: Alignment, workdir: Path, state: TrainState, step: int, wanted: int, frozen: bool) -> Mined:
    """Returns the pair log of the iteration that begins at a step, mined by the state if it is the frozen one."""
    o, base = pieces.options, pieces.base
    wanted = min(base.examples, wanted)
    drawn = draw(base.examples, wanted, pieces.run.config.seed, step)
    key = {'step': step, **_identity(pieces.bench), 'weights': list(pieces.bench.weights.values())}
    key |= {name: o[name] for name in ('beams', 'losers', 'distinct', 'tie')}
    folder = workdir / 'align' / f'pairs-{step}'
    params, model_state = (state.params, state.model_state) if frozen else (None, None)
    chunks = (chunk_path(folder, number) for number in range(-(-wanted // o['chunk'])))
    if not frozen and (missing := next((path for path in chunks if not path.exists()), None)):
        raise ValueError(f'{missing} is missing and the model that it was mined from is gone: use another --workdir')
    hidden = not sys.stderr.isatty()
    with tqdm.tqdm(total=wanted, desc='mining', unit='request', disable=hidden, dynamic_ncols=True) as bar:
        return pieces.miner.mine(params, model_state, folder, key, drawn, bar.update)


def _identity(bench: Bench) -> dict[str, Any]:
    """Returns what identifies a reward model: those trained alike share the step."""
    calibration = bench.judge.task.calibration
    return {'judge': bench.step, 'calibration': [list(pair) for pair in calibration]}


def _figures(mined: Mined) -> dict[str, float]:
    some = mined.valid.any(1)
    return {
        'requests': float(len(mined)), 'pairs': float(some.sum()), 'repeated': float(mined.repeated.sum()),
        'mean': float(mined.mean.mean()), 'winner': float(mined.rewards[some, 0].mean()) if some.any() else 0.0,
        'loser': float(mined.rewards[some, 1].mean()) if some.any() else 0.0,
    }  # fmt: skip


def _evaluation(pieces: Alignment) -> Callable[[TrainState], dict[str, float]]:
    """Next-token loss on validation, and rewards of sessions generated for some requests of its users."""
    run, validation = pieces.run, pieces.run.source('validation')
    asked = all_requests(run, 'validation')

    def scores(state: TrainState) -> dict[str, float]:
        seen = batches(validation, run.train['eval_batches'])
        found = dict(evaluate(run.setup, pieces.predict, state, seen).compute())
        if pieces.options['judged']:
            write = pieces.miner.writer(state.params, state.model_state)
            found |= judge_written(write, asked, pieces.bench, pieces.options['judged'], pieces.options['chunk'])
        return found

    return scores
