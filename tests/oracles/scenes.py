"""Slow and obvious: shapes filled pixel by pixel, and targets counted cell by cell."""

import math
from collections import Counter

import numpy as np

from jaxrec.data.images.scene import UNKNOWN_PART, Scene


def covers(shape: dict[str, float], x: float, y: float) -> bool:
    """Whether a shape of a stage covers a point of the picture."""
    dx, dy = x - shape['x'], y - shape['y']
    u, v = dx * shape['cosine'] + dy * shape['sine'], dy * shape['cosine'] - dx * shape['sine']
    q = max(abs(u) - shape['straight'], 0) / max(shape['end'], 1e-3)
    w = abs(v) / max(shape['side'] + shape['taper'] * u, 1e-3)
    rim = max(q, w) if shape['square'] else math.hypot(q, w)
    return shape['hole'] <= rim <= 1


def fill(shapes: list[dict[str, float]], count: int, size: int):
    """Entity and part of every pixel, and each whole entity's pixels; of equal depths the later is on top."""
    entity, part = np.full((size, size), -1), np.zeros((size, size), int)
    whole = [set() for _ in range(count)]
    for row in range(size):
        for column in range(size):
            nearest = -math.inf
            for shape in shapes:
                if covers(shape, column + 0.5, row + 0.5):
                    if shape['entity'] >= 0:
                        whole[int(shape['entity'])].add((row, column))
                    if shape['depth'] >= nearest:
                        nearest = shape['depth']
                        entity[row, column], part[row, column] = shape['entity'], shape['part']
    return entity, part, [len(pixels) for pixels in whole]


def entity_targets(scene: Scene, entity: int, stride: int, centre: str):
    """Centre, size and small mask of one entity."""
    pixels = np.argwhere(scene.masks[entity]).tolist()
    rows, columns = [r for r, _ in pixels], [c for _, c in pixels]
    top, bottom, left, right = min(rows), max(rows) + 1, min(columns), max(columns) + 1
    if centre in ('mass', 'inside'):
        middle = sum(r + 0.5 for r in rows) / len(rows), sum(c + 0.5 for c in columns) / len(columns)
        if centre == 'inside':
            middle = inside(pixels, middle, stride)
    else:
        middle = (top + bottom) / 2, (left + right) / 2
    height, width = scene.image.shape[0] // stride, scene.image.shape[1] // stride
    covered = np.zeros((height, width), int)
    for row, column in pixels:
        covered[row // stride, column // stride] += 1
    mask = covered >= stride * stride / 2
    if not mask.any():
        mask = covered == covered.max()
    box = (bottom - top) / stride, (right - left) / stride
    return (middle[0] / stride, middle[1] / stride), box, mask


def inside(pixels, middle, stride):
    """The middle, if half of its cell is the entity's; else the mean of its pixels in the nearest such."""
    cells = {}
    for row, column in pixels:
        cells.setdefault((row // stride, column // stride), []).append((row + 0.5, column + 0.5))
    wanted = min(stride * stride / 2, max(map(len, cells.values())))
    if len(cells.get((int(middle[0] // stride), int(middle[1] // stride)), [])) >= wanted:
        return middle
    away = lambda cell: sum((stride * (at + 0.5) - to) ** 2 for at, to in zip(cell, middle, strict=True))
    own = cells[min(sorted(cell for cell, held in cells.items() if len(held) >= wanted), key=away)]
    return sum(r for r, _ in own) / len(own), sum(c for _, c in own) / len(own)


def part_cells(parts: np.ndarray, stride: int) -> np.ndarray:
    """The commonest part of each cell; of equal ones the lowest number, unknown last of all."""
    height, width = parts.shape[0] // stride, parts.shape[1] // stride
    cells = np.zeros((height, width), int)
    for row in range(height):
        for column in range(width):
            block = parts[row * stride : (row + 1) * stride, column * stride : (column + 1) * stride]
            votes = Counter(block.ravel().tolist())
            cells[row, column] = min(votes, key=lambda number: (-votes[number], number))
    assert UNKNOWN_PART > parts[parts != UNKNOWN_PART].max(initial=0)
    return cells
