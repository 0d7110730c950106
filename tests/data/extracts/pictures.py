"""Pictures as cameras leave them."""

import pathlib

from PIL import Image

ORIENTATION = 0x0112


def save_turned(path: pathlib.Path, size: tuple[int, int], orientation: int = 6) -> None:
    """Saves a black picture of (width, height) that is to be turned; 6 is a quarter clockwise."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.new('RGB', size).save(path, exif=exif)
