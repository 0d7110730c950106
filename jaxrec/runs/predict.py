"""Scores new rows with a trained model."""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tqdm

from jaxrec.data.features.histories import SIDES as HISTORY_SIDES
from jaxrec.data.ingest import load_mapping, make_mapping
from jaxrec.data.ingest.extend import check_grown
from jaxrec.data.ingest.fields import LogMapping
from jaxrec.data.ingest.rows import NewRows, RowReader
from jaxrec.data.logs.log import Log
from jaxrec.data.logs.vocabulary import OUT_OF_VOCABULARY
from jaxrec.data.sessions.log import SessionLog
from jaxrec.data.sources.from_config import stored
from jaxrec.data.sources.requests import RequestBuilder
from jaxrec.embeddings import check_ids
from jaxrec.options import plain
from jaxrec.parallel import put_batch
from jaxrec.runs.build import Experiment
from jaxrec.runs.restore import restore_model
from jaxrec.training.state import TrainState
from jaxrec.training.step import make_predict_step


def history_log(run: Experiment, path: str | None) -> Log:
    """The log that histories are looked up in: that of a path, whose ids must be the run's, or the run's own."""
    if path is None:
        return run.log
    log = stored('', path)
    check_grown(run.log, log, run.config.features)
    return log


def row_mapping(log: Log, path: str | None) -> LogMapping:
    """The mapping of the input: of a file, of the log's ingest, or by the log's own names."""
    if path is not None:
        return make_mapping(load_mapping(path))
    made = log.manifest.get('ingest')
    if made is None:
        raise ValueError(
            f'{log.folder} was not made by ingest, so it does not say which column is what: give --mapping'
        )
    return make_mapping(made['mapping'])


def request_builder(run: Experiment, log: Log) -> RequestBuilder:
    """What turns rows into the batches that the run's model reads."""
    if isinstance(log, SessionLog) or run.data['source'] == 'next_item':
        raise ValueError(
            f'the model of {run.config.task} gives rows no probability, it names items: use `jaxrec recommend`'
        )
    vocabularies = run.source('train', shuffle=True).vocabularies if run.data['cartesian'] else ()
    return RequestBuilder(
        log,
        plain(run.config.features),
        plain(run.data['label']),
        run.data.get('history_length', 0),
        vocabularies,
        plain(run.data.get('lifelong')),
        plain(run.data.get('time_gap')),
    )


def score_rows(
    run: Experiment, state: TrainState, builder: RequestBuilder, blocks: Iterator[NewRows], unknown: dict[str, int]
) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    """Scores blocks of rows in batches of one shape; adds {column: values that the model does not know} to `unknown`.

    Yields:
      The kept columns of up to `train.eval_batch_size` rows, and their probabilities float32.

    Raises:
      ValueError: an id that no table row answers to.
    """
    predict, size = make_predict_step(run.setup), run.train['eval_batch_size']
    for block in blocks:
        for first in range(0, len(block), size):
            rows = block.slice(first, min(first + size, len(block)))
            batch = builder.build(rows.columns, rows.times)
            for column, count in limit_ids(run, batch).items():
                unknown[column] = unknown.get(column, 0) + count
            batch = {name: _pad(array, size) for name, array in batch.items()}
            check_ids(run.setup.task.tables, run.setup.task.given_ids(batch))
            scores = predict(state, put_batch(batch, run.setup.mesh))['probability']
            yield rows.kept, np.asarray(scores)[: len(rows), 0]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What came of scoring files: rows, step, {reason: {'rows', 'first': ['file:line', ...]}}, {column: values}."""

    rows: int
    step: int
    rejected: dict[str, dict[str, Any]]
    unknown: dict[str, int]


def predict_files(
    run: Experiment,
    workdir: Path,
    inputs: Sequence[str],
    write: Callable[[pa.RecordBatch], None],
    log: str | None = None,
    mapping: str | None = None,
    keep: Sequence[str] | None = None,
    step: int | None = None,
    strict: bool = False,
) -> Prediction:
    """Scores the rows of CSV or Parquet files, in their order.

    Args:
      inputs: files and patterns.
      write: takes the kept columns and `probability` of some rows.
      log: of the histories; None takes the run's.
      mapping: a JSON file that says which column is what; None takes that of the log's ingest.
      keep: columns to copy; None keeps user, item and time.
      step: which checkpoint; None takes the best.
      strict: refuse the first row that cannot be scored.

    Raises:
      ValueError: a file, a column or a row that cannot be read, or a model that scores no rows.
    """
    histories = history_log(run, log)
    builder = request_builder(run, histories)
    reader = RowReader(inputs, row_mapping(histories, mapping), histories, builder.row_columns, keep)
    state, step = restore_model(run, workdir, step)
    with tqdm.tqdm(
        total=reader.size, unit='B', unit_scale=True, disable=not sys.stderr.isatty(), dynamic_ncols=True
    ) as bar:
        blocks = reader.blocks(strict, bar.update)
        for kept, scores in score_rows(run, state, builder, blocks, reader.unknown):
            write(kept.append_column('probability', pa.array(scores)))
    return Prediction(reader.rows, step, reader.rejected, reader.unknown)


def limit_ids(run: Experiment, batch: dict[str, np.ndarray]) -> dict[str, int]:
    """Makes values of a batch that the log got after training out-of-vocabulary, and counts them without histories."""
    newer = {}
    for key, values in batch.items():
        side, _, name = key.partition('/')
        column = run.log.schema.get(name)
        if column is None or column.vocabulary is None:
            continue
        late = values >= column.rows
        if late.any():
            batch[key] = np.where(late, np.int32(OUT_OF_VOCABULARY), values)
            if side not in HISTORY_SIDES:
                newer[name] = int(late.sum())
    return newer


def _pad(array: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])
