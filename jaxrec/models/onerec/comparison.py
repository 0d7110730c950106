"""A run of OneRec's table: one model, data set and seed, in place of `comparison.cells.run_cell`.

What the models of a seed share is made once, by whichever run comes first: semantic IDs, the reward model, and the
generator from which every alignment starts. It is stored by a digest of its config.
"""

import dataclasses
import functools
import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxrec.configurable import configurable
from jaxrec.data.sources.from_config import alone
from jaxrec.data.sources.session_source import SessionSource
from jaxrec.models.onerec.alignment.iterations import align
from jaxrec.models.onerec.alignment.setup import MINING, Alignment, prepare
from jaxrec.models.onerec.recommend import Recommended, Recommender, make_recommender
from jaxrec.models.onerec.reward.generated import CUT, judge_written, rank_named
from jaxrec.models.onerec.reward.open_scorer import Bench, open_judge
from jaxrec.models.onerec.reward.train import fit_reward
from jaxrec.models.onerec.task import SessionTask
from jaxrec.options import lay_over, plain, read_options
from jaxrec.runs.build import TOP, Experiment, batches, build
from jaxrec.runs.comparison.cells import Cell, describe_cell, read_finished, trained, validated
from jaxrec.runs.comparison.tables import write_json
from jaxrec.runs.fit import fit
from jaxrec.runs.restore import restore_model
from jaxrec.runs.sources import cut_source, log_of, read_data
from jaxrec.runs.workdir import open_checkpoints, read_config
from jaxrec.training.evaluate import evaluate
from jaxrec.training.state import TrainState
from jaxrec.training.step import make_predict_step

log = logging.getLogger(__name__)
SHARED, DONE = 'shared', 'done'
# By which trials of alignments are chosen, on validation. Rows before alignment are chosen by what they
# learn, their own `train.monitor`, so that nobody seeks out what the judge errs in.
MONITOR = 'judge_reward_first'
JUDGED = (MONITOR, 'judge_reward_mean', 'true_reward_first', 'true_reward_mean', f'recall@{CUT}', 'ntp')
BEFORE = ('ntp', f'recall@{CUT}')  # told of an aligned row's generator too
JUDGED_OPTIONS: dict[str, Any] = {
    'sessions': 8,  # S, of a request
    'items': 5,  # m, different ones, of a session
    'beams': 32,  # of models that write semantic IDs; of single items raised to `ROOM` S m
    'requests': 1000,  # of the test part
    'tuned_on': 256,  # requests of the validation part
    'chunk': 32,  # requests at a time
    'data': {},  # for which requests sessions are judged: laid over the data section
    'named': {},  # of which requests the first item that was liked is to be named, likewise
}
ROOM = 4  # beams of a model of single items beside those items that it has to name: the last ones lose few


@configurable('run')
def run_cell(
    cell: Cell, data_dir: str | None, slices: Sequence[str] = (), judges: Sequence[str] = ()
) -> dict[str, Any]:
    """Trains a model, lets it generate sessions and evaluates them, or reads its result if it was finished.

    Args:
      cell: the run. Its config has also `judge`, what the reward model's run lays over the data set's; `judged`, any of
        `JUDGED_OPTIONS`; and for an alignment of the generator that its other sections describe, `align` and
        `align_train`, see `alignment.prepare`.
      data_dir: the data root.
      slices, judges: there are none.

    Returns:
      {'seconds', 'parameters'}; without alignment 'trained' and 'validation', the best of their monitor, negated if
      less is better; of trials 'judged', {metric: value} of `JUDGED` on validation, of which an alignment's
      'validation' is `MONITOR`; of others 'test', {metric: value}: of `judge_written` and `rank_named`; of models of
      sessions 'ntp'; and of alignments what `BEFORE` was before, and the gains 'judge_gain' and 'true_gain'.

    Raises:
      ValueError: slices or judges, and what the stages refuse.
    """
    if slices or judges:
        raise ValueError('a table of sessions has neither slices nor judges: leave them out of its config')
    config = cell.config()
    described = describe_cell(config, cell.test)
    if (finished := read_finished(cell.folder, described)) is not None:
        return finished
    begin = time.perf_counter()
    row = _Row(cell, config, data_dir)
    run, state, result = row.learn()
    result |= {'config': described, 'parameters': sum(x.size for x in jax.tree.leaves(state.params))}
    if cell.test:
        found = result['test'] = row.test(run, state)
    else:
        found = row.judge(run, state, 'validation', row.options['tuned_on'])
        result['judged'] = {name: found[name] for name in JUDGED if name in found}
        result.setdefault('validation', found[MONITOR])
    result['seconds'] = round(time.perf_counter() - begin, 1)
    write_json(cell.folder / 'result.json', result)
    log.info('%s: %s %.4f in %.0f s', cell.folder, MONITOR, found[MONITOR], result['seconds'])
    return result


