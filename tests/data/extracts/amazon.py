"""Extracts in the formats of Amazon's reviews and metadata of 2014, made here: about 700 reviews of 90 users.

    python -m tests.data.extracts.amazon FOLDER [CATEGORY]

With the irregularities of the publisher's files: reviews are JSON and metadata Python literals, both
compressed; lines are grouped by product, not by user; a review carries a day, and users have several on one
day; products have several paths of categories, and some have none or no metadata; names hold quotes, accents
and line breaks. Besides: lines cut short, lines of code, reviews without user or time, repeated reviews, a
product reviewed again on a later day, a product described twice, users of a single review.
"""

import gzip
import json
import pathlib
import sys
from typing import Any

import numpy as np

DAY = 86_400
FIRST = 1_300_060_800  # a midnight in UTC


def reviews(seed: int = 11) -> list[dict[str, Any]]:
    draw = np.random.default_rng(seed)
    found = []
    for user in range(90):
        number = 1 if user % 15 == 4 else int(draw.integers(5, 11))
        for product in draw.choice(60, number, replace=False):
            day = 3 if user % 30 == 9 else int(draw.integers(0, 6))  # some wrote all on one day
            found.append(
                {
                    'reviewerID': f'A{user:02d}Z{"KQ"[user % 2]}9',
                    'asin': f'{product:09d}X',
                    'reviewerName': 'J. "Jo" O\'Neil, é',
                    'helpful': [0, 2],
                    'reviewText': 'Line one.\nLine "two", it\'s fine \\ done.',
                    'overall': float(draw.integers(1, 6)),
                    'summary': '',
                    'unixReviewTime': FIRST + DAY * day,
                    'reviewTime': '03 14, 2011',
                }
            )
    found.sort(key=lambda review: review['asin'])
    return found


def review_lines(seed: int = 11) -> list[str]:
    rows = reviews(seed)
    lines = [json.dumps(row) for row in rows]
    lines[40] = str(rows[40])  # loose: a Python literal
    del rows[90]['overall']
    lines[90] = json.dumps(rows[90])
    later = rows[200] | {'unixReviewTime': rows[200]['unixReviewTime'] + 7 * DAY}
    broken = [
        lines[10][: len(lines[10]) // 2],
        "__import__('os').makedirs('evaluated')",
        json.dumps([1, 2, 3]),
        json.dumps({key: value for key, value in rows[7].items() if key != 'reviewerID'}),
        '',
    ]
    timeless = [
        json.dumps({key: value for key, value in rows[8].items() if key != 'unixReviewTime'}),
        json.dumps(rows[9] | {'unixReviewTime': 'yesterday'}),
        json.dumps(rows[9] | {'unixReviewTime': -5}),
    ]
    # In front of the lines they repeat or break, and behind them.
    return [*broken[:2], *lines, lines[120], lines[121], json.dumps(later), *broken[2:], *timeless]


def metadata_lines(seed: int = 11) -> list[str]:
    """66 products: those of the reviews but two, some without categories, and eight that nobody reviewed."""
    lines = []
    for product in range(68):
        if product in (20, 21):
            continue
        path = ['Books', 'Subjects & More', f"Children's {product % 8}"]
        record: dict[str, Any] = {
            'asin': f'{product:09d}X',
            'title': f'It\'s "{product}" \\ é',
            'related': {'also_bought': [f'{n:09d}X' for n in range(product % 5)]},
            'price': 9.99,
            'categories': [path, ['Books', 'Another Path']] if product % 3 else [path],
        }
        if product in (30, 31):
            del record['categories']
        if product == 32:
            record['categories'] = []
        if product == 33:
            record['categories'] = [[]]
        lines.append(str(record))
    again = str({'asin': '000000005X', 'categories': [['Books', 'Second Description']]})
    return [*lines[:30], "{'asin': '000000025X', 'categories': [['Books'", "open('evaluated', 'w')", *lines[30:], again]


def write(
    folder: pathlib.Path, category: str = 'Books', five_core: bool = True, seed: int = 11
) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes `reviews_<category>_5.json.gz` and `meta_<category>.json.gz`."""
    folder.mkdir(parents=True, exist_ok=True)
    suffix = '_5' if five_core else ''
    paths = folder / f'reviews_{category}{suffix}.json.gz', folder / f'meta_{category}.json.gz'
    for path, lines in zip(paths, (review_lines(seed), metadata_lines(seed)), strict=True):
        path.write_bytes(gzip.compress(('\n'.join(lines) + '\n').encode(), mtime=0))
    return paths


if __name__ == '__main__':
    print(*write(pathlib.Path(sys.argv[1]), *sys.argv[2:]))
