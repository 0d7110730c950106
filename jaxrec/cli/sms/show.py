"""Draws what a trained network finds in the first scenes of a part beside what is true of them.

    jaxrec sms show --workdir=runs/sms --output=runs/sms/pictures --images=20

Each picture has the truth on the left and, on the right, as many of the best predictions as there are true
relations; its title says how many of these are wholly right: classes, both masks at an IoU of .5 and parts.
"""

from pathlib import Path

from absl import app, flags

from jaxrec.cli.flags import DATA_DIR, MESH, friendly, parse_mesh
from jaxrec.models.sms.images.drawing import show
from jaxrec.models.sms.images.finder import make_finder, names_of, trained_of
from jaxrec.runs.build import build, read_config
from jaxrec.runs.fit import restore_model

WORKDIR = flags.DEFINE_string('workdir', None, 'Of jaxrec.cli.train.', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'Folder that takes the pictures.', required=True)
PART = flags.DEFINE_enum('part', 'test', ['train', 'validation', 'test'], 'Which part of the log.')
IMAGES = flags.DEFINE_integer('images', 20, 'How many, the first by index.', lower_bound=1)
STEP = flags.DEFINE_integer('step', None, 'Which checkpoint; default: the best on validation.')


@friendly
def main(_: list[str]) -> None:
    """Restores, draws, and says how much is right."""
    workdir, output = Path(WORKDIR.value), Path(OUTPUT.value)
    run = build(read_config(str(workdir / 'config.json')), DATA_DIR.value, parse_mesh(MESH.value))
    names_of(run)
    state, step = restore_model(run, workdir, STEP.value)
    told = show(run, make_finder(trained_of(run, state), 1), PART.value, IMAGES.value, output)
    print('\n'.join(told))
    print(f'by step {step} of {workdir}')
    print(f'wrote {output}/*.png: the truth on the left, what was found on the right')


if __name__ == '__main__':
    app.run(main)
