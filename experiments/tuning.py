"""Equal tuning: every row of a table gets the same number of random trials, judged on validation alone."""

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections

from experiments.cells import Cell, run_cell
from jaxrec.options import plain

# Simulated worlds are tuned on a world of their own, whose seed no table cell has.
TUNING_SEED = 1000


def draw_trials(search: Mapping[str, Sequence[Any]], trials: int, seed: int) -> list[dict[str, Any]]:
    """Draws the configs of all trials; the first keeps every first choice.

    Args:
      search: {'section.key': choices}.
      trials: how many.
      seed: of the draws, the same for every row.

    Returns:
      One {'section.key': value} a trial.
    """
    rng = random.Random(seed)
    space = {path: list(choices) for path, choices in search.items()}
    first = {path: choices[0] for path, choices in space.items()}
    drawn = [first]
    while len(drawn) < min(trials, math.prod(map(len, space.values()))):  # no config twice
        values = {path: rng.choice(choices) for path, choices in space.items()}
        drawn += [] if values in drawn else [values]
    return drawn


def choose(
    table: ml_collections.ConfigDict, column: str, row: str, workdir: Path, data_dir: str | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Runs a row's trials on one column and picks the best on validation.

    Args:
      table: the table's config: `search` {section: {key: choices}}, `trials`, `columns`, `rows`.
      column: which column.
      row: which row.
      workdir: the table's.
      data_dir: where real data sets lie.

    Returns:
      The chosen {'section.key': value} and, for `trials.json`, every trial with its validation score.
    """
    search = {
        f'{section}.{key}': choices
        for section, keys in plain(table.search).items()
        for key, choices in keys.items()
    }
    if table.trials < 1:
        return {}, []
    tried = []
    for number, values in enumerate(draw_trials(search, table.trials, TUNING_SEED)):
        folder = workdir / column / row / f'trial{number}'
        cell = Cell(folder, table.columns[column], table.rows[row], TUNING_SEED, values, test=False)
        result = run_cell(cell, data_dir)
        tried.append({'values': values} | {key: result[key] for key in ('validation', 'trained', 'seconds')})
    sign = 1 if table.columns[column].train.get('maximize', True) else -1
    return max(tried, key=lambda trial: sign * trial['validation'])['values'], tried
