"""The parts of an alignment (arXiv 2502.18965, Algorithm 2): generator, pairs, reward model, and length.

B batch, P pairs a step, K beams.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxrec.data.sources.session_source import SessionSource
from jaxrec.models.onerec.alignment.mining import Miner
from jaxrec.models.onerec.alignment.task import IPA, ITERATIONS, AlignTask, Preference, pairs_a_step, steps_an_iteration
from jaxrec.models.onerec.reward.open_scorer import Bench, open_judge, require_other_users, require_same_length
from jaxrec.models.onerec.reward.values import JUDGE, TRUE
from jaxrec.models.onerec.task import SessionTask
from jaxrec.ops.generation.preference import TIE
from jaxrec.options import lay_over, plain, read_options
from jaxrec.runs.build import Experiment, build
from jaxrec.runs.sources import cut_source
from jaxrec.runs.workdir import read_config
from jaxrec.training.state import TrainState
from jaxrec.training.step import make_predict_step

PREFERENCE = {field.name: field.default for field in dataclasses.fields(Preference)}
ALIGN_OPTIONS: dict[str, Any] = {
    **PREFERENCE,
    'iterations': 0,  # T; 0: `ITERATIONS` of 'ipa', 1 of any other, which then has a reference that stays
    'passes': 3.0,  # over the training part, of all iterations together
    'ratio': 0.01,  # r_DPO
    'beams': 128,  # N
    'losers': 1,
    'distinct': True,  # no item stands twice in a session that is mined
    'tie': TIE,  # rewards no further apart make no pair
    'chunk': 32,  # requests that are mined at a time
    'judged': 256,  # validation requests whose generated sessions are judged at every evaluation
    'evals': 1,  # an iteration
}
MINING = ('beams', 'losers', 'chunk', 'distinct', 'tie')  # the options that decide the programs of mining


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment:
    """The parts of an alignment."""

    run: Experiment  # the generator's; its task is an `AlignTask`
    generator: Path  # workdir of M_0
    base: SessionSource  # batches of sessions, enough of them
    miner: Miner  # beams and reward model
    bench: Bench  # what evaluates
    options: dict[str, Any]  # `ALIGN_OPTIONS`, defaults filled in
    per: int  # steps of an iteration
    predict: Callable[[TrainState, Any], dict[str, Any]]  # the generator's predict step, shared by all methods

    @property
    def task(self) -> AlignTask:
        """The run's task."""
        task = self.run.setup.task
        assert isinstance(task, AlignTask)
        return task

    @property
    def share(self) -> float:
        """r B, pairs of a step on average."""
        return float(self.options['ratio'] * self.base.batch_size)


def prepare(
    config: ConfigDict, generator: Path, judge: Path, data_dir: str | None = None, mesh: Any = None,
    shared: Alignment | Bench | None = None,
) -> Alignment:  # fmt: skip
    """Builds the parts of an alignment.

    Args:
      config: `align`, any of `ALIGN_OPTIONS`, and `train`, laid over the generator's section.
      generator: workdir of the model that is aligned.
      judge: workdir of the reward model.
      data_dir: the data root.
      mesh: (data, model), or None.
      shared: parts of another method on the same generator and reward model, whose compiled programs are reused where
        they fit; or the opened reward model alone.

    Returns:
      The parts; their run's config is the generator's with the changes of `train`.

    Raises:
      ValueError: an unknown section or option, a generator that generates no sessions or no single items, a reward
        model of another log or of the generator's own users, or a monitor that is never computed.
    """
    options, preference, iterations = read_alignment(config)
    run, generating, once = _open_generator(config, generator, data_dir, mesh)
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
    require_same_length(judge, bench.items, generator, generating.network.session)
    numbers = {name: options[name] for name in MINING}
    miner = Miner(generating, base, bench.judge, run.setup.mesh, **numbers)
    if isinstance(shared, Alignment) and all(getattr(shared.miner, name) == number for name, number in numbers.items()):
        miner = shared.miner  # whose source has the same examples, if not as many epochs
    run = dataclasses.replace(run, setup=run.setup._replace(task=task))
    predict = shared.predict if isinstance(shared, Alignment) else make_predict_step(run.setup)
    return Alignment(run, generator, base, miner, bench, options | {'iterations': iterations}, per, predict)


def read_alignment(config: ConfigDict, where: str = 'config') -> tuple[dict[str, Any], Preference, int]:
    """Reads and checks the options of an alignment, before there is a generator.

    Returns:
      `ALIGN_OPTIONS` with defaults filled in, the loss, and T.

    Raises:
      ValueError: an unknown section or option, or a number out of range; it calls the config `where`.
    """
    if unknown := sorted(set(config) - {'align', 'train'}):
        raise ValueError(f'{where}.{unknown[0]} is not a section; an alignment has align and train')
    if 'epochs' in config.get('train', {}):
        raise ValueError('train.epochs: how long an alignment is, align.passes says; leave it out')
    options = read_options(config.get('align', {}), 'align', **ALIGN_OPTIONS)
    preference = Preference(**{name: options[name] for name in PREFERENCE})
    iterations = options['iterations'] or (ITERATIONS if preference.method == IPA else 1)
    _check_numbers(options, preference, iterations)
    return options, preference, iterations


def _open_generator(
    config: ConfigDict, generator: Path, data_dir: str | None, mesh: Any
) -> tuple[Experiment, SessionTask, SessionSource]:
    """Returns the generator's run with the changes of `config.train`, its task, and the batches of one pass."""
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


def _check_numbers(options: Mapping[str, Any], preference: Preference, iterations: int) -> None:
    """Refuses an alignment without length or evaluations, and S-DPO that equals DPO."""
    if iterations < 0 or not options['passes'] > 0 or options['evals'] < 1:
        raise ValueError(
            f'align.iterations = {iterations}, passes = {options["passes"]}, evals = {options["evals"]}: '
            'give 0 or more iterations, passes above 0 and at least 1 evaluation an iteration'
        )
    if options['tie'] < 0:
        raise ValueError(f'align.tie = {options["tie"]}: give a distance of rewards, at least 0')
    if preference.method == 'sdpo' and options['losers'] < 2:
        raise ValueError(f"align.losers = {options['losers']}: with one loser 'sdpo' is 'dpo'; give 2 or more, or that")


def _require_judged(requests: int, monitor: str) -> None:
    """Refuses a negative number of evaluated requests, and a monitor without values."""
    if requests < 0 or (not requests and monitor.startswith((f'{JUDGE}_', f'{TRUE}_'))):
        raise ValueError(
            f'align.judged = {requests} with train.monitor = {monitor!r}: give the validation requests whose '
            "sessions are judged, at least 1, or 0 and a monitor of sessions that users saw, such as 'ntp'"
        )
