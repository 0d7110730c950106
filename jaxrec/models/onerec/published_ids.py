"""Semantic IDs that others made: read from texts such as `<a_183> <b_70> <c_232>` or `183 70 232`.

V items, L levels, K codes of a level.
"""

import csv
import gzip
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_TOKEN = re.compile(r'<([a-z])_(\d+)>')


def parse_ids(texts: Sequence[str], where: str) -> np.ndarray:
    """Reads IDs, a text an item.

    Args:
      texts: V of them: codes separated by spaces, each a number or a number in a token `<a_1>`, whose letter
        is that of its level.
      where: what messages call the place that they are from.

    Returns:
      int32 [V, L].

    Raises:
      ValueError: naming the first text that is none, or has another number of levels than the first.
    """
    rows: list[list[int | None]] = []
    for number, text in enumerate(texts):
        tokens = text.split()
        found = [_code(token, level) for level, token in enumerate(tokens)]
        if not tokens or None in found:
            raise ValueError(
                f'{where}: {text!r} of item {number} is no semantic ID: give codes as <a_183> <b_70> or '
                '183 70, a letter for each level in its order'
            )
        if len(found) != len(rows[0] if rows else found):
            raise ValueError(
                f'{where}: {text!r} of item {number} has {len(found)} levels and the first item '
                f'{len(rows[0])}: all need the same number'
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
        packed as `.gz`.

    Returns:
      {name of an item: its ID as text}, for `parse_ids`.

    Raises:
      ValueError: a file that cannot be read or names an item twice.
    """
    path = Path(path)
    kind = Path(path.stem).suffix if path.suffix == '.gz' else path.suffix
    if kind not in ('.csv', '.json'):
        raise ValueError(f'{path}: semantic IDs are read from .csv and .json files, plain or as .gz')
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == '.gz' else data).decode()
        pairs = _pairs_of_csv(text) if kind == '.csv' else json.loads(text, object_pairs_hook=list)
        found = {
            str(item): codes if isinstance(codes, str) else ' '.join(map(str, codes)) for item, codes in pairs
        }
    except (OSError, EOFError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f'{path} cannot be read ({error}): give a CSV file with item and codes, or JSON {{item: codes}}'
        ) from None
    if len(found) < len(pairs):
        names = [str(item) for item, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'{path} names item {twice!r} twice: keep one of its IDs')
    return found


def _pairs_of_csv(text: str) -> list[tuple[str, str]]:
    return [(row['item'], row['codes']) for row in csv.DictReader(text.splitlines())]
