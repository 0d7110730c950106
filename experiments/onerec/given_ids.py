"""Semantic IDs that others made, read for a log's items, and what there is to know of them.

V items, L levels.
"""

import logging
from typing import Any

import numpy as np

from experiments.onerec.vectors import as_keys, column_texts
from jaxrec.data.log import Log
from jaxrec.data.vocabulary import FIRST
from jaxrec.models.onerec.published_ids import parse_ids, read_ids
from jaxrec.models.onerec.tokenizer import collisions, frequencies

logger = logging.getLogger(__name__)


def given_codes(log: Log, column: str = '', file: str = '') -> np.ndarray:
    """Reads the IDs of a log's items.

    Args:
      log: the log.
      column, file: as of `make_ids`.

    Returns:
      int32 [V, L].

    Raises:
      ValueError: as `make_ids`.
    """
    if bool(column) == bool(file):
        raise ValueError(
            f'column = {column!r} and file = {file!r}: name either a column of the log or a file of IDs'
        )
    if column:
        return parse_ids(column_texts(log, column), f'column {column!r} of {log.folder}')
    found = read_ids(file)
    ids = log.vocabulary('item').encode(as_keys(log, list(found), file))
    texts = dict(zip(ids.tolist(), found.values(), strict=True))
    if more := int((ids < FIRST).sum()):
        logger.warning('left out: %d items of %s that are not in %s', more, file, log.folder)
    count = log.schema['item'].rows - FIRST
    wanted = range(FIRST, FIRST + count)
    if lacking := [item for item in wanted if item not in texts]:
        name = log.vocabulary('item').keys[lacking[0] - FIRST].item()
        raise ValueError(
            f'{file} has no ID for item {name!r} of {log.folder} ({len(lacking)} of {count} have none): '
            'every item needs one'
        )
    return parse_ids([texts[item] for item in wanted], file)


def measure_codes(codes: np.ndarray) -> dict[str, Any]:
    """What there is to know of IDs whose vectors are not known.

    Args:
      codes: int [V, L].

    Returns:
      {'levels': of each level `load`, `utilisation`, `entropy`, `collision_rate` and `largest_group`, as
      `LevelReport` has them; 'clusters', 'distinct', 'collision_rate', 'sharing', 'largest_group'}.
    """
    clusters = int(codes.max()) + 1
    levels = []
    for level in range(codes.shape[1]):
        load, utilisation, entropy = frequencies(codes[:, level], clusters)
        rate, largest = collisions(codes[:, : level + 1], clusters)
        levels.append(
            {
                'load': load,
                'utilisation': utilisation,
                'entropy': entropy,
                'collision_rate': rate,
                'largest_group': largest,
            }
        )
    _, counts = np.unique(codes, axis=0, return_counts=True)
    return {
        'levels': levels,
        'clusters': clusters,
        'distinct': len(counts),
        'collision_rate': 1 - len(counts) / len(codes),
        'sharing': int(counts[counts > 1].sum()),
        'largest_group': int(counts.max()),
    }
