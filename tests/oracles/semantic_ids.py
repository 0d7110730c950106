"""Residual codes, collision groups and their reports, one item at a time: slow, obvious Python."""

import math
from collections import Counter

import numpy as np

from tests.oracles.kmeans import distance


def encode(vectors, centroids):
    """[V][L]: s_l = argmin ||r - c||^2, r = r - c of it."""
    codes = []
    for vector in np.asarray(vectors, np.float64):
        rest, own = vector.copy(), []
        for level in np.asarray(centroids, np.float64):
            own.append(min(range(len(level)), key=lambda k, r=rest, c=level: (distance(r, c[k]), k)))
            rest = rest - level[own[-1]]
        codes.append(own)
    return np.array(codes).reshape(-1, len(centroids))


def ranks(codes):
    """How many items before each have its codes."""
    seen, found = Counter(), []
    for row in map(tuple, codes):
        found.append(seen[row])
        seen[row] += 1
    return found


def groups(codes):
    """{codes: items}."""
    found = {}
    for item, row in enumerate(map(tuple, codes)):
        found.setdefault(row, []).append(item)
    return found


def reports(vectors, centroids, codes, other):
    """One dict a level."""
    found, clusters = [], len(centroids[0])
    for upto in range(1, len(centroids) + 1):
        errors = []
        for vector, row in zip(vectors, codes, strict=True):
            rest = np.asarray(vector, np.float64) - sum(
                np.asarray(centroids[level][row[level]], np.float64) for level in range(upto)
            )
            errors += [x * x for x in rest]
        counts = Counter(row[upto - 1] for row in codes)
        size = groups([row[:upto] for row in codes])
        same = [tuple(a[:upto]) == tuple(b[:upto]) for a, b in zip(codes, other, strict=True)]
        found.append({
            'mse': sum(errors) / len(errors),
            'load': max(counts.values()) / (len(codes) / clusters),
            'utilisation': len(counts) / clusters,
            'entropy': -sum(n / len(codes) * math.log(n / len(codes)) for n in counts.values()),
            'collision_rate': 1 - len(size) / len(codes),
            'largest_group': max(map(len, size.values())),
            'agreement': sum(same) / len(same),
        })  # fmt: skip
    return found
