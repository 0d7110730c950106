"""Scores the rows of CSV or Parquet files with a trained model; histories are looked up in a log.

    python -m experiments.predict --workdir=runs/mine --input=new.csv --output=scores.csv

The best checkpoint is read unless --step names another. A row's history is its user's positive events in the
log of the run (or --log) strictly before the row's time; without a time, all of them. Values that the log
does not know are scored as out-of-vocabulary and counted. The output has user, item and time of each row (or
the columns of --keep) and `probability`, in the order of the input.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import tqdm
from absl import app, flags

from experiments.building import Experiment, build, plain, read_config
from experiments.flags import DATA_DIR, MESH, friendly, parse_mesh
from experiments.running import restore_model
from experiments.writing import RowWriter
from jaxrec.data.api import stored
from jaxrec.data.ingest import load_mapping, make_mapping
from jaxrec.data.ingest.chunks import describe_rejected
from jaxrec.data.ingest.extend import check_grown
from jaxrec.data.ingest.fields import LogMapping
from jaxrec.data.ingest.rows import NewRows, RowReader
from jaxrec.data.log import Log
from jaxrec.data.requests import RequestBuilder
from jaxrec.data.vocabulary import OUT_OF_VOCABULARY
from jaxrec.embeddings import check_ids
from jaxrec.parallel import put_batch
from jaxrec.training.state import TrainState
from jaxrec.training.step import make_predict_step

WORKDIR = flags.DEFINE_string('workdir', None, 'Of experiments.train.', required=True)
INPUT = flags.DEFINE_multi_string('input', None, 'CSV or Parquet file, or a pattern.', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'Takes the scores: .csv or .parquet.', required=True)
LOG = flags.DEFINE_string('log', None, 'Log of the histories; default: that of the run.')
MAPPING = flags.DEFINE_string('mapping', None, 'Which column is what; default: as in the ingest of the log.')
KEEP = flags.DEFINE_list('keep', None, 'Columns of the input to copy; default: user, item and time.')
STEP = flags.DEFINE_integer('step', None, 'Which checkpoint; default: the best on validation.')
STRICT = flags.DEFINE_bool('strict', False, 'Refuse the first row that cannot be scored.')


def history_log(run: Experiment, path: str | None) -> Log:
    """The log that histories are looked up in.

    Args:
      run: the trained run.
      path: of another log; None takes the run's own.

    Raises:
      ValueError: its ids are not those of the run's log.
    """
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
    length = run.data.get('history_length', 0)
    return RequestBuilder(log, plain(run.config.features), plain(run.data['label']), length)


def score_rows(
    run: Experiment,
    state: TrainState,
    builder: RequestBuilder,
    blocks: Iterator[NewRows],
    unknown: dict[str, int],
) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    """Scores blocks of rows in batches of one shape.

    Args:
      run: the trained run.
      state: from its checkpoint.
      builder: makes the batches.
      blocks: rows.
      unknown: {column: values that the model does not know}, added to.

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
            check_ids(run.setup.task.tables, run.setup.task.ids(batch))
            scores = predict(state, put_batch(batch, run.setup.mesh))['probability']
            yield rows.kept, np.asarray(scores)[: len(rows), 0]


def limit_ids(run: Experiment, batch: dict[str, np.ndarray]) -> dict[str, int]:
    """Makes values that are in the log, but came after the model was trained, out-of-vocabulary.

    Args:
      run: the trained run.
      batch: changed in place.

    Returns:
      {column: such values, histories not counted}.
    """
    newer = {}
    for key, values in batch.items():
        side, _, name = key.partition('/')
        column = run.log.schema.get(name)
        if column is None or column.vocabulary is None:
            continue
        late = values >= column.rows
        if late.any():
            batch[key] = np.where(late, np.int32(OUT_OF_VOCABULARY), values)
            if side != 'history':
                newer[name] = int(late.sum())
    return newer


def _pad(array: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])


@friendly
def main(_: list[str]) -> None:
    """Restores, scores, writes, and says what could not be scored."""
    workdir = Path(WORKDIR.value)
    run = build(read_config(str(workdir / 'config.json')), DATA_DIR.value, parse_mesh(MESH.value))
    log = history_log(run, LOG.value)
    builder = request_builder(run, log)
    mapping = row_mapping(log, MAPPING.value)
    reader = RowReader(INPUT.value, mapping, log, builder.row_columns, KEEP.value)
    state, step = restore_model(run, workdir, STEP.value)
    with (
        RowWriter(OUTPUT.value) as writer,
        tqdm.tqdm(
            total=reader.size, unit='B', unit_scale=True, disable=not sys.stderr.isatty(), dynamic_ncols=True
        ) as bar,
    ):
        blocks = reader.blocks(STRICT.value, bar.update)
        for kept, scores in score_rows(run, state, builder, blocks, reader.unknown):
            writer.write(kept.append_column('probability', pa.array(scores)))
    print(f'{reader.rows} rows scored by step {step} of {workdir}')
    if reader.rejected:
        print(f'  left out: {describe_rejected(reader.rejected)}')
    for column, count in reader.unknown.items():
        if count:
            print(f'  {count} values of {column!r} are unknown and count as out-of-vocabulary')
    print(f'wrote {OUTPUT.value}')


if __name__ == '__main__':
    app.run(main)
