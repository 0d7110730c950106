"""Fills the shapes of a stage: every pixel's colour, entity and part, the nearest shape on top.

Colours are kept plane by plane until the end: numpy is slow along an axis of three.

K shapes, T points in all their bounding boxes together, N entities, H, W pixels of an image.
"""

import functools
from typing import NamedTuple

import numpy as np

from jaxrec.data.simulators.scenes.stage import COLUMNS

TILE = 64  # texels a side of a texture, which repeats
FAMILIES = 6  # of textures that each split has beside the plain one
FIELD = {name: place for place, name in enumerate(COLUMNS)}
_SHAPE = slice(FIELD['x'], FIELD['hole'] + 1)


class Picture(NamedTuple):
    """A rendered image."""

    image: np.ndarray  # uint8 [H, W, 3]
    entity: np.ndarray  # int32 [H, W], -1 for the background
    part: np.ndarray  # uint8 [H, W], as in `Scene.parts`
    whole: np.ndarray  # int64 [N], pixels of each entity if nothing occluded it


@functools.cache
def textures(held_out: bool) -> np.ndarray:
    """The texture bank of a split, float32 [1 + FAMILIES, TILE, TILE] in 0..1; row 0 is plain."""
    y, x = np.meshgrid(np.arange(TILE), np.arange(TILE), indexing='ij')
    turn = 2 * np.pi / TILE
    rng = np.random.default_rng(11)
    waves = rng.integers(1, 4, (6, 2)) * rng.choice([-1, 1], (6, 2))
    phases = rng.uniform(0, 2 * np.pi, 6)
    cloud = sum(np.sin(turn * (a * x + b * y) + p) for (a, b), p in zip(waves, phases, strict=True)) / 3
    if not held_out:
        bank = [
            (x // 8) % 2,
            (x // 16 + y // 16) % 2,
            ((x % 16 - 8) ** 2 + (y % 16 - 8) ** 2) < 22,
            cloud > 0.2,
            ((x // 8) % 4 == 0) * 0.5 + ((y // 8) % 4 == 0) * 0.5,
            0.5 + 0.5 * np.sin(turn * y) * np.cos(turn * x),
        ]
    else:
        bank = [
            ((y + np.abs(x % 32 - 16)) // 8) % 2,
            (np.hypot(x % 32 - 16, y % 32 - 16) // 5) % 2,
            ((x + 2 * y) // 8) % 2,
            (y % 16 < 3) | ((x + 16 * ((y // 16) % 2)) % 32 < 3),
            (np.abs(x % 32 - 16) + np.abs(y % 32 - 16)) < 10,
            np.abs(np.sin(turn * 2 * x + 2.5 * cloud)),
        ]
    tiles = np.stack([np.zeros((TILE, TILE)), *bank]).astype(np.float32)
    tiles.flags.writeable = False
    return tiles


@functools.cache
def _noise(size: int) -> np.ndarray:
    """Normal noise that scenes cut from a place of their own, float32 [3, size + TILE, size + TILE]."""
    return np.random.default_rng(12).normal(size=(3, size + TILE, size + TILE)).astype(np.float32)


def fill(
    rows: list[tuple[float, ...]], count: int, backdrop: np.ndarray, held_out: bool, noise: float, shift: int
) -> Picture:
    """Fills shapes over a backdrop, the nearest on top.

    Args:
      rows: K shapes, see `stage`; an entity of -1 is scenery.
      count: N.
      backdrop: float32 [3, H, W], 0..255.
      held_out: chooses the texture bank.
      noise: standard deviation of the pixels' noise.
      shift: where the noise is cut from, 0..TILE * TILE - 1.
    """
    size = backdrop.shape[1]
    table = np.asarray(rows, np.float32)
    table = table[np.argsort(table[:, FIELD['depth']], kind='stable')]
    shape, pixel, u, v, rim = _cover(table, size)
    entity_of = table[:, FIELD['entity']].astype(np.int64)

    whole = np.zeros((count + 1) * size * size, bool)
    whole[(entity_of % (count + 1) * size * size)[shape] + pixel] = True  # scenery falls into the last row
    top = np.full(size * size, -1)
    top[pixel] = np.arange(len(pixel))  # of a pixel's points the last, the nearest, stays
    seen = np.flatnonzero(top >= 0)
    winner = top[seen]
    shapes = shape[winner]

    image = backdrop.copy()
    colours = _colour(table, shapes, u[winner], v[winner], rim[winner], held_out)
    for plane, colour in zip(image.reshape(3, -1), colours, strict=True):
        plane[seen] = colour
    down, right = divmod(shift, TILE)
    image += noise * _noise(size)[:, down : down + size, right : right + size]
    entity, part = np.full(size * size, -1, np.int32), np.zeros(size * size, np.uint8)
    entity[seen] = entity_of[shapes]
    part[seen] = table[:, FIELD['part']].astype(np.uint8)[shapes]
    return Picture(
        np.stack(list(np.clip(image, 0, 255).astype(np.uint8)), axis=-1),
        entity.reshape(size, size),
        part.reshape(size, size),
        whole.reshape(count + 1, -1)[:count].sum(1),
    )


def _cover(table: np.ndarray, size: int) -> tuple[np.ndarray, ...]:
    """The points that shapes cover: their shape, pixel, place (u, v) in it, and how near its rim (0..1)."""
    x, y, cosine, sine, straight, end, side, taper = table[:, : FIELD['taper'] + 1].T
    reach = straight + end
    thick = side + np.abs(taper) * reach
    wide, high = np.abs(cosine) * reach + np.abs(sine) * thick, np.abs(sine) * reach + np.abs(cosine) * thick
    left, right = (np.clip(np.floor(x + s * wide) + (s > 0), 0, size).astype(np.int32) for s in (-1, 1))
    upper, lower = (np.clip(np.floor(y + s * high) + (s > 0), 0, size).astype(np.int32) for s in (-1, 1))
    width = np.maximum(right - left, 0)
    area = width * np.maximum(lower - upper, 0)

    start = np.cumsum(area) - area
    spread = lambda values: np.repeat(values.astype(np.int32), area)  # to the points of each shape
    place, across = np.arange(area.sum(), dtype=np.int32) - spread(start), spread(width)
    row = place // across
    column = place - row * across + spread(left)
    row += spread(upper)
    x, y, cosine, sine, straight, end, side, taper, square, hole = np.repeat(table[:, _SHAPE].T, area, axis=1)
    dx, dy = column + np.float32(0.5) - x, row + np.float32(0.5) - y
    u, v = dx * cosine + dy * sine, dy * cosine - dx * sine
    q = np.maximum(np.abs(u) - straight, 0) / np.maximum(end, 1e-3)
    w = np.abs(v) / np.maximum(side + taper * u, 1e-3)
    rim = np.where(square > 0, np.maximum(q, w), np.sqrt(q * q + w * w))
    inside = np.flatnonzero((rim <= 1) & (rim >= hole))
    shape = np.repeat(np.arange(len(table)), area)[inside]
    pixel = (row * size + column)[inside].astype(np.int64)  # numpy takes by no other kind as fast
    return shape, pixel, u[inside], v[inside], rim[inside]


def _colour(
    table: np.ndarray, shapes: np.ndarray, u: np.ndarray, v: np.ndarray, rim: np.ndarray, held_out: bool
) -> np.ndarray:
    """float32 [3, n]: textures follow the shape they lie on, and rims are darker than middles."""
    columns = table[:, FIELD['zoom'] :].T[:, shapes]
    zoom, colours, family, pitch, shade = columns[0], columns[1:7], columns[7], columns[8], columns[9]
    texel = pitch / np.maximum(zoom, 1e-3)
    across, along = (np.floor(axis * texel).astype(np.int32) & (TILE - 1) for axis in (v, u))
    mix = textures(held_out)[family.astype(np.int32), along, across]
    light = 1 - shade * rim**3
    return (colours[:3] + (colours[3:] - colours[:3]) * mix) * light


def paint_backdrop(
    size: int, horizon: float, colours: np.ndarray, families: tuple[int, int], pitch: float, held_out: bool
) -> np.ndarray:
    """Paints a wall or sky above the horizon and a floor below it: float32 [3, size, size].

    Args:
      size, horizon: of the image, and from its top, in pixels.
      colours: float32 [4, 3], two of the wall and two of the floor.
      families: of the textures of the wall and the floor.
      pitch: texels a pixel.
      held_out: chooses the texture bank.
    """
    bank = textures(held_out)
    row, column = np.arange(size), np.arange(size)
    across = np.floor(column * pitch).astype(np.int32) & (TILE - 1)
    along = np.floor(row * pitch).astype(np.int32) & (TILE - 1)
    below = row >= horizon
    mix = np.empty((size, size), np.float32)
    for family, rows in zip(families, (~below, below), strict=True):
        mix[rows] = bank[family][along[rows]][:, across]
    # The floor is a little lighter than the wall behind.
    light = np.linspace(0.9, 1.1, size, dtype=np.float32)
    first, second = (
        np.where(below, colours[2 + k, :, None], colours[k, :, None]).astype(np.float32) * light for k in (0, 1)
    )  # [3, size]
    return first[:, :, None] + (second - first)[:, :, None] * mix
