"""Iterative preference alignment (arXiv 2502.18965, Algorithm 2), stopped and resumed wherever it is.

Iteration t mines pairs from the model as it is, M_t, and learns from them and from sessions; what it then is
becomes M_{t+1}. Between two iterations there is a checkpoint, so mining goes on from its finished chunks, and
training from its last checkpoint with the pair log read back.

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

from experiments.building import Experiment, batches, build, read_config
from experiments.onerec.judging import Bench, all_requests, judge_written, open_judge, require_other_users
from experiments.running import claim, draw_curves, hold, open_checkpoints, start_from, table_rows
from experiments.sources import cut_source
from jaxrec.data.sessions.source import SessionSource
from jaxrec.data.source import make_loader
from jaxrec.data.watch import LogWatch
from jaxrec.models.onerec.align import (
    IPA,
    ITERATIONS,
    AlignTask,
    PairSource,
    Preference,
    pairs_a_step,
    steps_an_iteration,
)
from jaxrec.models.onerec.judged import JUDGE, TRUE
from jaxrec.models.onerec.mining import Miner
from jaxrec.models.onerec.pairs import Mined, draw
from jaxrec.models.onerec.task import CODES, SessionTask
from jaxrec.options import lay_over, plain, read_options
from jaxrec.training.evaluate import evaluate
from jaxrec.training.loop import train
from jaxrec.training.progress import LoopOptions, Progress
from jaxrec.training.state import TrainState, abstract_state
from jaxrec.training.step import make_predict_step, make_train_step
from jaxrec.training.writers import MetricWriter

log = logging.getLogger(__name__)
PREFERENCE = {field.name: field.default for field in dataclasses.fields(Preference)}
ALIGN_OPTIONS: dict[str, Any] = {
    **PREFERENCE,
    'iterations': 0,  # T; 0: `ITERATIONS` of 'ipa', 1 of any other, which then has a reference that stays
    'passes': 3.0,  # over the training part, of all iterations together
    'ratio': 0.01,  # r_DPO
    'beams': 128,  # N
    'losers': 1,
    'chunk': 32,  # requests that are mined at a time
    'judged': 256,  # validation requests whose generated sessions are judged at every evaluation
    'evals': 1,  # an iteration
}


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment:
    """The pieces of an alignment.

    Attributes:
      run: the generator's experiment; its task is an `AlignTask`.
      generator: the workdir that M_0 comes from.
      base: batches of sessions, enough of them.
      miner: beams and judge.
      bench: who judges.
      options: `ALIGN_OPTIONS`, defaults filled in.
      per: steps of an iteration.
      predict: from `make_predict_step`; the generator's, so that all methods share one program.
    """

    run: Experiment
    generator: Path
    base: SessionSource
    miner: Miner
    bench: Bench
    options: dict[str, Any]
    per: int
    predict: Callable[[TrainState, Any], dict[str, Any]]

    @property
    def task(self) -> AlignTask:
        """The run's task."""
        task = self.run.setup.task
        assert isinstance(task, AlignTask)
        return task


