"""Semantic IDs that others made: read from texts such as `<a_183> <b_70> <c_232>` or `183 70 232`.

V items, L levels, K codes of a level.
"""

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.readers.files import PACKINGS, open_file

_TOKEN = re.compile(r'<([a-z])_(\d+)>')
MOST = 1 << 20  # codes of a level; a network has a vector for each, and a report counts each
_REMEDY = 'give a CSV file with item and codes, or JSON {item: codes}'


def parse_ids(texts: Sequence[str], names: Sequence[Any], where: str) -> np.ndarray:
    """Reads IDs, a text an item.

    Args:
      texts: V of them: codes separated by spaces, each a number or a number in a token `<a_1>`, whose letter
        is that of its level.
      names: V of them, what messages call the items.
      where: what messages call the place that they are from.

    Returns:
      int32 [V, L].

    Raises:
      ValueError: naming the first text that is none, has another number of levels than the first, or a code
        beyond all codebooks.
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
    """Reads a file of IDs.

    Args:
      path: `.csv` with the columns item and codes, or `.json` {item: list of codes or text}; either may be
        packed as `.gz` or `.zip`.

    Returns:
      {name of an item: its ID as text}, for `parse_ids`.

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
        pairs = _pairs_of_csv(text) if kind == '.csv' else json.loads(text, object_pairs_hook=list)
        rows = [(str(item), codes if isinstance(codes, str) else ' '.join(map(str, codes))) for item, codes in pairs]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f'{path} cannot be read ({error}): {_REMEDY}') from None
    found: dict[str, str] = {}
    for item, codes in rows:
        if item in found:
            raise ValueError(f'{path} names item {item!r} twice: keep one of its IDs')
        found[item] = codes
    return found


def _pairs_of_csv(text: str) -> list[tuple[str, str]]:
    return [(row['item'], row['codes']) for row in csv.DictReader(io.StringIO(text, newline=''))]
