"""Fills a table: models by seeds by data sets, tuned equally, tested once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tqdm
from ml_collections import ConfigDict

from jaxrec.files import replace_text
from jaxrec.runs.comparison.cells import Cell, time_cells
from jaxrec.runs.comparison.finished import pack
from jaxrec.runs.comparison.tables import draw, summarize, to_markdown, write_json
from jaxrec.runs.comparison.tuning import choose, trial_cells
from jaxrec.runs.comparison.workers import RUN, Runner, runner


def fill(
    table: ConfigDict, names: Sequence[str], seeds: range, workdir: Path, workers: int = 1, data_dir: str | None = None
) -> str:
    """Runs the cells that are not finished, writes the table, and returns it as Markdown.

    Of the rows in `table.row_seeds` only the first so many seeds are run; `workers` processes train at the same time.
    """
    results: dict[str, dict[str, list]] = {}
    trials: dict[str, dict[str, list]] = {}
    chosen: dict[str, dict[str, Any]] = {}
    slices, judges = (tuple(table.get(key, ())) for key in ('slices', 'judges'))
    with runner(workers, data_dir, slices, judges, table.get('run', RUN)) as run:
        for column in sorted(table.columns, key=lambda name: name != table.main):  # the main one first
            rows = [name for name in names if name in table.get('only', {}).get(column, names)]
            if not rows:
                continue
            if column in table.get('tuned', tuple(table.columns)):
                chosen, trials[column] = tune(table, column, rows, workdir, run)
                write_json(workdir / 'trials.json', trials)
            folder, base = workdir / column, table.columns[column]
            cells = {
                name: [
                    Cell(folder / name / f'seed{s}', base, table.rows[name], s, chosen[name])
                    for s in seeds[: table.get('row_seeds', {}).get(name)]
                ]
                for name in rows
            }
            results[column] = run_by_row(run, cells, column)
            if column in table.get('timed', ()):
                for name in tqdm.tqdm(rows, f'step times of {column}', disable=None, dynamic_ncols=True):
                    time_cells(cells[name], results[column][name], data_dir)
    summary = summarize(table, results)
    write_json(workdir / 'table.json', summary)
    pack(workdir)
    text = to_markdown(table, summary, len(seeds))
    replace_text(workdir / 'table.md', text)
    draw(table, summary, workdir / 'table.png')
    return text


def tune(
    table: ConfigDict, column: str, names: Sequence[str], workdir: Path, run: Runner
) -> tuple[dict[str, dict[str, Any]], dict[str, list]]:
    """Runs every row's trials on one column, first those of the rows that others continue.

    Returns:
      {row: chosen values} and {row: trials}.

    Raises:
      ValueError: a row without the one that it continues, or all trials of a row have failed.
    """
    after = dict(table.get('after', {}))
    if missing := [name for name in names if table.trials and after.get(name, name) not in names]:
        raise ValueError(f'row {missing[0]!r} goes on from what is chosen of {after[missing[0]]!r}: add this to --rows')
    chosen: dict[str, dict[str, Any]] = {}
    trials: dict[str, list] = {}
    for group in ([name for name in names if name not in after], [name for name in names if name in after]):
        taken = {name: chosen.get(after.get(name, ''), {}) for name in group}
        cells = {name: trial_cells(table, column, name, workdir, taken[name]) for name in group}
        results = run_by_row(run, cells, f'trials of {column}')
        for name in group:
            found, trials[name] = choose(table, column, cells[name], results[name])
            chosen[name] = taken[name] | found
    return chosen, {name: trials[name] for name in names}


def run_by_row(run: Runner, cells: Mapping[str, list[Cell]], title: str) -> dict[str, list[dict[str, Any]]]:
    """Runs the cells of all rows in one go, first seeds first, whose compiled programs are reused; sorts by row."""
    order = [(seed, name) for name, group in cells.items() for seed in range(len(group))]
    order.sort(key=lambda place: place[0])
    done = dict(zip(order, run([cells[name][seed] for seed, name in order], title), strict=True))
    return {name: [done[seed, name] for seed in range(len(group))] for name, group in cells.items()}
