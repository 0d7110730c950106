"""The stages of OneRec's pipeline (arXiv 2502.18965): run, timed, resumed and evaluated."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxrec.data.sources.session_source import SessionSource
from jaxrec.files import replace_text
from jaxrec.models.onerec.alignment.iterations import align
from jaxrec.models.onerec.alignment.setup import Alignment, prepare, read_alignment
from jaxrec.models.onerec.alignment.task import METHODS
from jaxrec.models.onerec.reward.generated import all_requests, judge_written, rank_named
from jaxrec.models.onerec.reward.open_scorer import CALIBRATION, REPORT
from jaxrec.models.onerec.reward.train import fit_reward, to_text
from jaxrec.models.onerec.tokenizing.report import to_markdown
from jaxrec.models.onerec.tokenizing.tokens import REPORT as TOKENS_REPORT
from jaxrec.options import lay_over, plain, read_options
from jaxrec.runs.artifacts import make_files
from jaxrec.runs.build import batches, build
from jaxrec.runs.comparison.tables import write_json
from jaxrec.runs.fit import fit
from jaxrec.runs.restore import restore_model
from jaxrec.runs.sources import log_of, read_data
from jaxrec.runs.workdir import claim, hold, own_checkpoints
from jaxrec.training.evaluate import evaluate

TOP = ('generator', 'reward', 'align', 'pipeline')
PIPELINE_OPTIONS: dict[str, Any] = {
    'methods': ('ntp', 'ipa'),
    'of_method': {},  # {method: what it lays over `align`}
    'requests': 1000,  # of the test part, for which sessions are generated and evaluated
}
GENERATOR, REWARD, SECONDS = 'generator', 'reward', 'seconds.json'
COLUMNS = {
    'ntp': 'NTP loss', 'recall@10': 'recall@10', 'judge_reward_mean': 'judge mean', 'judge_reward_max': 'judge max',
    'true_reward_mean': 'true mean', 'true_reward_max': 'true max', 'true_reward_picked': "true of judge's pick",
    'rank_correlation': 'rank correlation',
}  # fmt: skip
log = logging.getLogger(__name__)


def run_pipeline(
    config: ConfigDict, workdir: Path, data_dir: str | None = None, mesh: Any = None
) -> dict[str, dict[str, float]]:
    """Runs all stages, or those that are left.

    Args:
      config: the sections of `TOP`: the generator's run, the reward model's run, `align` and `train` of the alignments,
        and `PIPELINE_OPTIONS`.
      workdir: takes a folder for each stage, `table.md`, `table.json` and `seconds.json`.
      data_dir: the data root.
      mesh: (data, model), or None.

    Returns:
      {model: {metric: value}}, of the generator and each method.

    Raises:
      ValueError: an unknown section or method, or what a stage refuses.
    """
    options = _read(config)
    configs = {method: _of_method(config.align, method, options['of_method']) for method in options['methods']}
    for changed in configs.values():  # before anything is trained and the workdir is taken
        read_alignment(changed, 'config.align')
    build(config.reward, data_dir, mesh)
    stage = _Stages(workdir)
    with hold(workdir):
        claim(workdir, config)
        generator, judge = workdir / GENERATOR, workdir / REWARD
        if told := stage('tokenize', _tokenize, config.generator, data_dir):
            print(to_markdown(told))
        stage(GENERATOR, lambda: fit(build(config.generator, data_dir, mesh), generator, data_dir))
        print(to_text(stage(REWARD, _reward, config.reward, judge, data_dir, mesh)))
        rows, pieces = {}, None
        for method, changed in configs.items():
            pieces = prepare(changed, generator, judge, data_dir, mesh, pieces)
            stage(method, align, pieces, workdir / method, data_dir)
            given = pieces, workdir / method, options['requests'], True
            rows[method] = stage(f'evaluate {method}', evaluate_generator, *given)
        if pieces is not None:
            judged = stage('evaluate', evaluate_generator, pieces, generator, options['requests'], False)
            rows = {GENERATOR: judged} | rows
        write_json(workdir / 'table.json', rows)
        replace_text(workdir / 'table.md', to_table(rows) + '\n\n' + stage.describe() + '\n')
    return rows


def _read(config: ConfigDict) -> dict[str, Any]:
    """Reads and checks the options of the pipeline."""
    if wrong := sorted(set(config) ^ set(TOP)):
        raise ValueError(f'config.{wrong[0]} is missing or no section; a pipeline has the sections {TOP}')
    options = read_options(config.pipeline, 'pipeline', **PIPELINE_OPTIONS)
    if not options['methods']:
        raise ValueError(f'pipeline.methods is empty: name at least one of {METHODS}')
    if unknown := sorted(set(options['methods']) - set(METHODS)):
        raise ValueError(f'pipeline.methods names {unknown[0]!r}; choose of {METHODS}')
    if unknown := sorted(set(options['of_method']) - set(METHODS)):
        raise ValueError(f'pipeline.of_method names {unknown[0]!r}; choose of {METHODS}')
    if options['requests'] < 1:
        raise ValueError(
            f'pipeline.requests = {options["requests"]}: give at least 1 request of the test part, for which '
            'sessions are generated and evaluated'
        )
    return options


def _of_method(config: ConfigDict, method: str, own: Mapping[str, Any]) -> ConfigDict:
    """The config of one alignment."""
    changed = config.copy_and_resolve_references().unlock()
    lay_over(changed, {'align': {**plain(own.get(method, {})), 'method': method}})
    return changed


class _Stages:
    """Runs stages and counts the seconds of each, those of stopped ones included."""

    def __init__(self, workdir: Path) -> None:
        self._path = workdir / SECONDS
        self.seconds: dict[str, float] = {}
        if self._path.exists():
            self.seconds = json.loads(self._path.read_text())

    def __call__(self, name: str, run: Callable[..., Any], *arguments: Any) -> Any:
        """Returns what the stage returns."""
        log.info('stage %s', name)
        began = time.perf_counter()
        try:
            return run(*arguments)
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
            write_json(self._path, self.seconds)

    def describe(self) -> str:
        """Returns one line."""
        told = ', '.join(f'{name} {seconds:.0f}' for name, seconds in self.seconds.items())
        return f'seconds: {told}; {sum(self.seconds.values()):.0f} in all'


def _tokenize(config: ConfigDict, data_dir: str | None) -> Mapping[str, Any]:
    """Makes the semantic IDs if they are absent, and returns their report, empty if they have none."""
    found = log_of(config, data_dir)
    model = plain(config.model)
    made = make_files(config, found, read_data(config, found), model)
    ids = Path(made.get('ids') or model['ids'])
    beside = ids.parent / TOKENS_REPORT
    report: Mapping[str, Any] = json.loads(beside.read_text()) if beside.exists() else {}
    return report


def _reward(config: ConfigDict, workdir: Path, data_dir: str | None, mesh: Any) -> Mapping[str, Any]:
    if not (workdir / CALIBRATION).exists():
        return fit_reward(config, workdir, data_dir, mesh)
    report: Mapping[str, Any] = json.loads((workdir / REPORT).read_text())
    return report


def evaluate_generator(pieces: Alignment, workdir: Path, requests: int, last: bool) -> dict[str, float]:
    """Evaluates a checkpoint of a generator, aligned or not, on the test part, with the parts of one of its alignments.

    Sessions are generated for `requests` of all that the test users made, and the next item is named for those whose
    session was of high quality. `last` takes the last checkpoint, not the best by the generator's monitor, from which
    alignments begin.

    Returns:
      The metrics of `SessionEvaluator` and `judge_written`, 'recall@10' of the next item, and 'step' of the checkpoint.
    """
    run, source = pieces.run, pieces.run.source('test')
    with own_checkpoints(workdir) as checkpoints:
        step = checkpoints.steps[-1] if last else checkpoints.best
    state, step = restore_model(run, workdir, step, source)
    found: dict[str, float] = dict(evaluate(run.setup, pieces.predict, state, batches(source)).compute())
    of_state, chunk = (state.params, state.model_state), pieces.options['chunk']
    assert isinstance(source, SessionSource)
    found |= rank_named(pieces.miner.namer(*of_state), source, requests, chunk)
    asked = all_requests(run, 'test')
    found |= judge_written(pieces.miner.writer(*of_state), asked, pieces.bench, requests, chunk)
    return found | {'step': float(step)}


def to_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Lays out the models as Markdown, with the metrics of `COLUMNS` that there are."""
    shown = [name for name in COLUMNS if any(name in row for row in rows.values())]
    lines = ['| row | ' + ' | '.join(COLUMNS[name] for name in shown) + ' |', '|---' * (1 + len(shown)) + '|']
    for title, row in rows.items():
        lines.append(f'| {title} | ' + ' | '.join(f'{row[name]:.4f}' if name in row else '' for name in shown) + ' |')
    return '\n'.join(lines)
