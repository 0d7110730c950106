"""Scores the rows of CSV or Parquet files with a trained model; histories are looked up in a log.

    jaxrec predict --workdir=runs/mine --input=new.csv --output=scores.csv

The best checkpoint is read unless --step names another. A row's history is its user's positive events in the
log of the run (or --log) strictly before the row's time; without a time, all of them. Values that the log
does not know are scored as out-of-vocabulary and counted. The output has user, item and time of each row (or
the columns of --keep) and `probability`, in the order of the input.
"""

import sys
from pathlib import Path

import pyarrow as pa
import tqdm
from absl import app, flags

from jaxrec.cli.flags import DATA_DIR, MESH, friendly, parse_mesh
from jaxrec.data.ingest.chunks import describe_rejected
from jaxrec.data.ingest.rows import RowReader
from jaxrec.runs.build import build, read_config
from jaxrec.runs.fit import restore_model
from jaxrec.runs.predict import history_log, request_builder, row_mapping, score_rows
from jaxrec.runs.row_files import RowWriter

WORKDIR = flags.DEFINE_string('workdir', None, 'Of jaxrec.cli.train.', required=True)
INPUT = flags.DEFINE_multi_string('input', None, 'CSV or Parquet file, or a pattern.', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'Takes the scores: .csv or .parquet.', required=True)
LOG = flags.DEFINE_string('log', None, 'Log of the histories; default: that of the run.')
MAPPING = flags.DEFINE_string('mapping', None, 'Which column is what; default: as in the ingest of the log.')
KEEP = flags.DEFINE_list('keep', None, 'Columns of the input to copy; default: user, item and time.')
STEP = flags.DEFINE_integer('step', None, 'Which checkpoint; default: the best on validation.')
STRICT = flags.DEFINE_bool('strict', False, 'Refuse the first row that cannot be scored.')


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
