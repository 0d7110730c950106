"""Trains one model on one log, in a workdir that a later run of the same command goes on from.

    jaxrec train --config=configs/can/simulated.py:CAN-DNN --workdir=runs/can

    jaxrec train --config=configs/can/own.py:CAN-DNN,logs/day2 --workdir=runs/day2 \
        --warm_start=runs/day1

Any key of the config file can be changed on the command line: --config.train.epochs=2. A section is given as
a whole by a dict, and what the dict leaves out takes the library's default, not the config's. It is the only
way to `items` of the simulated world, since every config has a method of that name:

    --config.data.arguments="{'users': 500, 'items': 100, 'seed': 1}"

SIGTERM and Ctrl-C save and exit with status 0, a second one ends it at once. What else a run survives is
said in docs/faults.md. Several processes train as one (docs/several_machines.md):

    jaxrec train --config=... --workdir=... --coordinator=host0:1234 --num_processes=2 \
        --process_id=0
"""

from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from jaxrec.cli.flags import ANY_KEY, DATA_DIR, MESH, friendly_together, parse_mesh, read_flags
from jaxrec.runs.build import build
from jaxrec.runs.fit import fit

CONFIG = config_flags.DEFINE_config_file('config', **ANY_KEY)
WARM_START = flags.DEFINE_string(
    'warm_start',
    None,
    'Workdir of a run to start from, whose log this one extends (train.init_from).',
)
WORKDIR = flags.DEFINE_string('workdir', None, 'Takes all that the run writes.', required=True)


@friendly_together(may_stop=True)
def main(_: list[str]) -> None:
    """Builds the run, trains it, and says what it wrote."""
    workdir, config = Path(WORKDIR.value), CONFIG.value
    if WARM_START.value:
        with config.unlocked():
            config.train.init_from = WARM_START.value
    run = build(config, DATA_DIR.value, parse_mesh(MESH.value))
    progress = fit(run, workdir, DATA_DIR.value)
    print(f'best validation {run.train["monitor"]} {progress.best:.4f} at step {progress.best_step}')
    if progress.skipped:
        print(f'{progress.skipped} steps skipped, their loss or gradient was not finite')
    print(f'wrote {workdir}/checkpoints, metrics.jsonl, curves.png, config.json')
    print(f'next: jaxrec evaluate --workdir={workdir}')


if __name__ == '__main__':
    app.run(main, flags_parser=read_flags)
