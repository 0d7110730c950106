"""K-means one vector and one cluster at a time, in float64: slow, obvious numpy.

`balanced` is Algorithm 1 of OneRec (arXiv 2502.18965) as it is printed.
"""

import numpy as np


def distance(x, c):
    return sum((float(a) - float(b)) ** 2 for a, b in zip(x, c, strict=True))


def balanced(items, centroids, orders, tolerance=0.0):
    """(codes [V], centroids [K, D], passes made, vectors moved in the last)."""
    items, centroids = np.asarray(items, np.float64), np.array(centroids, np.float64)
    total, clusters = len(items), len(centroids)
    codes, moved, made = [None] * total, total, 0
    for order in orders:
        unassigned, new = set(range(total)), [None] * total
        for k in order:
            quota = total // clusters + (1 if k < total % clusters else 0)
            near = sorted(unassigned, key=lambda i, k=k: (distance(items[i], centroids[k]), i))[:quota]
            for i in near:
                new[i] = int(k)
            centroids[k] = sum(items[i] for i in near) / quota
            unassigned -= set(near)
        assert not unassigned
        moved, made, codes = sum(a != b for a, b in zip(codes, new, strict=True)), made + 1, new
        if moved <= tolerance * total:
            break
    return np.array(codes), centroids, made, moved


def nearest(items, centroids):
    """(codes [V], squared distances [V]); of equal ones the first centroid."""
    table = np.array([[distance(x, c) for c in centroids] for x in items]).reshape(-1, len(centroids))
    return table.argmin(1), table.min(1)


def plain(items, centroids, passes, tolerance=0.0):
    """(codes, centroids, passes made, vectors moved in the last) of Lloyd's algorithm."""
    items, centroids = np.asarray(items, np.float64), np.array(centroids, np.float64)
    codes, made = np.full(len(items), -1), 0
    while True:
        found, apart = nearest(items, centroids)
        moved, made, codes = int((found != codes).sum()), made + 1, found
        farthest = sorted(range(len(items)), key=lambda i: (-apart[i], i))
        for k in range(len(centroids)):
            own = [items[i] for i in range(len(items)) if codes[i] == k]
            centroids[k] = sum(own) / len(own) if own else items[farthest.pop(0)]
        if made == passes or moved <= tolerance * len(items):
            return nearest(items, centroids)[0], centroids, made, moved
