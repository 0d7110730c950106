"""Semantic IDs that others made, read for a log's items, and what there is to know of them.

V items, L levels, K codes of a level.
"""

import logging
from typing import Any

import numpy as np

from jaxrec.data.logs.log import Log
from jaxrec.models.onerec.tokenizing.published_ids import parse_ids, read_ids
from jaxrec.models.onerec.tokenizing.tokenizer import collisions, frequencies
from jaxrec.models.onerec.tokenizing.vectors import column_texts, find_places

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
        raise ValueError(f'column = {column!r} and file = {file!r}: name either a column of the log or a file of IDs')
    names = log.vocabulary('item').keys.tolist()
    if column:
        return parse_ids(column_texts(log, column), names, f'column {column!r} of {log.folder}')
    found = read_ids(file)
    places, notes = find_places(log, list(found), file)
    for note in notes:
        logger.warning('%s', note)
    texts = list(found.values())
    return parse_ids([texts[place] for place in places], names, file)


def measure_codes(codes: np.ndarray) -> dict[str, Any]:
    """What there is to know of IDs whose vectors are not known.

    Args:
      codes: int [V, L].

    Returns:
      {'levels': of each level `load`, `utilisation`, `entropy`, `collision_rate` and `largest_group`, as
      `LevelReport` has them, those of the last level being the IDs' own; 'clusters', 'distinct', 'sharing'}.
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
    sharing = int(counts[counts > 1].sum())
    return {'levels': levels, 'clusters': clusters, 'distinct': len(counts), 'sharing': sharing}


def code_loads(codes: np.ndarray, clusters: int) -> list[list[int]]:
    """How many items have each code of each level, the fullest first.

    Args:
      codes: int [V, L].
      clusters: K.

    Returns:
      L lists of K.
    """
    return [np.sort(np.bincount(level, minlength=clusters))[::-1].tolist() for level in codes.T]
