"""Role AP of V-COCO, scenarios 1 and 2, of a trained network on a part of its images.

    jaxrec sms roles --workdir=runs/sms_vcoco

Masks are compared at the size of each image; crowds and people without annotations count as in the official script. SMS
gives each action an object, so scenario 1, which asks for none where the true object is not in the image, loses these.
"""

from pathlib import Path

from absl import flags

from jaxrec.cli.flags import ALLOW_CODE, DATA_DIR, MESH, friendly, parse_mesh
from jaxrec.data.sources.splits import PARTS

WORKDIR = flags.DEFINE_string('workdir', None, 'Of `jaxrec train`.', required=True)
PART = flags.DEFINE_enum('part', 'test', list(PARTS), 'Which part of the log.')
STEP = flags.DEFINE_integer('step', None, 'Which checkpoint; default: the best on validation.')


@friendly
def main(_: list[str]) -> None:
    """Restores, looks at every picture of the part, and prints both scenarios."""
    from jaxrec.models.sms.challenge.vcoco import judge_part, to_text
    from jaxrec.models.sms.images.finder import make_finder, names_of, trained_of
    from jaxrec.runs.restore import restore_model
    from jaxrec.runs.run import Run

    workdir = Path(WORKDIR.value)
    run = Run(workdir, DATA_DIR.value, parse_mesh(MESH.value), ALLOW_CODE.value).experiment
    names = names_of(run)
    state, step = restore_model(run, workdir, STEP.value)
    judged = judge_part(run, make_finder(trained_of(run, state), 1), PART.value)
    print(to_text(judged, names))
    print(f'{len(judged)} images of {PART.value} by step {step} of {workdir}')
