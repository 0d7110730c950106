"""Write the scorer of a trained model to one file that needs no code of the model.

    jaxrec export --workdir=runs/mine --output=scorer.jaxexport

`jaxrec.training.export.load_scorer` reads it. By default the tables are arguments of the program in the file, and any
number of rows can be scored at once.
"""

from pathlib import Path

from absl import flags

from jaxrec.cli.flags import ALLOW_CODE, DATA_DIR, friendly

WORKDIR = flags.DEFINE_string('workdir', None, 'Of `jaxrec train`.', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'Takes the scorer.', required=True)
STEP = flags.DEFINE_integer('step', None, 'Which checkpoint; default: the best on validation.')
TABLES = flags.DEFINE_enum(
    'tables', 'arguments', ['arguments', 'baked'], 'Weights as arguments of the program, or constants of it.'
)
BATCH_SIZE = flags.DEFINE_integer('batch_size', None, 'A fixed number of rows; default: any.')
PLATFORMS = flags.DEFINE_list('platforms', None, 'Such as cpu,cuda,tpu; default: the one at hand.')


@friendly
def main(_: list[str]) -> None:
    """Restores and exports."""
    from jaxrec.runs.restore import export_run
    from jaxrec.runs.run import Run

    workdir = Path(WORKDIR.value)
    run = Run(workdir, DATA_DIR.value, (1, 1), ALLOW_CODE.value).experiment
    options = (TABLES.value == 'baked', BATCH_SIZE.value, PLATFORMS.value)
    manifest, step = export_run(run, workdir, OUTPUT.value, STEP.value, *options)
    for name, described in manifest['inputs'].items():
        print(f'  {name:<24} {described["dtype"]} {described["shape"]}')
    size = Path(OUTPUT.value).stat().st_size / 2**20
    print(f'wrote {OUTPUT.value} ({size:.1f} MiB, step {step}); b is any number of rows')
