"""Checks a folder of annotated images before training, and draws its annotations.

    jaxrec sms check --input=album
    jaxrec sms check --input=album --output=runs/album_drawn --images=20

The folder is in the format of `jaxrec.data.images.records`. Every file is read, and every problem is reported by file
and place; the exit status is then 2. Names are counted, so that a rare class or relation is seen before training. The
first sound images are drawn with all entities, relations and acting parts: this shows swapped left and right hands.
"""

import functools
import sys
from pathlib import Path

from absl import flags

from jaxrec.cli.flags import friendly

INPUT = flags.DEFINE_string('input', None, 'Folder of images and annotations.json.', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'Folder that takes pictures; none are drawn without it.')
IMAGES = flags.DEFINE_integer('images', 20, 'How many are drawn, the first by number.', lower_bound=1)
MENDING = 'mend them, or leave these images out of training by --config.data.arguments.broken=skip'


@friendly
def main(_: list[str]) -> None:
    """Reads all, draws some, and says what was found."""
    import numpy as np
    import tqdm

    from jaxrec.data.images.records import ImageFolder, check_folder
    from jaxrec.models.sms.checks import advice, summary
    from jaxrec.models.sms.images.drawing import show_folder

    if OUTPUT.value and Path(OUTPUT.value).resolve().is_relative_to(Path(INPUT.value).resolve()):
        raise ValueError(f'--output={OUTPUT.value} lies in the folder that is read: give another')
    bar = functools.partial(tqdm.tqdm, unit=' images', disable=not sys.stderr.isatty(), dynamic_ncols=True)
    found = check_folder(INPUT.value, bar)
    print('\n'.join(found.problems), file=sys.stderr, end='\n' if found.problems else '')
    print(summary(found))
    if OUTPUT.value:
        sound = np.setdiff1d(np.arange(found.counts['images']), found.broken)[: IMAGES.value]
        show_folder(ImageFolder(INPUT.value), sound.tolist(), Path(OUTPUT.value))
        print(f'wrote {OUTPUT.value}/*.png: {len(sound)} images with what is said of them')
    if found.problems:
        raise ValueError(
            f'{len(found.problems)} problems in {len(found.broken)} of {found.counts["images"]} images of '
            f'{INPUT.value}, see above: {MENDING}'
        )
    print('\n'.join(advice(found, INPUT.value)))
