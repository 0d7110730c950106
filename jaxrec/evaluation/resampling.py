"""Random numbers that belong to a visit: the same whoever draws them, in whatever order and batch.

So a bootstrap over parts of a log merges to the bootstrap over all of it, and a resumed run draws what an unbroken one
would have drawn.

n visits, R replicates.
"""

import math

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LEVELS = 1 << 16
_KEYS = 4  # 16-bit numbers in a word


_CUMULATIVE = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(16)])
# The count of mean 1 that each of 2^16 equally likely numbers stands for, uint8 [2^16].
_POISSON = np.searchsorted(_CUMULATIVE * _LEVELS, np.arange(_LEVELS) + 0.5).astype(np.uint8)


def _mix(x: NDArray) -> NDArray:
    """The finaliser of splitmix64: uint64 [...] -> uint64 [...]."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _words(rows: NDArray, seed: int, stream: int) -> NDArray:
    start = _mix(np.asarray([seed & 0xFFFFFFFFFFFFFFFF, stream], np.uint64) + _GOLDEN)
    key = start[:1] ^ (start[1:] * _GOLDEN)  # arrays wrap where scalars would warn
    return _mix(_mix(np.asarray(rows, np.int64).view(np.uint64) + _GOLDEN) ^ key)


def uniforms(rows: NDArray, seed: int, stream: int = 0) -> NDArray:
    """Draws one number of each visit of the log, uniform in [0, 1), float64 [n]; `stream` separates purposes."""
    return (_words(rows, seed, stream) >> np.uint64(11)) * 2.0**-53


def poisson_counts(rows: NDArray, replicates: int, seed: int) -> NDArray:
    """Draws how often each visit of the log occurs in each replicate of a Poisson bootstrap, uint8 [n, R].

    Each probability is that of a Poisson of mean 1 to within 2^-16.
    """
    streams = np.arange(-(-replicates // _KEYS), dtype=np.uint64) * _GOLDEN
    words = _mix(_words(rows, seed, 1)[:, None] + streams)  # [n, ceil(R / 4)]
    numbers = words.astype('<u8').view('<u2')
    return _POISSON[numbers[:, :replicates]]
