"""A user's own images: listed from the inputs, predicted, and written."""

import dataclasses
import errno
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tqdm

from jaxrec.data.images.geometry import resize_nearest
from jaxrec.data.images.pixels import PICTURES, read_picture, resize_picture, write_picture
from jaxrec.data.images.scene import Vocabulary
from jaxrec.evaluation.segmentation.drawing import draw, to_json
from jaxrec.evaluation.segmentation.found import Found
from jaxrec.files import replace_text
from jaxrec.models.sms.images.finder import Finder, surest


class Limits(NamedTuple):
    """How much of the predictions is written.

    Attributes:
      threshold: the least score.
      limit, drawn: the most relations of an image in its JSON, and in its drawing.
      largest: the longer side of the drawing in pixels, at most; JSON keeps the image's own size.
    """

    threshold: float = 0.05
    limit: int = 100
    drawn: int = 12
    largest: int = 1024


DEFAULT = Limits()


class Looked(NamedTuple):
    """Counts of images and written relations, and why each of the broken ones was left out."""

    pictures: int
    relations: int
    broken: list[str]


def look(
    find: Finder, files: Sequence[Path], output: Path, names: Vocabulary, limits: Limits = DEFAULT, batch_size: int = 4
) -> Looked:
    """Predicts every image and writes `<name>.png` and `<name>.json` of each to `output`; returns the counts.

    Args:
      find: of a network.
      files: the images.
      output: a folder, created if absent.
      names: of the network.
      limits: of what is written.
      batch_size: images at a time.
    """
    output.mkdir(parents=True, exist_ok=True)
    broken: list[str] = []
    relations = 0
    starts = range(0, len(files), batch_size)
    for start in tqdm.tqdm(starts, unit=' batches', disable=not sys.stderr.isatty(), dynamic_ncols=True):
        read = read_all(files[start : start + batch_size], broken)
        looked = find([pixels for _, pixels in read]) if read else []
        for (file, pixels), found in zip(read, looked, strict=True):
            shown = surest(found, limits.threshold, limits.limit)
            try:
                write(output, file.name, pixels, shown, names, limits)
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                broken.append(f'{file}: its name is too long for what is written beside it: shorten it')
                continue
            relations += len(shown.triplets)
    return Looked(len(files) - len(broken), relations, broken)


def pictures_of(inputs: Sequence[str]) -> list[Path]:
    """The images that a command line names, in its order and by name within folders.

    Raises:
      ValueError: an absent input, a folder without images, or two images of one name.
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
        raise ValueError(f'two inputs are called {twice[0]!r}, and so would be what is written: run them one by one')
    return files


def apart_from(output: Path, files: Sequence[Path]) -> None:
    """Raises a ValueError if the output is a folder of inputs: the next run would read overlays as images."""
    if among := [file for file in files if file.parent.resolve() == output.resolve()]:
        raise ValueError(f'--output={output} holds {among[0].name}, which is read: give another folder')


def read_all(files: Sequence[Path], broken: list[str]) -> list[tuple[Path, np.ndarray]]:
    """The pictures that can be read; why others cannot is added to `broken`."""
    read = []
    for file in files:
        try:
            read.append((file, read_picture(file)))
        except ValueError as error:
            broken.append(str(error))
    return read


def write(output: Path, name: str, pixels: np.ndarray, found: Found, names: Vocabulary, limits: Limits) -> None:
    """Writes the overlay and the JSON of one picture."""
    as_text = name.encode('utf-8', 'backslashreplace').decode()  # a name may be bytes that are no text
    told = {**to_json(found, names), 'name': as_text}
    replace_text(output / f'{name}.json', json.dumps(told, ensure_ascii=False) + '\n')
    small, shown = smaller(pixels, found, limits.largest)
    write_picture(output / f'{name}.png', draw(small, shown, names, limits.drawn))


def smaller(pixels: np.ndarray, found: Found, largest: int) -> tuple[np.ndarray, Found]:
    """A picture [H, W, 3] and what was found in it, its longer side at most `largest`."""
    height, width = pixels.shape[:2]
    if max(height, width) <= largest:
        return pixels, found
    share = largest / max(height, width)
    size = max(1, round(height * share)), max(1, round(width * share))
    masks, parts = (resize_nearest(maps, size) for maps in (found.masks, found.parts))
    return resize_picture(pixels, size), dataclasses.replace(found, masks=masks, parts=parts)
