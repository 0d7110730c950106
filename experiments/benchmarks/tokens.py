"""What a pass of balanced k-means costs over vectors in a file that need not fit into memory.

V vectors, D width, K clusters, n vectors that are drawn at a time.
"""

import functools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.vectors.item_vectors import VectorFile
from jaxrec.models.onerec.tokenizing.tokenizer import frequencies
from jaxrec.ops.balanced_kmeans import GROUP, balanced_kmeans_streamed
from jaxrec.ops.kmeans import first_centroids
from jaxrec.parallel.peak_memory import peak_mb
from jaxrec.runs.timing import record

WIDTH, KINDS, PIECE = 256, 2_000, 1 << 16


def write_vectors(path: Path, items: int) -> None:
    """Writes float32 [V, D] to an `.npy` file, piece by piece: kinds of uneven size, and an item's own part."""
    draw = np.random.default_rng(0)
    kinds = draw.standard_normal((KINDS, WIDTH), np.float32)
    share = 1 / np.arange(1, KINDS + 1)
    with path.open('wb') as file:
        header = {'descr': '<f4', 'fortran_order': False, 'shape': (items, WIDTH)}
        np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, items, PIECE):
            size = min(PIECE, items - first)
            kind = draw.choice(KINDS, size, p=share / share.sum())
            file.write((kinds[kind] + draw.standard_normal((size, WIDTH), np.float32)).tobytes())


def run(name: str, items: int, clusters: int, windows: int = 5) -> dict[str, Any]:
    """Time passes over a file below `TMPDIR`, all from the same centroids and with nothing left to compile.

    A step is a pass; `process_rss_mb` is the peak of the whole process, `load` the largest cluster in units of V / K.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'vectors.npy'
        write_vectors(path, items)
        vectors, size = VectorFile(path, check=False), path.stat().st_size
        idle = peak_mb()
        centroids = first_centroids(vectors, clusters, 0)
        one_pass = functools.partial(balanced_kmeans_streamed, passes=1, tolerance=0)
        one_pass(vectors[:PIECE], centroids[:GROUP])  # compiles what a block of any file runs
        seconds = []
        for _ in range(windows):
            start = time.perf_counter()
            found = one_pass(vectors, centroids)
            seconds.append(time.perf_counter() - start)
    words = f'V{items} D{WIDTH} K{clusters} float32 in a file of {size / 2**30:.2f} GiB, one pass'
    load, _, _ = frequencies(found.codes, clusters)
    timed, more = (statistics.median(seconds), seconds), {'process_rss_mb': round(peak_mb()), 'load': round(load, 4)}
    return record(name, words, centroids.size, timed, items, idle, **more)
