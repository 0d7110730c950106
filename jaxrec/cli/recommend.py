r"""Writes sessions of items for a file of users, from a trained model of `configs/onerec`.

    jaxrec recommend --workdir=runs/onerec/ntp --input=users.csv --output=sessions.csv
    jaxrec recommend --workdir=runs/mine/ntp --input=users.csv --output=sessions.jsonl \
        --sessions=3 --beams=128 --tokens=runs/mine/tokens2

The input has a column of users (`--user`) and may have one of times (`--time`, in the unit of the files that
the log was made of, or timestamps): what a user liked strictly earlier is its history, without times all of
the log. The output has a row a session: user, rank from 1, the items in their order (`item_1`, `item_2`, ...
or, in .jsonl and .parquet, a list `items`) and the score. Without --step the checkpoint with the best
validation metric is read. A model of single items, such as SASRec, cuts its ranking into sessions. `--tokens`
names tokens that extend those of the model, so that new items are reached; `--free` lets beams write what is
no item, and says how often they do.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tqdm
from absl import app, flags

from jaxrec.cli.flags import DATA_DIR, MESH, friendly, parse_mesh
from jaxrec.data.logs.log import Log
from jaxrec.data.sources.user_histories import UserHistories
from jaxrec.models.onerec.recommend import check_extended, make_recommender
from jaxrec.models.onerec.requests import Tally, answer, read_users, to_rows
from jaxrec.models.onerec.task import CODES, SessionTask
from jaxrec.models.onerec.tokenizing.tokens import item_names, read_tokens, read_trie
from jaxrec.ops.generation.trie import Trie
from jaxrec.options import plain
from jaxrec.runs.build import build, read_config
from jaxrec.runs.fit import restore_model
from jaxrec.runs.row_files import RowWriter

WORKDIR = flags.DEFINE_string('workdir', None, 'Of jaxrec.cli.train.', required=True)
INPUT = flags.DEFINE_string('input', None, 'CSV or Parquet file of users.', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'Takes the sessions: .csv, .parquet or .jsonl.', required=True)
USER = flags.DEFINE_string('user', 'user', 'Column of the users.')
TIME = flags.DEFINE_string('time', None, 'Column of the times; default: the whole log is history.')
SESSIONS = flags.DEFINE_integer('sessions', 1, 'Of each user.', lower_bound=1)
ITEMS = flags.DEFINE_integer('items', 5, 'Of a session.', lower_bound=1)
BEAMS = flags.DEFINE_integer('beams', 32, 'Of the search; raised to what the sessions need.', lower_bound=1)
BATCH_SIZE = flags.DEFINE_integer('batch_size', 32, 'Users at a time.', lower_bound=1)
STEP = flags.DEFINE_integer('step', None, 'Which checkpoint; default: the best on validation.')
TOKENS = flags.DEFINE_string('tokens', None, 'Of jaxrec.cli.onerec.tokenize --extend: with new items.')
FREE = flags.DEFINE_bool('free', False, 'Let beams write any codes.')
REPEAT = flags.DEFINE_bool('repeat', False, 'Let an item stand twice in a session.')


@friendly
def main(_: list[str]) -> None:
    """Restores, writes sessions, and says how many and of what kind."""
    workdir = Path(WORKDIR.value)
    run = build(read_config(str(workdir / 'config.json')), DATA_DIR.value, parse_mesh(MESH.value))
    asked = read_users(INPUT.value, run.log, USER.value, TIME.value)
    columns = run.config.features.history
    histories = UserHistories(run.log, plain(run.data['label']), columns, run.data['history_length'])
    task = run.setup.task
    levels = task.network.levels if isinstance(task, SessionTask) else None
    trie, names = open_catalogue(run.log, TOKENS.value, levels)
    state, step = restore_model(run, workdir, STEP.value)
    if TOKENS.value and isinstance(task, SessionTask):
        check_extended(Path(TOKENS.value), state.model_state[CODES], workdir)
    writes = isinstance(task, SessionTask) and task.network.session > 1
    # A beam is a session, or of models of single items one of its items.
    beams = max(BEAMS.value, SESSIONS.value * (1 if writes else ITEMS.value))
    recommend = make_recommender(
        run,
        state,
        sessions=SESSIONS.value,
        items=ITEMS.value,
        beams=beams,
        trie=trie,
        distinct=not REPEAT.value,
        free=FREE.value,
    )
    tally, nested = Tally(), Path(OUTPUT.value).suffix != '.csv'
    bar = tqdm.tqdm(total=len(asked), unit=' users', disable=not sys.stderr.isatty(), dynamic_ncols=True)
    with RowWriter(OUTPUT.value) as writer, bar:
        done = answer(asked, histories, recommend, BATCH_SIZE.value, run.data['min_history'], tally)
        for rows, found in done:
            writer.write(to_rows(asked.names[rows], found, names, nested))
            bar.update(int(rows[-1]) + 1 - bar.n)
    print(f'{tally.sessions} sessions for {tally.users} users by step {step} of {workdir}')
    print('\n'.join(f'  {line}' for line in describe(tally, run.data['min_history'])))
    print(f'wrote {OUTPUT.value}')


def open_catalogue(
    log: Log, tokens: str | None, levels: Sequence[int] | None = None
) -> tuple[Trie | None, np.ndarray]:
    """The trie of tokens that have new items, and what items are called.

    Args:
      log: of the model.
      tokens: the folder; None for the items of the log alone.
      levels: codes of each level of the model's IDs, None for those of the tokens.

    Returns:
      The trie, None for that of the model; and names by the rows of the catalogue.

    Raises:
      ValueError: tokens of another log, or a new item that the log has.
    """
    if tokens is None:
        return None, item_names(log)
    made, names = read_tokens(Path(tokens)), item_names(log)
    if made['items'] != log.manifest['counts']['items']:
        raise ValueError(
            f'{tokens} are of {made["items"]} items, and {log.folder} has {log.manifest["counts"]["items"]}: '
            'extend the tokens that the model was trained with'
        )
    if known := sorted(set(made['new']) & set(map(str, names))):
        raise ValueError(f'{tokens} has the new item {known[0]!r}, which {log.folder} has too: leave it out')
    return read_trie(Path(tokens), levels), item_names(log, made['new'])


def describe(tally: Tally, least: int) -> list[str]:
    """What there is to say of requests, a line each."""
    lines = [
        f'illegal share {tally.illegal / max(tally.items, 1):.4f} of {tally.items} items that were written'
    ]
    if tally.missing:
        lines.append(f'{tally.missing} sessions do not exist: too few beams were of items')
    if tally.unknown:
        lines.append(f'left out: {tally.unknown} users that the log does not know')
    if tally.short:
        lines.append(f'left out: {tally.short} users with fewer than {least} positive items before')
    return lines


if __name__ == '__main__':
    app.run(main)
