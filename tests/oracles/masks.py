"""Grids, dynamic masks and matching by their definitions: slow, obvious loops in float64."""

import itertools
import math

import numpy as np


def neighbourhood_max(x, stride):
    rows, columns = range(0, x.shape[1], stride), range(0, x.shape[2], stride)
    return np.stack(
        [np.stack([x[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].max((1, 2)) for j in columns], 1) for i in rows],
        1,
    )


def enlarge_by_kernel(x, kernel):
    """Every input cell lays its kernel over the output."""
    factor = kernel.shape[0] // 2
    batch, height, width, channels = x.shape
    whole = np.zeros((batch, (height + 1) * factor, (width + 1) * factor, channels))
    for i in range(height):
        for j in range(width):
            rows = slice(i * factor, (i + 2) * factor)
            whole[:, rows, j * factor : (j + 2) * factor] += x[:, i, j][:, None, None] * kernel
    half = factor // 2
    return whole[:, half : half + height * factor, half : half + width * factor]


def enlarge_bilinear(x, factor, aligned=False):
    """Of one map: output cell i reads at (i + 1/2) / f - 1/2, or (i - f // 2) / f, held inside the map."""
    place = lambda i: (i - factor // 2) / factor if aligned else (i + 0.5) / factor - 0.5
    height, width = x.shape
    found = np.zeros((height * factor, width * factor))
    for i in range(height * factor):
        for j in range(width * factor):
            a, b = min(max(place(i), 0), height - 1), min(max(place(j), 0), width - 1)
            i0, j0 = int(a), int(b)
            i1, j1 = min(i0 + 1, height - 1), min(j0 + 1, width - 1)
            s, t = a - i0, b - j0
            top = x[i0, j0] * (1 - t) + x[i0, j1] * t
            found[i, j] = top * (1 - s) + (x[i1, j0] * (1 - t) + x[i1, j1] * t) * s
    return found


def dynamic_mask(features, emitted, cell, divisor, channels, layers, stride):
    """Of one entity, place by place; before it is enlarged."""
    height, width, number = features.shape
    widths = [number + 2, *[channels] * (layers - 1), 1]
    matrices, biases, at = [], [], 0
    for into, out in itertools.pairwise(widths):
        matrices.append(emitted[at : at + into * out].reshape(out, into))
        at += into * out
    for out in widths[1:]:
        biases.append(emitted[at : at + out])
        at += out
    assert at == len(emitted)
    found = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            place = np.array([i, j]) * stride + (stride - 1) / 2
            x = np.concatenate([(cell - place) / divisor, features[i, j]])
            for layer in range(layers):
                x = matrices[layer] @ x + biases[layer]
                if layer < layers - 1:
                    x = np.maximum(x, 0)
            found[i, j] = x[0]
    return found


def dice_loss(logits, target):
    x = 1 / (1 + np.exp(-logits))
    return 1 - 2 * (x * target).sum() / ((x**2).sum() + (target**2).sum() + 1e-5)


def match(wanted, centre, score, allowed):
    """Of one image: for each wanted place the entity that fits best, or None."""
    found = []
    for place, may in zip(wanted, allowed, strict=True):
        best, which = 0.0, None
        for k in range(len(centre)):
            dy, dx = abs(place[0] - centre[k][0]), abs(place[1] - centre[k][1])
            fit = 1 / (dx + 1) * 1 / (dy + 1) * score[k]
            if may[k] and fit > best:
                best, which = fit, k
        found.append(which)
    return found


def part_cross_entropy(logits, part, weight, ignore=255):
    total, pixels = 0.0, 0.0
    for b, i, j in np.ndindex(part.shape):
        if part[b, i, j] != ignore and weight[b]:
            x = logits[b, i, j]
            total += math.log(np.exp(x).sum()) - x[part[b, i, j]]
            pixels += 1
    return total / max(pixels, 1)


def gradient(function, x, step=1e-5):
    """Central differences of a number that depends on one array."""
    slope = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[at] += step
        down[at] -= step
        slope[at] = (function(up) - function(down)) / (2 * step)
    return slope
