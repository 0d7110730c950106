"""Files of pixels: images of size H x W, masks as PNGs of numbers or as COCO's run lengths."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.files import needs_room

PICTURES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')
logger = logging.getLogger(__name__)
_ORIENTATION = 0x0112  # EXIF


def pillow() -> Any:
    """Returns the package `PIL` with the modules used here, which nothing but images needs."""
    import PIL
    import PIL.Image
    import PIL.ImageDraw
    import PIL.ImageEnhance
    import PIL.ImageFont
    import PIL.ImageOps

    return PIL


def read_picture(path: str | Path) -> np.ndarray:
    """Reads a JPEG, PNG or other image as uint8 [H, W, 3], RGB; grey, palette, CMYK and transparent ones are converted.

    An image that a camera marked as turned is turned upright; where the mark cannot be read, it stays as stored, with a
    warning in the log.

    Raises:
      ValueError: the file is absent, truncated or no image, or has more than 8 bits a channel.
    """
    picture = _open(path)
    if picture.mode.startswith(('I', 'F')):
        raise ValueError(f'{path} has more than 8 bits a channel (mode {picture.mode}): save it with 8 bits a channel')
    try:
        picture = pillow().ImageOps.exif_transpose(picture)
    except Exception as error:  # Pillow raises whatever the bytes of a damaged tag lead it to
        logger.warning('%s is not turned upright: its EXIF is damaged (%r)', path, error)
    return np.array(picture.convert('RGB'))


def is_turned(path: str | Path) -> bool:
    """Whether a camera marked a picture as turned or mirrored, so that `read_picture` changes how it lies."""
    try:
        with pillow().Image.open(path) as picture:
            return picture.getexif().get(_ORIENTATION, 1) in range(2, 9)
    except Exception:  # as in `read_picture`, which says what is wrong
        return False


def how_it_lies(path: str | Path) -> str:
    """What a message about a picture's size adds where `read_picture` has turned it; '' elsewhere."""
    return ' once it stands upright' if is_turned(path) else ''


def read_numbers(path: str | Path) -> np.ndarray:
    """Reads a PNG of one number a pixel as int32 [H, W]: grey of 1, 2, 4, 8 or 16 bits, or palette indices.

    Raises:
      ValueError: the file is absent, truncated, no image, or in colours.
    """
    picture = _open(path)
    if picture.mode not in ('1', 'L', 'P', 'I', 'I;16', 'I;16B'):
        raise ValueError(
            f'{path} is in colours (mode {picture.mode}), but its pixels are to be numbers: save it in grey '
            'or with a palette, as PNG'
        )
    if picture.format == 'JPEG':
        raise ValueError(f'{path} is a JPEG, which changes numbers: save it as PNG')
    numbers, factor = np.array(picture).astype(np.int32), _stretched(path) if picture.format == 'PNG' else 1
    return numbers // factor if factor > 1 else numbers


def _stretched(path: str | Path) -> int:
    """By how much Pillow has multiplied a PNG's numbers: grey of 2 or 4 bits it spreads over 0 to 255."""
    with Path(path).open('rb') as file:
        depth, colour = file.read(26)[24:]  # of the header, which has its place
    return 255 // (2**depth - 1) if colour == 0 and depth in (2, 4) else 1


def _open(path: str | Path) -> Any:
    """A decoded picture."""
    image = pillow().Image
    try:
        with image.open(path) as picture:
            picture.load()
            return picture
    except FileNotFoundError:
        raise ValueError(f'{path} is missing: put the file there or take its entry out') from None
    except image.DecompressionBombError as error:
        raise ValueError(f'{path} has too many pixels ({error}): make the picture smaller') from None
    except Exception as error:  # Pillow raises whatever the bytes of a damaged file lead it to
        raise ValueError(f'{path} cannot be read ({error}): it is truncated or no picture; save it again') from None


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Writes a picture uint8 [H, W, 3], or numbers [H, W] as grey of 8 bits or, above 255, of 16."""
    if pixels.ndim == 2:
        pixels = pixels.astype(np.uint16 if pixels.size and pixels.max() > 255 else np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with needs_room(path):
        pillow().Image.fromarray(pixels).save(path)


def resize_picture(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes uint8 [H, W, 3] to uint8 [*size, 3]: bilinear, averaging where it gets smaller."""
    if pixels.shape[:2] == size:
        return pixels
    image = pillow().Image
    picture = image.fromarray(np.ascontiguousarray(pixels))
    return np.array(picture.resize((size[1], size[0]), image.Resampling.BILINEAR))


def rle_encode(mask: np.ndarray) -> dict[str, Any]:
    """Encodes bool [H, W] as COCO's compressed run lengths, {'size': [H, W], 'counts': text}, which JSON keeps."""
    from pycocotools import mask as masks

    run = masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {'size': [int(side) for side in run['size']], 'counts': run['counts'].decode('ascii')}


def rle_decode(run: Any, size: Sequence[int], where: str) -> np.ndarray:
    """Decodes COCO's run lengths, {'size': [H, W], 'counts': text or list}, to bool [H, W]; `size` is the image's.

    Raises:
      ValueError: naming `where`: it is anything else, or a mask of another size than the image's.
    """
    if not isinstance(run, dict) or set(run) != {'size', 'counts'}:
        raise ValueError(f'{where} is no run-length mask: write {{"size": [height, width], "counts": ...}}')
    if not isinstance(run['size'], list | tuple):
        raise ValueError(f'{where} has the size {run["size"]!r}: write [height, width]')
    if list(run['size']) != list(size):
        raise ValueError(f'{where} is a mask of {run["size"]}, but the picture is {list(size)}: draw it anew')
    height, width = size
    try:
        if not isinstance(run['counts'], list | str):
            raise ValueError(f'{run["counts"]!r} is neither a text nor a list')
        counts = run['counts'] if isinstance(run['counts'], list) else _counts(run['counts'])
        if wrong := [count for count in counts if type(count) is not int]:
            raise ValueError(f'{wrong[0]!r} is no whole number')
        if sum(counts) != height * width or min(counts) < 0:
            raise ValueError(f'they add up to {sum(counts)}, not to {height * width} pixels')
        # Runs alternate between outside and inside, column after column.
        flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f'{where}: the counts cannot be read ({error}): encode the mask again') from None
    return np.ascontiguousarray(flat.reshape(width, height).T)


def _counts(text: str) -> list[int]:
    """Run lengths of COCO's text: six bits a character, from the fourth on added to the last but one."""
    runs: list[int] = []
    place = 0
    while place < len(text):
        value = shift = 0
        more = True
        while more:
            bits = ord(text[place]) - 48
            if not 0 <= bits < 64:
                raise ValueError(f'character {place} is {text[place]!r}')
            value |= (bits & 31) << (5 * shift)
            more = bool(bits & 32)
            place, shift = place + 1, shift + 1
            if not more and bits & 16:
                value |= -1 << (5 * shift)
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs
