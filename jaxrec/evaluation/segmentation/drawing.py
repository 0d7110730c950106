"""Images and JSON of the ground truth or the predictions of an image.

An image shows each entity in a colour of its own, an arrow from the subject to the object of each relation with its
name, score and parts, and in full colour those pixels of a subject that are of a part that takes part.
"""

import colorsys
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxrec.data.images.pixels import pillow, rle_encode
from jaxrec.data.images.scene import UNKNOWN_PART, Scene, Vocabulary
from jaxrec.evaluation.segmentation.found import NOTHING, Found

_TINT, _HIGHLIGHT = (0.45, 0.85)  # how much of an entity's colour covers its pixels, and those of its acting parts
_GOLDEN = 0.618034  # hues this far apart stay apart, however many
Point = tuple[float, float]  # x, y in the zoomed picture
_INK, _PAPER = (255, 255, 255), (20, 20, 20)


def draw(
    image: NDArray,
    shown: Scene | Found,
    vocabulary: Vocabulary,
    limit: int = 12,
    threshold: float = 0.0,
    zoom: int | None = None,
) -> NDArray:
    """Draws entities, relations and acting parts over an image: uint8 [z H, z W, 3], z the zoom.

    Args:
      image: uint8 [H, W, 3].
      shown: the ground truth or predictions, of the image's size; a ValueError refuses another.
      vocabulary: of their numbers.
      limit: the most relations drawn, the best scored first; only entities that they join are named.
      threshold: the least score of a relation that is drawn.
      zoom: how many pixels a pixel of the image becomes; by default the shorter side becomes 480, the longer at most
        1,920.
    """
    if image.shape[:2] != shown.parts.shape:
        raise ValueError(f'an image of {image.shape[:2]} and masks of {shown.parts.shape}: draw both at one size')
    triplets, scores, parts = _relations(shown)
    chosen = [n for n in np.argsort(-scores, kind='stable') if scores[n] >= threshold][:limit]
    least, most = (max(1, pick(image.shape[:2])) for pick in (min, max))
    zoom = zoom or max(1, min(math.ceil(480 / least), 1920 // most))
    pen = _Pen(_tinted(image, shown, triplets[chosen], parts[chosen]).repeat(zoom, 0).repeat(zoom, 1))
    centres = [_centre(mask, zoom) for mask in shown.masks]
    said: dict[tuple[int, int], list[str]] = {}  # relations of one pair share an arrow
    for n in chosen:
        names = [vocabulary.parts[p] for p in np.flatnonzero(parts[n])]
        label = vocabulary.relations[triplets[n, 2]] + (f' ({", ".join(names)})' if names else '')
        label += f' {scores[n]:.2f}' if isinstance(shown, Found) else ''
        said.setdefault((int(triplets[n, 0]), int(triplets[n, 1])), []).append(label)
    curves = {(s, t): pen.arrow(centres[s], None if t == NOTHING else centres[t], _colour(s)) for s, t in said}
    for row in sorted({row for pair in said for row in pair if row != NOTHING}):
        score = f' {shown.scores[row]:.2f}' if isinstance(shown, Found) else ''
        pen.label(centres[row], f'{row} {vocabulary.entities[shown.categories[row]]}{score}', _colour(row))
    for (subject, target), labels in said.items():
        pen.label(curves[subject, target], '\n'.join(labels), _colour(subject))
    return np.array(pen.picture)


def side_by_side(pictures: Sequence[NDArray], titles: Sequence[str]) -> NDArray:
    """Puts images uint8 [H, W, 3] of one height side by side, each under its title."""
    pil = pillow()
    height, gap = pictures[0].shape[0], 6
    line = max(18, height // 20)
    width = sum(picture.shape[1] for picture in pictures) + gap * (len(pictures) - 1)
    sheet = pil.Image.new('RGB', (width, height + line), _PAPER)
    pen, font, left = pil.ImageDraw.Draw(sheet), pil.ImageFont.load_default(line * 2 // 3), 0
    for picture, title in zip(pictures, titles, strict=True):
        sheet.paste(pil.Image.fromarray(picture), (left, line))
        pen.text((left + 4, line // 8), title, _INK, font)
        left += picture.shape[1] + gap
    return np.array(sheet)


def to_json(shown: Scene | Found, vocabulary: Vocabulary, limit: int | None = None) -> dict[str, Any]:
    """Names the ground truth or predictions, with masks as COCO's run lengths; `limit` keeps the best relations.

    Returns JSON values: `name`, `height`, `width`; `entities`, each with `category`, `mask` and, of predictions,
    `score`; `relations`, by falling score, each with `subject` and `object` (places among the entities, null for no
    object), `relation`, `parts`, `part_mask` (the subject's pixels of these parts) and, of predictions, `score`;
    `parts`, {name: mask} of those there.
    """
    entities: list[dict[str, Any]] = []
    for row, category in enumerate(shown.categories.tolist()):
        entity = {'category': vocabulary.entities[category], 'mask': rle_encode(shown.masks[row])}
        entities.append(entity | ({'score': round(float(shown.scores[row]), 4)} if isinstance(shown, Found) else {}))
    triplets, scores, parts = _relations(shown)
    relations: list[dict[str, Any]] = []
    for n in np.argsort(-scores, kind='stable')[:limit]:
        subject, target, relation = triplets[n].tolist()
        written = {
            'subject': subject,
            'object': None if target == NOTHING else target,
            'relation': vocabulary.relations[relation],
            'parts': [vocabulary.parts[p] for p in np.flatnonzero(parts[n])],
        }
        if written['parts']:
            taking = np.isin(shown.parts, np.flatnonzero(parts[n]) + 1)
            written['part_mask'] = rle_encode(shown.masks[subject] & taking)
        relations.append(written | ({'score': round(float(scores[n]), 4)} if isinstance(shown, Found) else {}))
    there = [p for p in range(len(vocabulary.parts)) if (shown.parts == p + 1).any()]
    height, width = shown.parts.shape
    return {
        'name': shown.name,
        'height': height,
        'width': width,
        'entities': entities,
        'relations': relations,
        'parts': {vocabulary.parts[p]: rle_encode(shown.parts == p + 1) for p in there},
    }


def _colour(row: int) -> tuple[int, int, int]:
    """The colour of an entity, by its place."""
    red, green, blue = colorsys.hsv_to_rgb(row * _GOLDEN % 1, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _relations(shown: Scene | Found) -> tuple[NDArray, NDArray, NDArray]:
    """Triplets [T, 3], scores [T] (1 of what is true) and parts [T, P]."""
    if isinstance(shown, Found):
        return shown.triplets, shown.triplet_scores, shown.triplet_parts
    return shown.relations, np.ones(len(shown.relations), np.float32), shown.relation_parts


def _tinted(image: NDArray, shown: Scene | Found, triplets: NDArray, parts: NDArray) -> NDArray:
    """The image with entities in their colours, their edges and acting parts stronger."""
    pixels = image.astype(np.float32)
    strength = np.zeros((len(shown.masks), *shown.parts.shape), np.float32)
    strength[shown.masks] = _TINT
    for (subject, _, _), acting in zip(triplets.tolist(), parts, strict=True):
        numbers = np.flatnonzero(acting) + 1
        there = shown.masks[subject] & np.isin(shown.parts, numbers) & (shown.parts != UNKNOWN_PART)
        strength[subject][there] = _HIGHLIGHT
    for row in np.argsort(-shown.masks.sum((1, 2)), kind='stable'):  # small ones over large ones
        mask = shown.masks[row]
        inner = mask.copy()
        for axis in (0, 1):
            for step in (1, -1):
                inner &= np.roll(mask, step, axis)
        strength[row][mask & ~inner] = np.maximum(strength[row][mask & ~inner], 0.8)
        share = strength[row][..., None]
        pixels = (1 - share) * pixels + share * np.array(_colour(int(row)), np.float32)
    return pixels.round().astype(np.uint8)


def _centre(mask: NDArray, zoom: int) -> Point | None:
    """(x, y) of the mass centre in the zoomed picture, None of an empty mask."""
    rows, columns = np.nonzero(mask)
    return (float((columns.mean() + 0.5) * zoom), float((rows.mean() + 0.5) * zoom)) if len(rows) else None


class _Pen:
    """Draws arrows and labels on a picture; labels keep off each other where there is room."""

    def __init__(self, pixels: NDArray):
        pil = pillow()
        self.picture = pil.Image.fromarray(pixels)
        self._draw = pil.ImageDraw.Draw(self.picture)
        self._font = pil.ImageFont.load_default(max(11, min(pixels.shape[:2]) // 34))
        self._taken: list[tuple[float, float, float, float]] = []

    def arrow(self, start: Point | None, stop: Point | None, colour: tuple[int, int, int]) -> Point | None:
        """Draws a bent arrow; returns its label's place: its middle, its start if endless, None without a start."""
        if start is None or stop is None:
            return start
        a, c = np.array(start), np.array(stop)
        aside = (c - a)[::-1] * np.array([1, -1])  # to the left of its direction: one back bends the other way
        t = np.linspace(0, 1, 17)[:, None]
        curve = (1 - t) ** 2 * a + 2 * t * (1 - t) * ((a + c) / 2 + 0.18 * aside) + t**2 * c
        for width, ink in ((5, _PAPER), (3, colour)):
            self._draw.line(curve.ravel().tolist(), ink, width, joint='curve')
        angle = math.atan2(*(c - curve[-3])[::-1])
        head = min(14.0, max(7.0, float(np.hypot(*(c - a))) / 6))
        tips = [tuple(c - head * np.array([math.cos(angle + s), math.sin(angle + s)])) for s in (0.45, -0.45)]
        self._draw.polygon([tuple(c), *tips], colour, _PAPER)
        return float(curve[8, 0]), float(curve[8, 1])

    def label(self, place: Point | None, text: str, colour: tuple[int, int, int]) -> None:
        """Writes on a dark plate around a point, inside the picture, lower where another label is."""
        if place is None:
            return
        box = self._draw.multiline_textbbox((0, 0), text, self._font)
        width, height = box[2] - box[0], box[3] - box[1]
        x = min(max(place[0] - width / 2, 3), max(self.picture.width - width - 3, 3))
        y = min(max(place[1] - height / 2, 3), max(self.picture.height - height - 3, 3))
        plate = lambda down: (x - 3, y + down - 2, x + width + 3, y + down + height + 3)
        room = max(0, int(self.picture.height - height - 4 - y))
        free = (down for down in range(0, room, 3) if not any(_touch(plate(down), t) for t in self._taken))
        down = next(free, 0)
        self._taken.append(plate(down))
        self._draw.rectangle(plate(down), _PAPER, colour)
        self._draw.multiline_text((x - box[0], y + down - box[1]), text, _INK, self._font)


def _touch(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether two plates (left, top, right, bottom) share a point."""
    return all(first[i] <= second[i + 2] and second[i] <= first[i + 2] for i in (0, 1))
