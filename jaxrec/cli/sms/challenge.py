"""The metric of the Person in Context challenge of a trained network, by the challenge's own files.

    jaxrec sms challenge --workdir=runs/sms_challenge --output=runs/sms_challenge/files

Writes what the challenge takes, `relations.json`, `instance/` and `semantic/`, at the size of each image, and evaluates
these files as its script does. `jaxrec evaluate` prints the same metric of padded images at the network's size and of
masks that may overlap: it is for choosing a step, this for comparing with others. Classes and relations that the
network does not know are missed: one that was trained by configs/sms/pic.py:SMS knows no geometric relation, which are
half of the metric, and one by configs/sms/pic.py:SMS,challenge all of them.
"""

from pathlib import Path

from absl import flags

from jaxrec.cli.flags import ALLOW_CODE, DATA_DIR, MESH, friendly, parse_mesh

WORKDIR = flags.DEFINE_string('workdir', None, 'Of `jaxrec train`.', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'Folder that takes the files.', required=True)
SPLIT = flags.DEFINE_enum('split', 'val', ['train', 'val'], 'Of the set.')
SKIP = flags.DEFINE_multi_string(
    'skip', [], 'Further images that the script leaves out, by name without ending; three of its 19 are known.'
)
STEP = flags.DEFINE_integer('step', None, 'Which checkpoint; default: the best on validation.')


@friendly
def main(_: list[str]) -> None:
    """Restores, looks at every picture, writes, judges what was written, and prints."""
    from jaxrec.evaluation.segmentation.challenge_files import write_predictions
    from jaxrec.models.sms.challenge.pic import find_all, judge_files, open_split, to_text
    from jaxrec.models.sms.images.finder import make_finder, names_of, surest, trained_of
    from jaxrec.runs.restore import restore_model
    from jaxrec.runs.run import Run

    workdir = Path(WORKDIR.value)
    run = Run(workdir, DATA_DIR.value, parse_mesh(MESH.value), ALLOW_CODE.value).experiment
    names_of(run)
    split = open_split(run, SPLIT.value, SKIP.value)
    state, step = restore_model(run, workdir, STEP.value)
    find = make_finder(trained_of(run, state), 1, lambda found: surest(found, 0.0, len(found.triplets)))
    images = find_all(split.pictures, find)
    written = write_predictions(OUTPUT.value, images, split.pictures)
    print(to_text(judge_files(split.truth, written), split.truth.vocabulary))
    print(f'{len(split.pictures)} images of {SPLIT.value} by step {step} of {workdir}')
    for reason, count in split.truth.dropped.items():
        print(f'  left out: {count} {reason}')
    print(f'wrote {written.relations}, {written.instance}/*.png and {written.semantic}/*.png')
