"""Heatmaps by their definitions: slow, obvious, one cell at a time, float64."""

import math

import numpy as np


def gaussian_radius(height, width, overlap=0.7):
    height, width = math.ceil(height), math.ceil(width)
    b1, c1 = height + width, width * height * (1 - overlap) / (1 + overlap)
    r1 = (b1 + math.sqrt(b1**2 - 4 * c1)) / 2
    b2, c2 = 2 * (height + width), (1 - overlap) * width * height
    r2 = (b2 + math.sqrt(b2**2 - 16 * c2)) / 2
    a3, b3, c3 = 4 * overlap, -2 * overlap * (height + width), (overlap - 1) * width * height
    r3 = (b3 + math.sqrt(b3**2 - 4 * a3 * c3)) / 2
    return max(0, int(min(r1, r2, r3)))


def gaussian_maps(cell, radius, category, valid, size, classes):
    found = np.zeros((len(cell), *size, classes))
    for b in range(len(cell)):
        for n in range(cell.shape[1]):
            if not valid[b, n]:
                continue
            row, column, r = *cell[b, n], radius[b, n]
            sigma = (2 * r + 1) / 6
            for i in range(size[0]):
                for j in range(size[1]):
                    if abs(i - row) <= r and abs(j - column) <= r:
                        value = math.exp(-((i - row) ** 2 + (j - column) ** 2) / (2 * sigma**2))
                        at = b, i, j, category[b, n]
                        found[at] = max(found[at], value)
    return found


def focal_loss(logits, target, weight, clamp=None):
    target, weight = target.astype(np.float64), weight.astype(np.float64)
    total, points = 0.0, 0.0
    for at in np.ndindex(logits.shape):
        p = 1 / (1 + math.exp(-logits[at]))
        if clamp:
            p = min(max(p, clamp), 1 - clamp)
        if target[at] == 1:
            total -= weight[at[0]] * math.log(p) * (1 - p) ** 2
            points += weight[at[0]]
        else:
            total -= weight[at[0]] * math.log(1 - p) * p**2 * (1 - target[at]) ** 4
    return total / points if points else total


def find_peaks(logits, keep):
    """[(probability, row, column, class)] of one image, best first, in the order of places."""
    height, width, classes = logits.shape
    found = []
    for i in range(height):
        for j in range(width):
            for c in range(classes):
                around = logits[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2, c]
                if logits[i, j, c] >= around.max():
                    found.append((logits[i, j, c], i, j, c))
    found.sort(key=lambda x: -x[0])
    return [(1 / (1 + math.exp(-x)), *rest) for x, *rest in found[:keep]]


def highest_near(logits, cell, category, taken):
    """The cells (row, column) of one image's points; of equal ones the point's own."""
    height, width, _ = logits.shape
    found = []
    for (row, column), c in zip(cell.tolist(), category.tolist(), strict=True):
        best = row, column
        for i in range(max(row - 1, 0), min(row + 2, height)):
            for j in range(max(column - 1, 0), min(column + 2, width)):
                if (i, j) != (row, column) and not taken[i, j, c] and logits[i, j, c] > logits[*best, c]:
                    best = i, j
        found.append(best)
    return found
