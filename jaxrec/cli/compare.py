"""Fills a paper's table: rows by seeds by worlds, tuned equally, tested once.

    jaxrec compare --config=configs/can/table_simulated.py --workdir=runs/can_table
    jaxrec compare --config=configs/can/table_simulated.py --workdir=runs/can_quick --quick

For each column (a world or data set) every row gets the same number of random trials, judged on validation;
the chosen config is then run with every seed and its test part read. Columns that `tuned` does not name take
what the main one chose, and columns that `only` names have no rows but those; without any they are left out.
`slices` and `judges` add test metrics, see `comparison.cells.run_cell`; `run` may name another function in
its place, as for cells that replay a log. `row_search` adds to the `search` of single rows, and `row_seeds`
lets long ones have fewer seeds, which the table then says. Where `timed` names a column, each row's training
step is timed at the end, alone on all cores. A finished cell is not run again. The workdir takes `table.md`,
`table.json`, `table.png`, `trials.json` and `cells.jsonl.gz` (all results, from which --cells goes on
elsewhere); the cells below it keep their curves. Two runs cannot fill one workdir, but one may train
--workers cells at a time.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections
import tqdm
from absl import app, flags
from ml_collections import config_flags

from jaxrec.cli.flags import DATA_DIR, friendly, read_flags
from jaxrec.files import replace_text
from jaxrec.runs.comparison.cells import Cell, time_cells
from jaxrec.runs.comparison.finished import pack, unpack
from jaxrec.runs.comparison.tables import draw, summarize, to_markdown, write_json
from jaxrec.runs.comparison.tuning import choose, trial_cells
from jaxrec.runs.comparison.workers import RUN, Runner, default_workers, runner
from jaxrec.runs.fit import hold

CONFIG = config_flags.DEFINE_config_file('config', lock_config=False)
WORKDIR = flags.DEFINE_string('workdir', None, 'Takes the table and its cells.', required=True)
SEEDS = flags.DEFINE_integer('seeds', None, 'How many seeds; default: what the config says.')
ROWS = flags.DEFINE_list('rows', None, 'Which rows; default: all of the config.')
WORKERS = flags.DEFINE_integer(
    'workers', None, 'Processes that train cells side by side; default: 2 on a CPU, 1 elsewhere.'
)
CELLS = flags.DEFINE_string('cells', None, 'Finished cells, the cells.jsonl.gz of an earlier workdir.')
QUICK = flags.DEFINE_bool('quick', False, "The config's quick form: 2 seeds, no tuning, at most 15 minutes.")


@friendly
def main(_: list[str]) -> None:
    """Reads the flags and fills the table."""
    table, workdir = CONFIG.value, Path(WORKDIR.value)
    if QUICK.value:
        table.update(table.quick)
    names = ROWS.value or list(table.order)
    if unknown := sorted(set(names) - set(table.rows)):
        raise ValueError(f'--rows names {unknown[0]!r}; the table has {list(table.rows)}')
    if unknown := sorted(set(table.get('row_seeds', {})) - set(table.rows)):
        raise ValueError(f'row_seeds names {unknown[0]!r}; the table has {list(table.rows)}')
    seeds = range(table.seeds if SEEDS.value is None else SEEDS.value)
    if not seeds:
        raise ValueError(f'--seeds={SEEDS.value}: a table needs at least 1 seed')
    with hold(workdir):
        if CELLS.value:
            print(f'{unpack(Path(CELLS.value), workdir)} finished cells taken from {CELLS.value}')
        workers = default_workers() if WORKERS.value is None else WORKERS.value
        fill(table, names, seeds, workdir, workers)


def fill(
    table: ml_collections.ConfigDict, names: Sequence[str], seeds: range, workdir: Path, workers: int = 1
) -> None:
    """Runs the cells that are not finished, and writes and prints the table.

    Args:
      table: the table's config.
      names: its rows.
      seeds: of the cells of each row; of those in `table.row_seeds` the first so many.
      workdir: takes the table and its cells.
      workers: processes that train side by side.
    """
    results: dict[str, dict[str, list]] = {}
    trials: dict[str, dict[str, list]] = {}
    chosen: dict[str, dict[str, Any]] = {}
    slices, judges = (tuple(table.get(key, ())) for key in ('slices', 'judges'))
    with runner(workers, DATA_DIR.value, slices, judges, table.get('run', RUN)) as run:
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
                    time_cells(cells[name], results[column][name], DATA_DIR.value)
    summary = summarize(table, results)
    write_json(workdir / 'table.json', summary)
    pack(workdir)
    text = to_markdown(table, summary, len(seeds))
    replace_text(workdir / 'table.md', text)
    draw(table, summary, workdir / 'table.png')
    print(text)
    print(f'wrote {workdir}/table.md, table.json, table.png, trials.json, cells.jsonl.gz')


def tune(
    table: ml_collections.ConfigDict, column: str, names: Sequence[str], workdir: Path, run: Runner
) -> tuple[dict[str, dict[str, Any]], dict[str, list]]:
    """Runs every row's trials on one column, first those of the rows that others go on from.

    Args:
      table: the table's config.
      column: which column.
      names: its rows.
      workdir: the table's.
      run: of the cells.

    Returns:
      {row: chosen values} and {row: trials}.

    Raises:
      ValueError: a row without the one that it goes on from, or all trials of a row have failed.
    """
    after = dict(table.get('after', {}))
    if missing := [name for name in names if table.trials and after.get(name, name) not in names]:
        raise ValueError(
            f'row {missing[0]!r} goes on from what is chosen of {after[missing[0]]!r}: add this to --rows'
        )
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
    """Runs the cells of all rows in one go, and sorts the results by row.

    The first seed of every row comes first: of a row's next one the compiled programs are there.
    """
    order = [(seed, name) for name, group in cells.items() for seed in range(len(group))]
    order.sort(key=lambda place: place[0])
    done = dict(zip(order, run([cells[name][seed] for seed, name in order], title), strict=True))
    return {name: [done[seed, name] for seed in range(len(group))] for name, group in cells.items()}


if __name__ == '__main__':
    app.run(main, flags_parser=read_flags)
