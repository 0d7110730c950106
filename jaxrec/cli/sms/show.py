"""Draws what a trained network finds in the first scenes of a part beside what is true of them.

    jaxrec sms show --workdir=runs/sms --output=runs/sms/pictures --images=20

Each picture has the truth on the left and, on the right, as many of the best predictions as there are true
relations; its title says how many of these are wholly right: classes, both masks at an IoU of .5 and parts.
"""

from pathlib import Path

from absl import flags

from jaxrec.cli.flags import ALLOW_CODE, DATA_DIR, MESH, friendly, parse_mesh

WORKDIR = flags.DEFINE_string('workdir', None, 'Of `jaxrec train`.', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'Folder that takes the pictures.', required=True)
PART = flags.DEFINE_enum('part', 'test', ['train', 'validation', 'test'], 'Which part of the log.')
IMAGES = flags.DEFINE_integer('images', 20, 'How many, the first by index.', lower_bound=1)
STEP = flags.DEFINE_integer('step', None, 'Which checkpoint; default: the best on validation.')


@friendly
def main(_: list[str]) -> None:
    """Restores, draws, and says how much is right."""
    from jaxrec.models.sms.images.drawing import show_part
    from jaxrec.runs.run import Run

    workdir, output = Path(WORKDIR.value), Path(OUTPUT.value)
    run = Run(workdir, DATA_DIR.value, parse_mesh(MESH.value), ALLOW_CODE.value).experiment
    print(show_part(run, workdir, output, PART.value, IMAGES.value, STEP.value))