def prepare(
    config: ConfigDict, generator: Path, judge: Path, data_dir: str | None = None, mesh: Any = None,
    shared: Alignment | Bench | None = None,
) -> Alignment:  # fmt: skip
    """Builds the pieces.

    Args:
      config: `align`, any of `ALIGN_OPTIONS`, and `train`, what is laid over the generator's section.
      generator: workdir of the model that is aligned.
      judge: workdir of the reward model.
      data_dir: where real data sets lie.
      mesh: (data, model), or None.
      shared: pieces of another method on the same generator and judge, of which all that is compiled and the
        same serves again; or the judge alone, opened.

    Returns:
      The pieces; their run's config is the generator's with the changes of `train`.

    Raises:
      ValueError: an unknown section or option, a generator that writes no sessions or no single items, a
        judge of another log or of the generator's own users, or a monitor that nobody judges.
    """
    if unknown := sorted(set(config) - {'align', 'train'}):
        raise ValueError(f'config.{unknown[0]} is not a section; an alignment has align and train')
    options = read_options(config.get('align', {}), 'align', **ALIGN_OPTIONS)
    run, generating, once = _open_generator(config, generator, data_dir, mesh)
    preference = Preference(**{name: options[name] for name in PREFERENCE})
    iterations = options['iterations'] or (ITERATIONS if preference.method == IPA else 1)
    if iterations < 0 or not options['passes'] > 0 or options['evals'] < 1:
        raise ValueError(
            f'align.iterations = {iterations}, passes = {options["passes"]}, evals = {options["evals"]}: '
            'give 0 or more iterations, passes above 0 and at least 1 evaluation an iteration'
        )
    _require_judged(options['judged'], run.train['monitor'])
    steps_a_pass = once.steps
    per = steps_an_iteration(options['passes'] * steps_a_pass, preference.method, iterations)
    epochs = -(-per * iterations // steps_a_pass)
    base = cut_source(run.config, run.log, run.data, {**run.train, 'epochs': epochs}, 'train', shuffle=True)
    assert isinstance(base, SessionSource)
    pairs = pairs_a_step(options['ratio'], base.batch_size)
    task = AlignTask(generating, preference, pairs, base.batch_size // pairs)
    bench = shared if isinstance(shared, Bench) else shared.bench if shared else None
    bench = bench or open_judge(judge, run.log, data_dir, mesh)
    require_other_users(judge, bench.users, generator, once.users)
    numbers = {name: options[name] for name in ('beams', 'losers', 'chunk')}
    miner = Miner(generating, base, bench.judge, run.setup.mesh, **numbers)
    if isinstance(shared, Alignment) and all(
        getattr(shared.miner, name) == number for name, number in numbers.items()
    ):
        miner = shared.miner  # whose source has the same examples, if not as many epochs
    run = dataclasses.replace(run, setup=run.setup._replace(task=task))
    predict = shared.predict if isinstance(shared, Alignment) else make_predict_step(run.setup)
    return Alignment(run, generator, base, miner, bench, options | {'iterations': iterations}, per, predict)


def _open_generator(
    config: ConfigDict, generator: Path, data_dir: str | None, mesh: Any
) -> tuple[Experiment, SessionTask, SessionSource]:
    """The generator's run with the changes of `config.train`, its task, and the batches of one pass."""
    changed = read_config(str(generator / 'config.json')).copy_and_resolve_references().unlock()
    if 'schedule' in changed.get('train', {}):
        changed.train.schedule = ConfigDict()  # it was of the generator's run, which has ended
    # Told where it starts, `build` refuses what does not go on from a checkpoint, such as a schedule.
    lay_over(changed, {'train': plain(config.get('train', {})) | {'init_from': str(generator)}})
    run = build(changed, data_dir, mesh)
    task, once = run.setup.task, run.source('train', shuffle=True)
    if not isinstance(task, SessionTask) or not isinstance(once, SessionSource):
        raise ValueError(f'{generator} holds {changed.task!r}, which writes no sessions from a session log')
    if not changed.model.get('ranks', True):
        raise ValueError(
            f'{generator} was trained with model.ranks = False: a judge rewards items, and its IDs name '
            'groups; train it with ranks'
        )
    return run, task, once


def _require_judged(requests: int, monitor: str) -> None:
    """Refuses a number of judged requests that is none, and a monitor that it leaves without values."""
    if requests < 0 or (not requests and monitor.startswith((f'{JUDGE}_', f'{TRUE}_'))):
        raise ValueError(
            f'align.judged = {requests} with train.monitor = {monitor!r}: give the validation requests whose '
            "sessions are judged, at least 1, or 0 and a monitor of sessions that users saw, such as 'ntp'"
        )


def align(pieces: Alignment, workdir: Path, data_dir: str | None = None) -> list[dict[str, float]]:
    """Runs all iterations, or what is left of them.

    Args:
      pieces: from `prepare`.
      workdir: takes `config.json` of the aligned generator, `metrics.jsonl`, `curves.png`, `checkpoints/`,
        and under `align/` the options and the pair logs.
      data_dir: where real data sets lie.

    Returns:
      Of each iteration what its pairs were like; empty without pairs.

    Raises:
      ValueError: the workdir holds another alignment, another process works in it, or a pair log that cannot
        be used.
    """
    with hold(workdir):
        claim(workdir, pieces.run.config)
        (workdir / 'align').mkdir(exist_ok=True)
        told = {'generator': str(pieces.generator), **_identity(pieces.bench), **pieces.options}
        claim(workdir / 'align', ConfigDict(told))
        found = _align(pieces, workdir, data_dir)
        draw_curves(workdir, pieces.run.train['monitor'])
    return found


def _align(pieces: Alignment, workdir: Path, data_dir: str | None) -> list[dict[str, float]]:
    run, per, iterations = pieces.run, pieces.per, pieces.options['iterations']
    found = []
    watch = LogWatch(run.log)
    with open_checkpoints(run, workdir) as checkpoints:
        state, progress, position = _begin(pieces, workdir, checkpoints, watch, data_dir)
        step_fn, scores = make_train_step(run.setup), _evaluation(pieces)
        writer = MetricWriter(workdir, int(state.step), run.train['tensorboard'], run.train['log_metrics'])
        try:
            for iteration in range(iterations):
                first, stop = iteration * per, (iteration + 1) * per
                taken = int(state.step) - progress.start
                source: Any = pieces.base
                if pieces.task.preference.learns:
                    mined = _mine(pieces, workdir, state, progress.start + first, taken == first)
                    log.info('iteration %d of %d: %s', iteration + 1, iterations, mined.describe())
                    found.append(_figures(mined))
                    share = pieces.options['ratio'] * pieces.base.batch_size
                    source = PairSource(pieces.base, mined, share, first, stop)
                if taken >= stop:
                    continue
                loader = make_loader(source)
                if position is not None:
                    loader.set_state(position)
                try:
                    state, progress, stopped = train(
                        run.setup, step_fn, state, progress, loader, scores, checkpoints, writer,
                        _loop(pieces, progress.start + stop), watch=watch,
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
    """State, progress and the loader's position: where a stopped alignment was, or M_0."""
    run = pieces.run
    example = run.example(pieces.base)
    if not checkpoints.steps:
        state = _same_codes(pieces, start_from(run, pieces.generator, example, data_dir))
        return state, Progress(start=int(state.step)), None
    loader = make_loader(pieces.base)  # its state is a position, whatever stands beside the sessions
    restored = checkpoints.restore(
        abstract_state(run.setup, example), table_rows=table_rows(run), data=loader
    )
    watch.require_same(restored.trained_on)
    position = loader.get_state()
    loader.close()
    log.info('restored step %d of %s', int(restored.state.step), workdir)
    return _same_codes(pieces, restored.state), Progress(**restored.progress), position


def _same_codes(pieces: Alignment, state: TrainState) -> TrainState:
    """The state, whose codes are those that beams are searched among."""
    if not np.array_equal(state.model_state[CODES], pieces.miner.task.codes):
        raise ValueError(
            f'{pieces.generator} was trained with other semantic IDs than its config names now: put back the '
            'file that it was trained with, or train it anew'
        )
    return state


def _loop(pieces: Alignment, stop: int) -> LoopOptions:
    t = pieces.run.train
    return LoopOptions(
        steps=stop,
        log_every=t['log_every'],
        eval_every=-(-pieces.per // pieces.options['evals']),
        checkpoint_every=t['checkpoint_every'],
        monitor=t['monitor'],
        maximize=t['maximize'],
        skip_not_finite=t['skip_not_finite'],
    )


def _mine(pieces: Alignment, workdir: Path, state: TrainState, step: int, frozen: bool) -> Mined:
    """The pair log of the iteration that begins at a step, mined by the state if that is the frozen one."""
    o, base = pieces.options, pieces.base
    wanted = min(base.examples, int(np.ceil(o['ratio'] * pieces.per * base.batch_size)))
    drawn = draw(base.examples, wanted, pieces.run.config.seed, step)
    key = {'step': step, **_identity(pieces.bench), 'weights': list(pieces.bench.weights.values())}
    key |= {name: o[name] for name in ('beams', 'losers')}
    folder = workdir / 'align' / f'pairs-{step}'
    params, model_state = (state.params, state.model_state) if frozen else (None, None)
    if not frozen and (missing := _missing(folder, wanted, o['chunk'])):
        raise ValueError(
            f'{missing} is missing and the model that it was mined from is gone: use another --workdir'
        )
    with tqdm.tqdm(
        total=wanted, desc='mining', unit='request', disable=not sys.stderr.isatty(), dynamic_ncols=True
    ) as bar:
        return pieces.miner.mine(params, model_state, folder, key, drawn, bar.update)


def _identity(bench: Bench) -> dict[str, Any]:
    """What tells one judge from another: steps alone are shared by all that were trained alike."""
    calibration = bench.judge.task.calibration
    return {'judge': bench.step, 'calibration': [list(pair) for pair in calibration]}


def _missing(folder: Path, wanted: int, chunk: int) -> Path | None:
    """The first chunk of a pair log that is not there."""
    names = [folder / f'chunk-{number:05d}.npz' for number in range(-(-wanted // chunk))]
    return next((name for name in names if not name.exists()), None)


def _figures(mined: Mined) -> dict[str, float]:
    some = mined.valid.any(1)
    return {
        'requests': float(len(mined)),
        'pairs': float(some.sum()),
        'repeated': float(mined.repeated.sum()),
        'mean': float(mined.mean.mean()),
        'winner': float(mined.rewards[some, 0].mean()) if some.any() else 0.0,
        'loser': float(mined.rewards[some, 1].mean()) if some.any() else 0.0,
    }


def _evaluation(pieces: Alignment) -> Callable[[TrainState], dict[str, float]]:
    """Next-token loss on validation, and what sessions written for some requests of its users are worth."""
    run, validation = pieces.run, pieces.run.source('validation')
    asked = all_requests(run, 'validation')

    def scores(state: TrainState) -> dict[str, float]:
        found = dict(evaluate(run.setup, pieces.predict, state, batches(validation)).compute())
        if pieces.options['judged']:
            write = pieces.miner.writer(state.params, state.model_state)
            found |= judge_written(
                write, asked, pieces.bench, pieces.options['judged'], pieces.options['chunk']
            )
        return found

    return scores
