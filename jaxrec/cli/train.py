"""Train a model on a log, in a workdir that the same command resumes.

    jaxrec train --model=CAN-DNN --log=logs/clicks --workdir=runs/can --set=train.epochs=2
    jaxrec train --model=CAN-DNN --log=logs/day2 --workdir=runs/day2 --warm_start=runs/can
    jaxrec train --config=configs/can/movielens.py:CAN-DNN --workdir=runs/can_ml --config.train.epochs=2

--model is a name that `jaxrec models` lists. --log is a log of `jaxrec ingest`, for SMS a folder of annotated images,
or `simulated` for the data of the model's own paper. --config is a Python file with `get_config() -> ConfigDict`.

SIGTERM and Ctrl-C save and exit with status 0; a second one ends the run at once. Several processes train as one:

    jaxrec train --config=... --workdir=... --coordinator=host0:1234 --num_processes=2 --process_id=0
"""

from pathlib import Path

from absl import flags

from jaxrec.cli.configs import given_config
from jaxrec.cli.flags import DATA_DIR, MESH, friendly_together, parse_mesh

WARM_START = flags.DEFINE_string(
    'warm_start', None, 'Workdir of a run to start from, whose log this one extends (train.init_from).'
)
WORKDIR = flags.DEFINE_string('workdir', None, 'Takes all that the run writes.', required=True)


@friendly_together(may_stop=True)
def main(_: list[str]) -> None:
    """Builds the run, trains it, and prints what it wrote."""
    from jaxrec.runs.api import describe
    from jaxrec.runs.build import build
    from jaxrec.runs.fit import fit

    workdir, config = Path(WORKDIR.value), given_config('jaxrec train')
    if WARM_START.value:
        with config.unlocked():
            config.train.init_from = WARM_START.value
    run = build(config, DATA_DIR.value, parse_mesh(MESH.value))
    print(describe(config, run.train))
    progress = fit(run, workdir, DATA_DIR.value)
    print(f'best validation {run.train["monitor"]} {progress.best:.4f} at step {progress.best_step}')
    if progress.skipped:
        print(f'{progress.skipped} steps skipped, their loss or gradient was not finite')
    print(f'wrote {workdir}/checkpoints, metrics.jsonl, curves.png, config.json')
    print(f'next: jaxrec evaluate --workdir={workdir}')
