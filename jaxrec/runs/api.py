"""The public functions of jaxrec: from files to a log, from a log to a run, from runs to a table."""

import dataclasses
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxrec.configurable import allow_code as permit
from jaxrec.data.ingest import ingest as compile_files
from jaxrec.data.ingest import make_mapping
from jaxrec.data.ingest.mapping import describe_columns
from jaxrec.data.ingest.report import report, report_sessions
from jaxrec.data.ingest.sessions import ingest_sessions
from jaxrec.data.ingest.times import with_unit
from jaxrec.data.logs.log import Log
from jaxrec.data.sources.from_config import stored
from jaxrec.options import plain
from jaxrec.runs.build import SECTIONS, build
from jaxrec.runs.comparison.cells import METRICS as CLICK_METRICS
from jaxrec.runs.comparison.fill import fill
from jaxrec.runs.config import override
from jaxrec.runs.defaults import stored_log
from jaxrec.runs.fit import fit as train
from jaxrec.runs.models import SIMULATED, model_config
from jaxrec.runs.run import Run
from jaxrec.runs.workdir import hold

RANKING_METRICS = ('recall@5', 'recall@10', 'ndcg@5', 'ndcg@10')


def ingest(
    input: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    time_unit: str | None = None,
    label: str | None = None,
    positive: Sequence[str] | None = None,
    context: Sequence[str] = (),
    item_attribute: Sequence[str] = (),
    user_attribute: Sequence[str] = (),
    mapping: Mapping[str, Any] | None = None,
    extend: str | Path | None = None,
    sessions: bool = False,
    seed: int = 0,
    strict: bool = False,
) -> Log:
    """Compiles CSV or Parquet files to a log, or opens the log that an earlier call has made of them.

    Args:
      input: files and patterns.
      output: folder of the log.
      user, item, time, label: columns of the files; without a user the log is a click log.
      time_unit: 's', 'ms', 'us' or 'iso'; None guesses from the first rows.
      positive: values of the label that mean 1; None takes it as a number.
      context: features of an event, 'column' or 'column:kind' with the kinds categorical, numeric and multi.
      item_attribute, user_attribute: the same of items and users.
      mapping: in place of these arguments, as `jaxrec.data.ingest.mapping` describes it.
      extend: an earlier log that this one continues.
      sessions: make a session log, of a mapping with `session`.
      seed: of the hash that assigns ids.
      strict: refuse the first row that cannot be used.

    Returns:
      The log; what was read and skipped is printed.

    Raises:
      ValueError: a file, a column or a mapping that cannot be read.
    """
    paths = [str(input)] if isinstance(input, str | Path) else [str(path) for path in input]
    if mapping is None:
        named = {'user': user, 'item': item, 'time': time, 'time_unit': time_unit, 'label': label, 'positive': positive}
        features = {'context': context, 'item_attribute': item_attribute, 'user_attribute': user_attribute}
        mapping = with_unit(describe_columns(named, features), paths)
    checked = make_mapping(mapping)
    log: Log
    if sessions:
        log = ingest_sessions(paths, checked, output, seed=seed, strict=strict)
        print(report_sessions(log))
        return log
    log = compile_files(
        paths, checked, output, extend=None if extend is None else str(extend), seed=seed, strict=strict
    )
    print(report(log))
    return log


def open_log(path: str | Path) -> Log:
    """Opens a compiled log.

    Raises:
      ValueError: no log is there.
    """
    return stored('', str(path))


def run_config(
    log: Log | str | Path, model: str | ConfigDict | Mapping[str, Any], changes: Mapping[str, Any]
) -> ConfigDict:
    """The config of a run, from a log (or its folder, or 'simulated') and a model.

    Args:
      log: a log, its folder, or 'simulated'.
      model: a name that `jaxrec models` lists, or a config, whose log is then replaced by `log`.
      changes: {dotted key: value}.

    Raises:
      ValueError: an unknown model, a log that cannot feed it, or a change that does not fit.
    """
    path = str(log.folder) if isinstance(log, Log) else str(log)
    if isinstance(model, str):
        config = model_config(model, path)
    else:
        config = ConfigDict(plain(model))
        if path != SIMULATED:
            open_log(path)
            config.data = ConfigDict({**plain(config.get('data', {})), **stored_log(path)})
    override(config, changes, SECTIONS)
    return config


