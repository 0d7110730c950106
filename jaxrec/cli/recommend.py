r"""Writes sessions of items for a file of users, from a trained model of `configs/onerec`.

    jaxrec recommend --workdir=runs/onerec/ntp --input=users.csv --output=sessions.csv
    jaxrec recommend --workdir=runs/mine/ntp --input=users.csv --output=sessions.jsonl \
        --sessions=3 --beams=128 --tokens=runs/mine/tokens2

The input has a column of users (`--user`) and may have one of times (`--time`, in the unit of the files that the log
was made of, or timestamps): what a user liked strictly earlier is its history, without times all of the log. The output
has a row a session: user, rank from 1, the items in their order (`item_1`, `item_2`, ... or, in .jsonl and .parquet, a
list `items`) and the score. Without --step the checkpoint with the best validation metric is read. A model of single
items, such as SASRec, cuts its ranking into sessions. `--tokens` names tokens that extend those of the model, so that
new items are reached; `--free` lets beams write what is no item, and says how often they do.
"""

from pathlib import Path

from absl import flags

from jaxrec.cli.flags import ALLOW_CODE, DATA_DIR, MESH, friendly, parse_mesh

WORKDIR = flags.DEFINE_string('workdir', None, 'Of `jaxrec train`.', required=True)
INPUT = flags.DEFINE_string('input', None, 'CSV or Parquet file of users.', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'Takes the sessions: .csv, .parquet or .jsonl.', required=True)
USER = flags.DEFINE_string('user', 'user', 'Column of the users.')
TIME = flags.DEFINE_string('time', None, 'Column of the times; default: the whole log is history.')
SESSIONS = flags.DEFINE_integer('sessions', 1, 'Of each user.', lower_bound=1)
ITEMS = flags.DEFINE_integer('items', 5, 'Of a session.', lower_bound=1)
BEAMS = flags.DEFINE_integer('beams', 32, 'Of the search; raised to what the sessions need.', lower_bound=1)
BATCH_SIZE = flags.DEFINE_integer('batch_size', 32, 'Users at a time.', lower_bound=1)
STEP = flags.DEFINE_integer('step', None, 'Which checkpoint; default: the best on validation.')
TOKENS = flags.DEFINE_string('tokens', None, 'Of `jaxrec onerec tokenize` --extend: with new items.')
FREE = flags.DEFINE_bool('free', False, 'Let beams write any codes.')
REPEAT = flags.DEFINE_bool('repeat', False, 'Let an item stand twice in a session.')


@friendly
def main(_: list[str]) -> None:
    """Restores, generates sessions, and prints how many and of what kind."""
    from jaxrec.models.onerec.recommend_users import Wanted, describe, recommend_users
    from jaxrec.models.onerec.requests import read_users
    from jaxrec.runs.row_files import RowWriter
    from jaxrec.runs.run import Run

    workdir = Path(WORKDIR.value)
    run = Run(workdir, DATA_DIR.value, parse_mesh(MESH.value), ALLOW_CODE.value).experiment
    asked = read_users(INPUT.value, run.log, USER.value, TIME.value)
    options = (BEAMS.value, BATCH_SIZE.value, STEP.value, TOKENS.value, FREE.value, REPEAT.value)
    wanted = Wanted(SESSIONS.value, ITEMS.value, *options)
    with RowWriter(OUTPUT.value) as writer:
        tally, step = recommend_users(run, workdir, asked, wanted, Path(OUTPUT.value).suffix != '.csv', writer.write)
    print(f'{tally.sessions} sessions for {tally.users} users by step {step} of {workdir}')
    print('\n'.join(f'  {line}' for line in describe(tally, run.data['min_history'])))
    print(f'wrote {OUTPUT.value}')
