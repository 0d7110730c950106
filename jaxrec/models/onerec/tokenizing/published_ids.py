"""Semantic IDs that others made: read from texts such as `<a_183> <b_70> <c_232>` or `183 70 232`.

V items, L levels, K codes of a level.
"""

import csv
import io
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.logs.log import Log
from jaxrec.data.readers.files import PACKINGS, open_file
from jaxrec.models.onerec.tokenizing.tokenizer import collisions, frequencies
from jaxrec.models.onerec.tokenizing.vectors import column_texts, find_places

logger = logging.getLogger(__name__)
_TOKEN = re.compile(r'<([a-z])_(\d+)>')
MOST = 1 << 20  # codes of a level; a network has a vector for each, and a report counts each
_REMEDY = 'give a CSV file with item and codes, or JSON {item: codes}'


def parse_ids(texts: Sequence[str], names: Sequence[Any], where: str) -> np.ndarray:
    """Reads IDs int32 [V, L] from texts, one an item; `names` and `where` are the items' and the source's in messages.

    A text has codes separated by spaces, each a number or a number in a token `<a_1>`, whose letter is that of its
    level.

    Raises:
      ValueError: naming the first text that is none, has another number of levels than the first, or a code beyond all
        codebooks.
    """
    rows: list[list[int | None]] = []
    for name, text in zip(names, texts, strict=True):
        tokens = text.split()
        found = [_code(token, level) for level, token in enumerate(tokens)]
        if not tokens or None in found:
            raise ValueError(
                f'{where}: {text!r} of item {name!r} is no semantic ID: give codes as <a_183> <b_70> or '
                '183 70, a letter for each level in its order'
            )
        if largest := [code for code in found if code is not None and code >= MOST]:
            raise ValueError(
                f'{where}: item {name!r} has the code {largest[0]}, and levels have {MOST} codes at most: '
                'number those of each level from 0'
            )
        if len(found) != len(rows[0] if rows else found):
            raise ValueError(
                f'{where}: {text!r} of item {name!r} has {len(found)} levels and that of item '
                f'{names[0]!r} {len(rows[0])}: all need the same number'
            )
        rows.append(found)
    if not rows:
        raise ValueError(f'{where}: there are no semantic IDs: give one for each item')
    return np.asarray(rows, np.int32)


def _code(token: str, level: int) -> int | None:
    if token.isdecimal():
        return int(token)
    found = _TOKEN.fullmatch(token)
    return int(found.group(2)) if found and ord(found.group(1)) - ord('a') == level else None


def read_ids(path: str | Path) -> dict[str, str]:
    """Reads a file of IDs: {name of an item: its ID as text}, for `parse_ids`.

    It is `.csv` with the columns item and codes, or `.json` {item: list of codes or text}, also packed as `.gz` or
    `.zip`.

    Raises:
      ValueError: a file that cannot be read or names an item twice.
    """
    path = Path(path)
    kind = Path(path.stem).suffix if path.suffix in PACKINGS else path.suffix
    if kind not in ('.csv', '.json'):
        raise ValueError(f'{path}: semantic IDs are read from .csv and .json files, plain, as .gz or as .zip')
    try:
        with open_file(path, _REMEDY) as file:
            text = file.read().decode('utf-8-sig')
    except OSError as error:
        raise ValueError(f'{path} cannot be read ({error}): {_REMEDY}') from None
    try:
        if kind == '.csv':
            pairs = [(row['item'], row['codes']) for row in csv.DictReader(io.StringIO(text, newline=''))]
        else:
            pairs = json.loads(text, object_pairs_hook=list)
        rows = [(str(item), codes if isinstance(codes, str) else ' '.join(map(str, codes))) for item, codes in pairs]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f'{path} cannot be read ({error}): {_REMEDY}') from None
    found: dict[str, str] = {}
    for item, codes in rows:
        if item in found:
            raise ValueError(f'{path} names item {item!r} twice: keep one of its IDs')
        found[item] = codes
    return found


def given_codes(log: Log, column: str = '', file: str = '') -> np.ndarray:
    """Reads the IDs of a log's items, int32 [V, L], from a column or a file; a ValueError as `make_ids`."""
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
    """Measures IDs, int [V, L], whose vectors are not known.

    Returns:
      {'levels': of each level `load`, `utilisation`, `entropy`, `collision_rate` and `largest_group` of `LevelReport`,
      the last level's being the IDs' own; 'clusters', 'distinct', 'sharing'}.
    """
    clusters = int(codes.max()) + 1
    levels = []
    for level in range(codes.shape[1]):
        found = (*frequencies(codes[:, level], clusters), *collisions(codes[:, : level + 1], clusters))
        names = ('load', 'utilisation', 'entropy', 'collision_rate', 'largest_group')
        levels.append(dict(zip(names, found, strict=True)))
    _, counts = np.unique(codes, axis=0, return_counts=True)
    sharing = int(counts[counts > 1].sum())
    return {'levels': levels, 'clusters': clusters, 'distinct': len(counts), 'sharing': sharing}


def code_loads(codes: np.ndarray, clusters: int) -> list[list[int]]:
    """L lists of K: how many items have each code of each level, descending."""
    return [np.sort(np.bincount(level, minlength=clusters))[::-1].tolist() for level in codes.T]
