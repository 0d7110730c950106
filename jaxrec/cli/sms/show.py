"""Draws the predictions of a trained network for the first scenes of a part, and their ground truth.

    jaxrec sms show --workdir=runs/sms --output=runs/sms/pictures --images=20

The ground truth is on the left; on the right are as many of the best predictions as there are true relations. The title
says how many of these are completely right: classes, both masks at an IoU of .5 and parts.
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
