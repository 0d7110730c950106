"""An extract in the form in which TIGER's, P5's and LETTER's Amazon data are shared: 230 users, 80 items.

    python -m tests.data.extracts.sequences FOLDER

With what such files hold: lines of unequal length, no times, both files compressed, texts of keywords and one
item without any, 1 to 4 attributes an item, published IDs that some items share, an index by row. Besides:
users of two items, an item that repeats in a sequence, items that nobody met, empty lines.
"""

import gzip
import json
import pathlib
import sys

import numpy as np

ITEMS = 80
WORDS = ('red', 'blue', 'nail', 'polish', 'skin', 'cream', 'brush', 'eye', 'hair', 'oil')


def lines(seed: int = 7) -> list[str]:
    draw = np.random.default_rng(seed)
    found = []
    for user in range(1, 231):
        number = 2 if user % 40 == 9 else int(draw.integers(5, 12))
        # Users like a neighbourhood of items; the last four are met by nobody.
        items = 1 + (draw.integers(0, 76) + draw.choice(20, number, replace=False)) % 76
        items = items.tolist()
        if user % 50 == 3:
            items[4] = items[0]
        found.append(' '.join(map(str, [user, *items])))
    return [*found[:100], '', *found[100:], '   ']


def item_lines(seed: int = 7) -> list[str]:
    draw = np.random.default_rng(seed)
    rows = ['item_id\tasin\ttext\tattribute_ids\tletter_sid']
    for item in range(1, ITEMS + 1):
        text = '' if item == 17 else ' '.join(draw.choice(WORDS, 4, replace=False))
        attributes = ' '.join(map(str, draw.choice(30, int(draw.integers(1, 5)), replace=False)))
        codes = [item % 5, item // 5 % 4, 0 if item < 60 else item % 7]
        sid = ' '.join(f'<{"abc"[level]}_{code}>' for level, code in enumerate(codes))
        rows.append(f'{item}\tB{item:09d}\t{text}\t{attributes}\t{sid}')
    return rows


def index() -> dict[str, list[str]]:
    return {str(row): [f'<a_{row % 16}>', f'<b_{row // 16}>'] for row in range(ITEMS)}


def write(folder: pathlib.Path, seed: int = 7) -> pathlib.Path:
    """Writes `amazon-beauty/` with sequences.txt.gz, items.tsv.gz and indexes/plain.index.json.gz."""
    place = folder / 'amazon-beauty'
    (place / 'indexes').mkdir(parents=True, exist_ok=True)
    pack = lambda path, text: path.write_bytes(gzip.compress(text.encode(), mtime=0))
    pack(place / 'sequences.txt.gz', '\n'.join(lines(seed)) + '\n')
    pack(place / 'items.tsv.gz', '\n'.join(item_lines(seed)) + '\n')
    pack(place / 'indexes' / 'plain.index.json.gz', json.dumps(index()))
    return place


if __name__ == '__main__':
    print(write(pathlib.Path(sys.argv[1])))