class _Row:
    """The stages of a run."""

    def __init__(self, cell: Cell, config: ConfigDict, data_dir: str | None) -> None:
        self.cell, self.config, self.data_dir = cell, config, data_dir
        self.options = read_options(config.judged, 'judged', **JUDGED_OPTIONS)
        self.shared = cell.folder.parents[2] / SHARED
        make = lambda where, of: fit_reward(of, where, data_dir)
        self.judge_folder = made_once(self.shared, 'judge', judge_config(cell), make)
        self.bench = _open_bench(self.judge_folder, data_dir)
        self.aligns = bool(config.get('align', None))
        self.run_config = own_run(config)
        self._made: tuple[TrainState, tuple[Recommender, Recommender]] | None = None
        self._scorer: tuple[Experiment, Any] | None = None

    def learn(self) -> tuple[Experiment, TrainState, dict[str, Any]]:
        """Returns the run, its state, and a report of its training."""
        if self.aligns:
            pieces = self._pieces()
            align(pieces, self.cell.folder, self.data_dir)
            with open_checkpoints(pieces.run, self.cell.folder, read_only=True) as checkpoints:
                last = checkpoints.steps[-1]
            state, _ = restore_model(pieces.run, self.cell.folder, last, pieces.run.source('test'))
            # a run of the generator itself
            run = dataclasses.replace(pieces.run, setup=pieces.run.setup._replace(task=pieces.task.base))
            self._scorer = run, pieces.predict
            return run, state, {}
        run = build(self.run_config, self.data_dir)
        folder = self.cell.folder
        if self._writes_sessions(run):
            folder = self._generator()
        else:
            fit(run, folder, self.data_dir)
        state, _ = restore_model(run, folder)
        monitor = run.train['monitor'], run.train['maximize']
        told = {'trained': trained(folder, *monitor), 'validation': max(validated(folder, *monitor))}
        return run, state, told

    def test(self, run: Experiment, state: TrainState) -> dict[str, float]:
        """Returns the metrics of the test part."""
        if not self._writes_sessions(run):
            return self.judge(run, state, 'test', self.options['requests'])
        before = self._test_generator()
        if not self.aligns:
            return before
        found = self.judge(run, state, 'test', self.options['requests'])
        found |= {f'{name}_before': before[name] for name in BEFORE}
        for who in ('judge', 'true'):
            if (name := f'{who}_reward_mean') in found:
                found[f'{who}_gain'] = found[name] - before[name]
        return found

    def judge(self, run: Experiment, state: TrainState, part: str, requests: int) -> dict[str, float]:
        """Evaluates generated sessions and named items for requests of a part of the log."""
        chunk, (write, name) = self.options['chunk'], self._recommenders(run, state)
        found = judge_written(write, self._requests(run, part, 'data'), self.bench, requests, chunk)
        found |= rank_named(name, self._requests(run, part, 'named'), requests, chunk)
        if self._writes_sessions(run):
            filled = evaluate(run.setup, self._predict(run), state, batches(run.source(part))).compute()
            found['ntp'] = float(filled['ntp'])
        return found

    def _recommenders(self, run: Experiment, state: TrainState) -> tuple[Recommender, Recommender]:
        """What generates sessions, and what names single items; their programs serve all parts of the log."""
        if self._made is None or self._made[0] is not state:
            o = self.options
            beams, sizes = o['beams'], {'sessions': o['sessions'], 'items': o['items']}
            if self._writes_sessions(run):
                write = make_recommender(run, state, **sizes, beams=beams)
                name = make_recommender(run, state, sessions=min(CUT, beams), items=1, beams=beams)
            else:
                beams = max(beams, ROOM * o['sessions'] * o['items'])
                write = make_recommender(run, state, **sizes, beams=beams)
                name = lambda batch: one_by_one(write(batch))
            self._made = state, (write, name)
        return self._made[1]

    def _predict(self, run: Experiment) -> Any:
        if self._scorer is None or self._scorer[0] is not run:
            self._scorer = run, make_predict_step(run.setup)
        return self._scorer[1]

    def _requests(self, run: Experiment, part: str, which: str) -> SessionSource:
        """The requests for which sessions are generated, or items named, the same for every model."""
        config = ConfigDict(plain(self.cell.base))
        lay_over(config, {'data': plain(self.options[which]), 'features': plain(run.config.features)})
        config.seed = self.cell.seed
        source = cut_source(config, run.log, read_data(config, run.log), run.train, part)
        assert isinstance(source, SessionSource)
        return source

    def _writes_sessions(self, run: Experiment) -> bool:
        task = run.setup.task
        return isinstance(task, SessionTask) and task.network.session > 1

    def _generator(self) -> Path:
        """The folder of the generator before alignment."""
        make = lambda folder, config: fit(build(config, self.data_dir), folder, self.data_dir)
        return made_once(self.shared, 'generator', self.run_config, make)

    def _test_generator(self) -> dict[str, float]:
        """As `judge` on the test part, of the generator before alignment; once for all its alignments."""

        def find(folder: Path, config: ConfigDict) -> None:
            run = build(self.run_config, self.data_dir)
            state, _ = restore_model(run, self._generator())
            write_json(folder / 'test.json', self.judge(run, state, 'test', self.options['requests']))

        described = {'run': self.run_config, 'judge': self.judge_folder.name, 'judged': self.config.judged}
        folder = made_once(self.shared, 'tested', ConfigDict(described), find)
        found: dict[str, float] = json.loads((folder / 'test.json').read_text())
        return found

    def _pieces(self) -> Alignment:
        of_all = ConfigDict({'align': self.config.align, 'train': self.config.get('align_train', {})})
        sizes = tuple((name, self.config.align[name]) for name in MINING if name in self.config.align)
        opened = _open_pieces(self._generator(), self.judge_folder, self.data_dir, sizes)
        return prepare(of_all, self._generator(), self.judge_folder, self.data_dir, shared=opened)


