"""Train several models with several seeds on one log, or fill a paper's table, and write it.

    jaxrec compare --log=logs/clicks --models=DNN,DIN,SIM-soft --workdir=runs/table --seeds=5
    jaxrec compare --config=configs/can/table_simulated.py --workdir=runs/can_table --quick

With --log every model has the defaults of `jaxrec train`. A config says more: for each data set every model gets the
same number of random trials, evaluated on validation; the chosen config then runs with every seed, and its test part
is read. A finished run is not run again. The workdir takes `table.md`, `table.json`, `table.png`, `trials.json` and
`cells.jsonl.gz` (all results, from which --cells resumes elsewhere). Two commands cannot fill one workdir, but one may
train --workers runs at a time.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from jaxrec.cli.flags import DATA_DIR, friendly

CONFIG = config_flags.DEFINE_config_file('config', lock_config=False)
LOG = flags.DEFINE_string('log', None, "In place of --config: a log, or 'simulated'.")
MODELS = flags.DEFINE_list('models', None, 'With --log: names that `jaxrec models` lists.')
SET = flags.DEFINE_multi_string('set', [], 'With --log: a change to every config, section.key=value.')
WORKDIR = flags.DEFINE_string('workdir', None, 'Takes the table and its runs.', required=True)
SEEDS = flags.DEFINE_integer('seeds', None, 'How many seeds; default: what the config says, or 5.')
ROWS = flags.DEFINE_list('rows', None, 'Which models of the config; default: all.')
WORKERS = flags.DEFINE_integer('workers', None, 'Processes that train at the same time; default: 2 on a CPU, else 1.')
CELLS = flags.DEFINE_string('cells', None, 'Finished runs, the cells.jsonl.gz of an earlier workdir.')
QUICK = flags.DEFINE_bool('quick', False, "The config's quick form: 2 seeds, no tuning, at most 15 minutes.")


@friendly
def main(_: list[str]) -> None:
    """Reads the flags and fills the table."""
    from jaxrec.runs.comparison.fill import fill
    from jaxrec.runs.comparison.finished import unpack
    from jaxrec.runs.comparison.workers import default_workers
    from jaxrec.runs.workdir import hold

    table, workdir = _table(), Path(WORKDIR.value)
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
        print(fill(table, names, seeds, workdir, workers, DATA_DIR.value))
    print(f'wrote {workdir}/table.md, table.json, table.png, trials.json, cells.jsonl.gz')


def _table():
    from jaxrec.runs.api import run_config, table_config
    from jaxrec.runs.config import parse_settings

    if CONFIG.value is not None:
        if LOG.value or MODELS.value:
            raise ValueError('--config and --log or --models are both given: give a table, or models and their log')
        return CONFIG.value
    if not LOG.value or not MODELS.value:
        raise ValueError('give --log=FOLDER and --models=A,B, or --config=path/to/table.py')
    changes = parse_settings(SET.value)
    return table_config({name: run_config(LOG.value, name, changes) for name in MODELS.value}, SEEDS.value or 5)
