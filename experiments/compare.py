"""Fills a paper's table: rows by seeds by worlds, tuned equally, tested once.

    python -m experiments.compare --config=configs/can/table_simulated.py --workdir=runs/can_table
    python -m experiments.compare --config=configs/can/table_simulated.py --workdir=runs/can_quick --quick

For each column (a world or data set) every row gets the same number of random trials, judged on validation;
the chosen config is then run with every seed and its test part read. A finished cell is not run again. Writes
`table.md`, `table.json`, `table.png` and `trials.json` into the workdir; the cells below it keep their
curves. Two processes cannot fill one workdir.
"""

from collections.abc import Sequence
from pathlib import Path

import ml_collections
from absl import app, flags
from ml_collections import config_flags

from experiments.cells import Cell, run_cell
from experiments.flags import DATA_DIR, friendly
from experiments.running import hold
from experiments.tables import draw, summarize, to_markdown, write_json
from experiments.tuning import choose

CONFIG = config_flags.DEFINE_config_file('config', lock_config=False)
WORKDIR = flags.DEFINE_string('workdir', None, 'Takes the table and its cells.', required=True)
SEEDS = flags.DEFINE_integer('seeds', None, 'How many seeds; default: what the config says.')
ROWS = flags.DEFINE_list('rows', None, 'Which rows; default: all of the config.')
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
    seeds = range(table.seeds if SEEDS.value is None else SEEDS.value)
    if not seeds:
        raise ValueError(f'--seeds={SEEDS.value}: a table needs at least 1 seed')
    with hold(workdir):
        fill(table, names, seeds, workdir)


def fill(table: ml_collections.ConfigDict, names: Sequence[str], seeds: range, workdir: Path) -> None:
    """Runs the cells that are not finished, and writes and prints the table.

    Args:
      table: the table's config.
      names: its rows.
      seeds: of the cells of each row.
      workdir: takes the table and its cells.
    """
    results: dict[str, dict[str, list]] = {}
    trials: dict[str, dict[str, list]] = {}
    for column in sorted(table.columns, key=lambda name: name != table.main):  # the main one first
        base = table.columns[column]
        for name in names:
            chosen, tried = choose(table, column, name, workdir, DATA_DIR.value)
            trials.setdefault(column, {})[name] = tried
            write_json(workdir / 'trials.json', trials)
            for seed in seeds:
                cell = Cell(workdir / column / name / f'seed{seed}', base, table.rows[name], seed, chosen)
                result = run_cell(cell, DATA_DIR.value, table.get('slices', ()))
                results.setdefault(column, {}).setdefault(name, []).append(result)
    summary = summarize(table, results)
    write_json(workdir / 'table.json', summary)
    text = to_markdown(table, summary, len(seeds))
    (workdir / 'table.md').write_text(text)
    draw(table, summary, workdir / 'table.png')
    print(text)
    print(f'wrote {workdir}/table.md, table.json, table.png, trials.json')


if __name__ == '__main__':
    app.run(main)