def own_run(config: ConfigDict) -> ConfigDict:
    """A run's config: a cell's without the sections that are not of a run."""
    return ConfigDict({name: plain(config[name]) for name in config if name in TOP})


def judge_config(cell: Cell) -> ConfigDict:
    """The config of a cell's reward model: the data set's, and `judge` laid over it."""
    config = ConfigDict(plain(cell.base))
    lay_over(config, plain(config.judge) | {'seed': cell.seed})
    if 'seed' in config.data.arguments:
        config.data.arguments.seed = cell.seed
    return own_run(config)


def one_by_one(pages: Recommended) -> Recommended:
    """The ranking that sessions are pages of, as sessions of one item [B, S m, 1]."""
    items = pages.items.reshape(len(pages.items), -1, 1)
    return pages._replace(items=items, scores=np.repeat(pages.scores, pages.items.shape[2], 1))


def made_once(root: Path, name: str, config: ConfigDict, make: Callable[[Path, ConfigDict], Any]) -> Path:
    """Makes what runs share, or finds it; other processes that need the same wait until it is there.

    `make` (folder, config) resumes where it was stopped. The folder is `<root>/<name>-<digest of the config>`.
    """
    text = json.dumps(plain(config), sort_keys=True)
    folder = root / f'{name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}'
    with alone(folder):
        if not (folder / DONE).exists():
            folder.mkdir(parents=True, exist_ok=True)
            make(folder, config)
            (folder / DONE).touch()
    return folder


@functools.lru_cache(maxsize=4)
def _open_bench(folder: Path, data_dir: str | None) -> Bench:
    return open_judge(folder, log_of(read_config(str(folder / 'config.json')), data_dir), data_dir)


@functools.lru_cache(maxsize=4)
def _open_pieces(generator: Path, judge: Path, data_dir: str | None, sizes: tuple[tuple[str, Any], ...]) -> Alignment:
    """Pieces of one seed whose compiled programs all its alignments share."""
    config = ConfigDict({'align': dict(sizes)})
    return prepare(config, generator, judge, data_dir, shared=_open_bench(judge, data_dir))
