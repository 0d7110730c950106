"""Sessions for the users of a file or a list, from a trained workdir."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tqdm

from jaxrec.data.logs.log import Log
from jaxrec.data.sources.user_histories import UserHistories
from jaxrec.models.onerec.recommend import check_extended, make_recommender
from jaxrec.models.onerec.requests import Asked, Tally, answer, ask, to_rows
from jaxrec.models.onerec.task import CODES, SessionTask
from jaxrec.models.onerec.tokenizing.tokens import item_names, read_tokens, read_trie
from jaxrec.ops.generation.trie import Trie
from jaxrec.options import plain
from jaxrec.runs.build import Experiment
from jaxrec.runs.restore import restore_model


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is recommended, and how it is searched."""

    sessions: int = 1  # of each user
    items: int = 5  # of a session
    beams: int = 32  # of the search; raised to what the sessions need
    batch_size: int = 32  # users at a time
    step: int | None = None  # of the checkpoint; None takes the best
    tokens: str | None = None  # folder of tokens that extend the model's with new items
    free: bool = False  # let beams generate any codes
    repeat: bool = False  # let an item occur twice in a session


def recommend_users(
    run: Experiment, workdir: Path, asked: Asked, wanted: Wanted, nested: bool, write: Callable[[pa.RecordBatch], None]
) -> tuple[Tally, int]:
    """Recommends sessions, in the order of the users.

    Args:
      run: the trained run.
      workdir: of its checkpoints.
      asked: the users.
      wanted: what is recommended.
      nested: items in one column of lists, else in a column each.
      write: takes rows as `to_rows` returns them.

    Returns:
      Counts of what came of the requests, and the step of the checkpoint.

    Raises:
      ValueError: a model that names no items, or tokens of another log.
    """
    columns = run.config.features.history
    histories = UserHistories(run.log, plain(run.data['label']), columns, run.data['history_length'])
    task = run.setup.task
    levels = task.network.levels if isinstance(task, SessionTask) else None
    trie, names = open_catalogue(run.log, wanted.tokens, levels)
    state, step = restore_model(run, workdir, wanted.step)
    if wanted.tokens and isinstance(task, SessionTask):
        check_extended(Path(wanted.tokens), state.model_state[CODES], workdir)
    generates = isinstance(task, SessionTask) and task.network.session > 1
    # A beam is a session, or of models of single items one of its items.
    beams = max(wanted.beams, wanted.sessions * (1 if generates else wanted.items))
    recommend = make_recommender(
        run, state, sessions=wanted.sessions, items=wanted.items, beams=beams, trie=trie,
        distinct=not wanted.repeat, free=wanted.free,
    )  # fmt: skip
    tally = Tally()
    with tqdm.tqdm(total=len(asked), unit=' users', disable=not sys.stderr.isatty(), dynamic_ncols=True) as bar:
        done = answer(asked, histories, recommend, wanted.batch_size, run.data['min_history'], tally)
        for rows, found in done:
            write(to_rows(asked.names[rows], found, names, nested))
            bar.update(int(rows[-1]) + 1 - bar.n)
    return tally, step


def recommend_rows(
    run: Experiment, workdir: Path, users: Sequence[Any], sessions: int, items: int, beams: int, step: int | None
) -> list[dict[str, Any]]:
    """Recommends sessions to `users`, as the log names them, as of its end; see `Wanted` for the other arguments.

    Returns:
      A dict a session: 'user', 'rank' from 1, 'items' and 'score'.

    Raises:
      ValueError: a model that names no items.
    """
    rows: list[dict[str, Any]] = []
    wanted = Wanted(sessions, items, beams, step=step)
    recommend_users(run, workdir, ask(users, run.log), wanted, True, lambda batch: rows.extend(batch.to_pylist()))
    return rows


def open_catalogue(log: Log, tokens: str | None, levels: Sequence[int] | None = None) -> tuple[Trie | None, np.ndarray]:
    """The trie of tokens with new items, None for that of the model, and names by the rows of the catalogue.

    `levels` are the codes of each level of the model's IDs, None for those of the tokens.

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
    """Describes the answers to requests, a line each."""
    lines = [f'illegal share {tally.illegal / max(tally.items, 1):.4f} of {tally.items} items that were written']
    if tally.missing:
        lines.append(f'{tally.missing} sessions do not exist: too few beams were of items')
    if tally.unknown:
        lines.append(f'left out: {tally.unknown} users that the log does not know')
    if tally.short:
        lines.append(f'left out: {tally.short} users with fewer than {least} positive items before')
    return lines
