"""Writes the scorer of a trained model to one file that needs no code of the model.

    jaxrec export --workdir=runs/mine --output=runs/mine/scorer.jaxexport

`jaxrec.training.export.load_scorer` reads it; see there for what it holds. By default the tables lie beside
the program in the file as its arguments, and any number of rows can be scored at once.
"""

from pathlib import Path

from absl import app, flags

from jaxrec.cli.flags import DATA_DIR, friendly
from jaxrec.options import plain
from jaxrec.runs.build import build, read_config
from jaxrec.runs.fit import restore_model
from jaxrec.training.export import export_scorer

WORKDIR = flags.DEFINE_string('workdir', None, 'Of jaxrec.cli.train.', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'Takes the scorer.', required=True)
STEP = flags.DEFINE_integer('step', None, 'Which checkpoint; default: the best on validation.')
TABLES = flags.DEFINE_enum(
    'tables', 'arguments', ['arguments', 'baked'], 'Weights beside the program, or constants of it.'
)
BATCH_SIZE = flags.DEFINE_integer('batch_size', None, 'A fixed number of rows; default: any.')
PLATFORMS = flags.DEFINE_list('platforms', None, 'Such as cpu,cuda,tpu; default: the one at hand.')


@friendly
def main(_: list[str]) -> None:
    """Restores and exports."""
    workdir = Path(WORKDIR.value)
    run = build(read_config(str(workdir / 'config.json')), DATA_DIR.value, (1, 1))
    source = run.source('train', shuffle=True)
    state, step = restore_model(run, workdir, STEP.value, source)
    about = {
        'step': step,
        'features': plain(run.config.features),
        'label': plain(run.data['label']),
        'history_length': run.data.get('history_length', 0),
        'lifelong': plain(run.data.get('lifelong')),
        'time_gap': plain(run.data.get('time_gap')),
        'log': run.log.manifest['fingerprint'],
    }
    manifest = export_scorer(
        OUTPUT.value,
        run.setup,
        state,
        run.source('train')[0],  # as requests are: of whole histories where training read samples
        bake=TABLES.value == 'baked',
        batch_size=BATCH_SIZE.value,
        platforms=PLATFORMS.value,
        about=about,
    )
    for name, described in manifest['inputs'].items():
        print(f'  {name:<24} {described["dtype"]} {described["shape"]}')
    size = Path(OUTPUT.value).stat().st_size / 2**20
    print(f'wrote {OUTPUT.value} ({size:.1f} MiB, step {step}); b is any number of rows')


if __name__ == '__main__':
    app.run(main)
