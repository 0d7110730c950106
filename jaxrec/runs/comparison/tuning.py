"""Equal tuning: every row of a table gets the same number of random trials, evaluated on validation alone."""

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxrec.options import lay_over, plain
from jaxrec.runs.comparison.cells import Cell

# Simulated worlds are tuned on a world of their own, whose seed no table cell has.
TUNING_SEED = 1000
TOLD = ('validation', 'judged', 'trained', 'seconds', 'failed')  # of a trial, in trials.json


def draw_trials(search: Mapping[str, Sequence[Any]], trials: int, seed: int) -> list[dict[str, Any]]:
    """Draws {'section.key': value} of each trial from {'section.key': choices}; the first has every first choice."""
    rng = random.Random(seed)
    space = {path: list(choices) for path, choices in search.items()}
    first = {path: choices[0] for path, choices in space.items()}
    drawn = [first]
    while len(drawn) < min(trials, math.prod(map(len, space.values()))):  # no config twice
        values = {path: rng.choice(choices) for path, choices in space.items()}
        drawn += [] if values in drawn else [values]
    return drawn


def trial_cells(
    table: ConfigDict, column: str, row: str, workdir: Path, taken: Mapping[str, Any] | None = None
) -> list[Cell]:
    """The trials of a row on one column: cells that read validation alone; none where nothing is tuned.

    The table has `search` {section: {key: choices}} of all rows, `row_search` {row: the same} of single ones, and
    `trial`, which is laid over the column. `taken` was chosen of the row that this one continues.
    """
    spaces = plain(table.search), plain(table.get('row_search', {})).get(row, {})
    search = {
        f'{section}.{key}': choices
        for space in spaces
        for section, keys in space.items()
        for key, choices in keys.items()
    }
    drawn = draw_trials(search, table.trials, TUNING_SEED) if table.trials and search else []
    folder, base = workdir / column / row, ConfigDict(plain(table.columns[column]))
    lay_over(base, plain(table.get('trial', {})))
    return [
        Cell(folder / f'trial{number}', base, table.rows[row], TUNING_SEED, values, False)
        for number, values in enumerate({**(taken or {}), **values} for values in drawn)
    ]


def choose(
    table: ConfigDict, column: str, cells: Sequence[Cell], results: Sequence[dict[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Picks the best trial of a row on validation; one that failed has a 'validation' of None and 'failed', why.

    Returns:
      The chosen {'section.key': value} and, for `trials.json`, every trial with its validation score.

    Raises:
      ValueError: all trials of the row have failed.
    """
    tried = [
        {'values': dict(cell.chosen)} | {key: result[key] for key in TOLD if key in result}
        for cell, result in zip(cells, results, strict=True)
    ]
    sign = 1 if table.columns[column].train.get('maximize', True) else -1
    judged = [trial for trial in tried if trial['validation'] is not None]
    if tried and not judged:
        raise ValueError(
            f'every trial of {cells[0].folder.parent} has failed, the first with: {tried[0]["failed"]}; give '
            'the row other choices in search or row_search, or leave it out with --rows'
        )
    return max(judged, key=lambda trial: sign * trial['validation'])['values'] if tried else {}, tried
