"""Finds people, things, parts and relations in images; draws them and writes them as JSON.

    jaxrec sms predict --workdir=runs/sms --input=photo.jpg --output=found
    jaxrec sms predict --workdir=runs/sms --input=album --input=more/a.png --output=found
    jaxrec sms predict --network=network.npz --input=album --output=found

An input is a JPEG, PNG or another image that Pillow reads, or a folder, whose images (not those of its subfolders) are
chosen by their endings. Of `a.jpg` the output folder gets `a.jpg.png`, the image with masks, arrows, parts and scores,
and `a.jpg.json`, the same by name with masks as COCO's run lengths, at the image's size. Unreadable images are skipped
and reported. Without --step the best checkpoint on validation is read; a workdir needs the images of its training, the
file of `jaxrec sms export` does not.
"""

import sys
from pathlib import Path

from absl import flags

from jaxrec.cli.flags import ALLOW_CODE, DATA_DIR, MESH, friendly, parse_mesh
from jaxrec.models.sms.images.album import DEFAULT
from jaxrec.models.sms.images.finder import Trained

WORKDIR = flags.DEFINE_string('workdir', None, 'Of `jaxrec train`.')
NETWORK = flags.DEFINE_string('network', None, 'File of `jaxrec sms export`, in place of a workdir.')
INPUT = flags.DEFINE_multi_string('input', None, 'Picture, or folder of pictures.', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'Folder that takes pictures and JSON.', required=True)
STEP = flags.DEFINE_integer('step', None, 'Which checkpoint; default: the best on validation.')
THRESHOLD = flags.DEFINE_float('threshold', DEFAULT.threshold, 'Least score of what is told.', 0, 1)
LIMIT = flags.DEFINE_integer('limit', DEFAULT.limit, 'Most relations that are told.', lower_bound=1)
DRAWN = flags.DEFINE_integer('drawn', DEFAULT.drawn, 'Most relations that are drawn.', lower_bound=1)
BATCH_SIZE = flags.DEFINE_integer('batch_size', 4, 'Pictures at a time.', lower_bound=1)


flags.mark_flags_as_mutual_exclusive(('workdir', 'network'), required=True)


@friendly
def main(_: list[str]) -> None:
    """Restores, looks at every picture, writes, and says what could not be read."""
    from jaxrec.models.sms.images.album import Limits, apart_from, look, pictures_of
    from jaxrec.models.sms.images.finder import make_finder, surest

    output, files = Path(OUTPUT.value), pictures_of(INPUT.value)
    apart_from(output, files)
    trained, origin = restored()
    limits = Limits(THRESHOLD.value, LIMIT.value, DRAWN.value)
    sure = lambda found: surest(found, limits.threshold, limits.limit)
    find = make_finder(trained, BATCH_SIZE.value, sure)
    looked = look(find, files, output, trained.names, limits, BATCH_SIZE.value)
    for message in looked.broken:
        print(f'left out: {message}', file=sys.stderr)
    if not looked.pictures:
        raise ValueError(f'none of {len(files)} pictures can be read: see above')
    print(f'{looked.relations} relations in {looked.pictures} pictures by {origin}')
    if looked.broken:
        print(f'{len(looked.broken)} pictures left out: see above')
    print(f'wrote {output}/*.png and *.json')


def restored() -> tuple[Trained, str]:
    """The network that the flags name, and where it is from."""
    from jaxrec.models.sms.images.finder import names_of, read_trained, trained_of
    from jaxrec.parallel import make_mesh
    from jaxrec.runs.restore import restore_model
    from jaxrec.runs.run import Run

    mesh = parse_mesh(MESH.value)
    if NETWORK.value:
        if STEP.value is not None:
            raise ValueError(f'--step={STEP.value} is of a workdir: {NETWORK.value} holds one step, leave it out')
        return read_trained(NETWORK.value, make_mesh(mesh)), NETWORK.value
    assert WORKDIR.value, 'one of the two flags is given, as their own check has seen'
    workdir = Path(WORKDIR.value)
    run = Run(workdir, DATA_DIR.value, mesh, ALLOW_CODE.value).experiment
    names_of(run)  # refuses other runs before anything is read
    state, step = restore_model(run, workdir, STEP.value)
    return trained_of(run, state), f'step {step} of {workdir}'
