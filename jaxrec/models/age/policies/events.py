"""Requests and events as the batches that models read.

A request is a pool of candidates for a user: `side/column` features, and `pool` bool [B, C]. An event adds `shown`
int32 [B], `click` float32 [B], `valid` [B], and where a call repeats events `seen` bool [B]. All are host arrays of a
fixed B, padded by requests without a pool and events that are not valid.

B requests, C candidates.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

PER_CANDIDATE = ('candidate/', 'cartesian/', 'kept/')
NO_FEATURES = ('pool', 'shown', 'click', 'valid', 'label', 'propensity', 'seen')

Arrays = Mapping[str, Any]


def as_batch(requests: Arrays) -> dict[str, np.ndarray]:
    """Returns the batch that scores whole pools: features, `valid` float32 [B, C], the pool, and a `label` of zeros."""
    pool = np.asarray(_read(requests, 'pool')).astype(np.float32)
    return {**_features(requests), 'valid': pool, 'label': np.zeros_like(pool)}


def shown_pairs(events: Arrays) -> dict[str, np.ndarray]:
    """The batch that learns: what was shown and whether it was clicked, without events that are not valid.

    Args:
      events: {key: [B, ...]} with `pool`, `shown`, `click`, and `valid` where some do not count.

    Returns:
      {key: [n, ...]} with one candidate each, `label` and `valid` float32 [n, 1].

    Raises:
      ValueError: an absent key, a shown candidate outside its pool, or a click that is not 0 or 1.
    """
    pool, shown, click = (np.asarray(_read(events, key)) for key in ('pool', 'shown', 'click'))
    valid = np.asarray(events['valid']) > 0 if 'valid' in events else np.ones(len(shown), bool)
    at = np.flatnonzero(valid)
    shown, click = shown[at].astype(np.int64), click[at].astype(np.float32)
    inside = (shown >= 0) & (shown < pool.shape[1])
    inside[inside] = pool[at[inside], shown[inside]] > 0
    if not inside.all():
        bad = at[~inside][0]
        raise ValueError(
            f'event {bad} shows candidate {int(np.asarray(events["shown"])[bad])}, which is not in its pool '
            f'of {int((pool[bad] > 0).sum())}: `shown` is a position in `pool`, correct it or mark the event '
            'invalid'
        )
    if strange := np.flatnonzero((click != 0) & (click != 1)).tolist():
        raise ValueError(
            f'event {at[strange[0]]} has click {click[strange[0]]}: clicks are 0 or 1, mark events without '
            'feedback invalid'
        )
    pick = lambda key, x: x[at, shown][:, None] if key.startswith(PER_CANDIDATE) else x[at]
    features = {key: pick(key, x) for key, x in _features(events).items()}
    features.pop('explorable', None)
    return {**features, 'label': click[:, None], 'valid': np.ones((len(at), 1), np.float32)}


def unseen(events: Arrays) -> Arrays:
    """Marks the events that an earlier call was given, where `seen` says so, as not valid."""
    if 'seen' not in events:
        return events
    fresh = ~np.asarray(events['seen'], bool)
    valid = np.asarray(events.get('valid', fresh)).reshape(fresh.shape) > 0
    return {**events, 'valid': fresh & valid}


def fresh_pairs(events: Arrays) -> np.ndarray:
    """Returns which of `shown_pairs(events)` no earlier call was given, bool [n]."""
    count = len(np.asarray(events['shown']))
    seen = np.asarray(events.get('seen', np.zeros(count)), bool)
    valid = np.asarray(events.get('valid', np.ones(count))).reshape(count) > 0
    return ~seen[valid]


def parts(pairs: Arrays, size: int) -> Iterator[dict[str, np.ndarray]]:
    """Cuts pairs {key: [n, ...]} into batches of `size`, the last one padded with pairs that are not valid."""
    count = len(pairs['valid'])
    for start in range(0, count, size):
        part = {key: x[start : start + size] for key, x in pairs.items()}
        extra = size - len(part['valid'])
        yield {k: np.concatenate([x, np.zeros((extra, *x.shape[1:]), x.dtype)]) for k, x in part.items()}


def _features(arrays: Arrays) -> dict[str, np.ndarray]:
    """What models read; keys under 'host/' stay there."""
    is_feature = lambda key: key not in NO_FEATURES and not key.startswith('host/')
    return {key: np.asarray(x) for key, x in arrays.items() if is_feature(key)}


def _read(arrays: Arrays, key: str) -> Any:
    if key not in arrays:
        raise ValueError(
            f'the batch lacks {key!r}; it has {sorted(arrays)}. Requests have `pool`, events also `shown` and `click`'
        )
    return arrays[key]
