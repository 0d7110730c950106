"""Score the rows of CSV or Parquet files with a trained model; histories are looked up in a log.

    jaxrec predict --workdir=runs/mine --input=new.csv --output=scores.csv

A row's history is its user's positive events in the log of the run (or --log) strictly before the row's time;
without a time, all of them. Values that the log does not know are scored as out-of-vocabulary and counted. The
output has user, item and time of each row (or the columns of --keep) and `probability`, in the order of the input.
"""

from pathlib import Path

from absl import flags

from jaxrec.cli.flags import ALLOW_CODE, DATA_DIR, MESH, friendly, parse_mesh

WORKDIR = flags.DEFINE_string('workdir', None, 'Of `jaxrec train`.', required=True)
INPUT = flags.DEFINE_multi_string('input', None, 'CSV or Parquet file, or a pattern.', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'Takes the scores: .csv or .parquet.', required=True)
LOG = flags.DEFINE_string('log', None, 'Log of the histories; default: that of the run.')
MAPPING = flags.DEFINE_string('mapping', None, 'Which column is what; default: as in the ingest of the log.')
KEEP = flags.DEFINE_list('keep', None, 'Columns of the input to copy; default: user, item and time.')
STEP = flags.DEFINE_integer('step', None, 'Which checkpoint; default: the best on validation.')
STRICT = flags.DEFINE_bool('strict', False, 'Refuse the first row that cannot be scored.')


@friendly
def main(_: list[str]) -> None:
    """Restores, scores, writes, and prints what could not be scored."""
    from jaxrec.data.ingest.chunks import describe_rejected
    from jaxrec.runs.predict import predict_files
    from jaxrec.runs.row_files import RowWriter
    from jaxrec.runs.run import Run

    workdir = Path(WORKDIR.value)
    run = Run(workdir, DATA_DIR.value, parse_mesh(MESH.value), ALLOW_CODE.value).experiment
    options = (LOG.value, MAPPING.value, KEEP.value, STEP.value, STRICT.value)
    with RowWriter(OUTPUT.value) as writer:
        done = predict_files(run, workdir, INPUT.value, writer.write, *options)
    print(f'{done.rows} rows scored by step {done.step} of {workdir}')
    if done.rejected:
        print(f'  skipped: {describe_rejected(done.rejected)}')
    for column, count in done.unknown.items():
        if count:
            print(f'  {count} values of {column!r} are unknown and count as out-of-vocabulary')
    print(f'wrote {OUTPUT.value}')