def fit(
    log: Log | str | Path,
    model: str | ConfigDict | Mapping[str, Any],
    workdir: str | Path,
    *,
    data_dir: str | None = None,
    mesh: tuple[int, int] | None = None,
    allow_code: Sequence[str] = (),
    **changes: Any,
) -> Run:
    """Trains a model on a log; called again on the same workdir, it resumes.

    Args:
      log: a log, its folder, or 'simulated' for the data of the model's own paper.
      model: a name that `jaxrec.models()` lists, or a config.
      workdir: takes `config.json`, `metrics.jsonl`, `curves.png` and `checkpoints/`.
      data_dir: where real data sets are; None takes the environment variable JAXREC_DATA.
      mesh: (data, model) of devices; None takes the config's, or all devices.
      allow_code: modules outside jaxrec that the config may name.
      **changes: to the config by dotted key, such as **{'train.epochs': 2}.

    Returns:
      The run.

    Raises:
      ValueError: an unknown model, a log that cannot feed it, a change that does not fit, or a workdir that holds
        a run of another config, whose differing keys are named.
    """
    config = run_config(log, model, changes)
    with permit(allow_code):
        run = build(config, data_dir, mesh)
        print(describe(config, run.train))
        train(run, Path(workdir), data_dir)
    return Run(workdir, data_dir, mesh, allow_code)


def describe(config: ConfigDict, train: Mapping[str, Any]) -> str:
    """What is trained with which settings, in two lines."""
    told = ('batch_size', 'epochs', 'learning_rate', 'evals_per_epoch', 'patience', 'monitor')
    model = {
        key: value for key, value in plain(config.get('model', {})).items() if isinstance(value, int | float | str)
    }
    return (
        f'training {config.task} on {config.data.get("arguments", {}).get("path", "") or config.data.log}\n'
        f'  train: {", ".join(f"{key}={train[key]}" for key in told)}\n'
        f'  model: {", ".join(f"{key}={value}" for key, value in model.items())}'
    )


def load(
    workdir: str | Path,
    *,
    data_dir: str | None = None,
    mesh: tuple[int, int] | None = None,
    allow_code: Sequence[str] = (),
) -> Run:
    """Opens a trained run, in any process and on any number of devices; the arguments are those of `fit`.

    Raises:
      ValueError: the folder holds no trained run.
    """
    run = Run(workdir, data_dir, mesh, allow_code)
    if not (Path(workdir) / 'checkpoints').is_dir():
        raise ValueError(f'{workdir} holds no checkpoints: train the run first, by `jaxrec train` or jaxrec.fit')
    return run


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A filled table.

    Attributes:
      workdir: holds `table.md`, `table.json`, `table.png` and the runs.
      summary: {model: {metric: {'mean', 'sd', 'n'}}}.
      markdown: the table as text.
    """

    workdir: Path
    summary: dict[str, dict[str, dict[str, float]]]
    markdown: str

    def __repr__(self) -> str:
        return self.markdown

    def _repr_html_(self) -> str:
        return f'<pre>{html.escape(self.markdown)}</pre>'


def compare(
    log: Log | str | Path,
    models: Sequence[str],
    workdir: str | Path,
    *,
    seeds: int = 5,
    workers: int = 1,
    data_dir: str | None = None,
    **changes: Any,
) -> Comparison:
    """Trains models with several seeds on one log, tests each once, and writes their table.

    Args:
      log: a log, its folder, or 'simulated'.
      models: names that `jaxrec.models()` lists; the first is the reference of the differences.
      workdir: takes the table and the runs; finished runs are not run again.
      seeds: how many runs of each model.
      workers: processes that train at the same time; above 1 a script needs `if __name__ == '__main__':`.
      data_dir: where real data sets are; None takes the environment variable JAXREC_DATA.
      **changes: to every config by dotted key.

    Returns:
      The table.

    Raises:
      ValueError: no models or seeds, an unknown model, or a log that cannot feed one.
    """
    if not models or seeds < 1:
        raise ValueError('compare: give at least one model and one seed')
    table = table_config({name: run_config(log, name, changes) for name in models}, seeds)
    place = Path(workdir)
    with hold(place):
        text = fill(table, list(models), range(seeds), place, workers, data_dir)
    return Comparison(place, json.loads((place / 'table.json').read_text()), text)


def table_config(configs: Mapping[str, ConfigDict], seeds: int) -> ConfigDict:
    """The config of a table of models on one log, without tuning; the first of {model: its config} is the reference."""
    found = {name: plain(config.to_dict()) for name, config in configs.items()}
    first, *others = found.values()
    shared = {
        section: {
            key: value for key, value in first[section].items() if all(c[section].get(key) == value for c in others)
        }
        for section in ('features', 'data', 'train')
    }
    rows = {name: {k: v for k, v in config.items() if k != 'seed'} for name, config in found.items()}
    reference = next(iter(found))
    monitor = first['train'].get('monitor', 'auc')
    metrics = CLICK_METRICS if monitor in CLICK_METRICS else RANKING_METRICS
    return ConfigDict(
        {
            'title': 'Models on ' + str(first['data'].get('arguments', {}).get('path', '') or first['data']['log']),
            'columns': {'log': shared},
            'main': 'log',
            'order': tuple(found),
            'rows': rows,
            'reference': reference,
            'paired': (metrics[0],),
            'seeds': seeds,
            'trials': 0,
            'search': {},
            'shown': (*metrics, *((f'{metrics[0]}_minus_{reference}',) if others else ()), 'seconds'),
            'published': {},
            'note': '',
        }
    )
