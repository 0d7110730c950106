"""Finds people, things, parts and relations in pictures, and draws and writes down what it found.

    python -m experiments.sms.predict --workdir=runs/sms --input=photo.jpg --output=found
    python -m experiments.sms.predict --workdir=runs/sms --input=album --input=more/a.png --output=found

An input is a JPEG, PNG or another picture that Pillow reads, or a folder, whose pictures (not those of
folders in it) are taken by their endings. Of `a.jpg` the output folder takes `a.jpg.png`, the picture with
masks, arrows, parts and scores, and `a.jpg.json`, all of it by name with masks as COCO's run lengths, at the
picture's size. A picture that cannot be read is left out and named at the end. Without --step the checkpoint
with the best validation metric is read.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tqdm
from absl import app, flags

from experiments.building import build, read_config
from experiments.flags import DATA_DIR, MESH, friendly, parse_mesh
from experiments.running import restore_model
from experiments.sms.looking import make_finder, names_of, surest
from jaxrec.data.images.geometry import nearest
from jaxrec.data.images.pixels import PICTURES, read_picture, resize_picture, write_picture
from jaxrec.data.images.scene import Vocabulary
from jaxrec.evaluation.segmentation.drawing import draw, to_json
from jaxrec.evaluation.segmentation.found import Found

WORKDIR = flags.DEFINE_string('workdir', None, 'Of experiments.train.', required=True)
INPUT = flags.DEFINE_multi_string('input', None, 'Picture, or folder of pictures.', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'Folder that takes pictures and JSON.', required=True)
STEP = flags.DEFINE_integer('step', None, 'Which checkpoint; default: the best on validation.')
THRESHOLD = flags.DEFINE_float('threshold', 0.05, 'Least score of what is told.', 0, 1)
LIMIT = flags.DEFINE_integer('limit', 100, 'Most relations of a picture that are told.', lower_bound=1)
DRAWN = flags.DEFINE_integer('drawn', 12, 'Most relations that are drawn.', lower_bound=1)
BATCH_SIZE = flags.DEFINE_integer('batch_size', 4, 'Pictures at a time.', lower_bound=1)
LARGEST = 1024  # longer side of what is drawn; JSON keeps the picture's own size


@friendly
def main(_: list[str]) -> None:
    """Restores, looks at every picture, writes, and says what could not be read."""
    workdir, output = Path(WORKDIR.value), Path(OUTPUT.value)
    files = pictures_of(INPUT.value)
    run = build(read_config(str(workdir / 'config.json')), DATA_DIR.value, parse_mesh(MESH.value))
    names = names_of(run)
    state, step = restore_model(run, workdir, STEP.value)
    find = make_finder(run, state, BATCH_SIZE.value)
    output.mkdir(parents=True, exist_ok=True)
    broken: list[str] = []
    relations = 0
    for start in tqdm.tqdm(range(0, len(files), BATCH_SIZE.value), unit=' batches', disable=None):
        read = read_all(files[start : start + BATCH_SIZE.value], broken)
        looked = find([pixels for _, pixels in read]) if read else []
        for (file, pixels), found in zip(read, looked, strict=True):
            shown = surest(found, THRESHOLD.value, LIMIT.value)
            relations += len(shown.triplets)
            write(output, file, pixels, shown, names)
    for message in broken:
        print(f'left out: {message}', file=sys.stderr)
    if len(broken) == len(files):
        raise ValueError(f'none of {len(files)} pictures can be read: see above')
    seen = len(files) - len(broken)
    print(f'{relations} relations in {seen} pictures by step {step} of {workdir}, {len(broken)} left out')
    print(f'wrote {output}/*.png and *.json')


def pictures_of(inputs: Sequence[str]) -> list[Path]:
    """The pictures that a command line names, in its order and by name within folders.

    Raises:
      ValueError: an input that is not there, a folder without pictures, or two pictures of one name.
    """
    files: list[Path] = []
    for path in map(Path, inputs):
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES)
            if not inside:
                raise ValueError(f'--input={path} is a folder without pictures: they end in {PICTURES}')
            files += inside
        elif path.exists():
            files.append(path)
        else:
            raise ValueError(f'--input={path} does not exist: give a picture or a folder of pictures')
    names = [file.name for file in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f'two inputs are called {twice[0]!r}, and so would be what is written: run them apart'
        )
    return files


def read_all(files: Sequence[Path], broken: list[str]) -> list[tuple[Path, np.ndarray]]:
    """The pictures that can be read; why others cannot is added to `broken`."""
    read = []
    for file in files:
        try:
            read.append((file, read_picture(file)))
        except ValueError as error:
            broken.append(str(error))
    return read


def write(output: Path, file: Path, pixels: np.ndarray, found: Found, names: Vocabulary) -> None:
    """Writes the overlay and the JSON of one picture."""
    told = {**to_json(found, names), 'name': file.name}
    (output / f'{file.name}.json').write_text(json.dumps(told, ensure_ascii=False) + '\n')
    small, shown = smaller(pixels, found)
    write_picture(output / f'{file.name}.png', draw(small, shown, names, DRAWN.value))


def smaller(pixels: np.ndarray, found: Found) -> tuple[np.ndarray, Found]:
    """A picture and what was found in it, its longer side at most `LARGEST`."""
    height, width = pixels.shape[:2]
    if max(height, width) <= LARGEST:
        return pixels, found
    share = LARGEST / max(height, width)
    size = max(1, round(height * share)), max(1, round(width * share))
    rows, columns = nearest(height, size[0])[:, None], nearest(width, size[1])
    masks, parts = found.masks[:, rows, columns], found.parts[rows, columns]
    return resize_picture(pixels, size), Found(**{**vars(found), 'masks': masks, 'parts': parts})


if __name__ == '__main__':
    app.run(main)
