"""An extract in the format of Yahoo! R6B, made here: 1,400 visits in two files, of 2 and 3 October 2011.

    python -m tests.data.extracts.yahoo FOLDER

Articles come and go in the middle of a file, so that pools change every 40 lines or so; an earlier pool comes
back, with its articles in another order. With the irregularities that can be read: visits of one second,
features in no order, users without features, a feature and an article named twice, blanks at the end of a
line and between fields, carriage returns, one file packed and one not. `SPOILED` are lines that cannot be
replayed, each put in behind a given line.
"""

import gzip
import pathlib
import sys

import numpy as np

FIRST = 1_317_513_291
NAME = 'ydata-fp-td-clicks-v2_0.201110{day:02d}'
# Line of the first file behind which it stands -> its reason, its text with the time of that line for {time}.
SPOILED = {
    10: ('malformed lines', 'id-552077 0 |user 1 2 |id-552077'),
    50: ('malformed lines', '{time} id-552077 0 |guest 1 2 |id-552077'),
    90: ('malformed lines', '{time} id-552077 0 |user 1 two |id-552077'),
    130: ('malformed lines', ''),
    170: ('malformed lines', '{time} id-552077 0 |user 1 |552077'),
    210: ('lines out of time order', '1317513290 id-552077 0 |user 1 2 |id-552077'),
    250: ('lines whose click is not 0 or 1', '{time} id-552077 2 |user 1 2 |id-552077'),
    290: ('lines with an empty pool', '{time} id-552077 1 |user 1 2'),
    330: ('lines that show an article outside their pool', '{time} id-1 1 |user 1 2 |id-552077 |id-552078'),
    370: ('lines with a feature outside 1..136', '{time} id-552077 1 |user 1 137 |id-552077'),
    410: ('lines with a feature outside 1..136', '{time} id-552077 1 |user 0 |id-552077'),
    450: ('lines of another day than their file', '1417513299 id-552077 1 |user 1 |id-552077'),
}


def lines(visits: int, seed: int = 11) -> list[tuple[int, str]]:
    """(time, line) of each visit."""
    draw = np.random.default_rng(seed)
    articles = 552_077 + 17 * np.arange(60)
    live, time, rows = draw.choice(articles, 20, replace=False).tolist(), FIRST, []
    kept = list(live)
    for n in range(visits):
        time += int(draw.integers(0, 3))
        if n == visits * 3 // 5:  # the second file is of the day after
            time += 86_400
        if n % 40 == 39:  # an article leaves, another arrives
            live = [article for article in live if article != live[int(draw.integers(0, len(live)))]]
            live.append(int(draw.choice([article for article in articles if article not in live])))
        if n % 400 == 399:  # an earlier pool comes back, listed otherwise
            live, kept = draw.permutation(kept).tolist(), list(live)
        shown = int(draw.choice(live))
        features = draw.permutation(np.arange(2, 137))[: int(draw.integers(0, 12))].tolist()
        user = [1, *features] if n % 50 else []
        pool = list(live)
        if n % 97 == 5:
            user = [*user, 1, 1]
        if n % 89 == 7:
            pool.append(shown)
        click = int(draw.uniform() < (0.3 if shown % 2 else 0.05))
        ends = {3: ' ', 4: '\r'}.get(n % 31, '')
        gap = '  ' if n % 29 == 3 else ' '
        text = f'{time} id-{shown}{gap}{click} |user {" ".join(map(str, user))}'.rstrip()
        rows.append((time, f'{text} {" ".join(f"|id-{article}" for article in pool)}{ends}'))
    return rows


def write(folder: pathlib.Path, spoiled: dict | None = None, visits: int = 1400) -> list[pathlib.Path]:
    """Writes the files of 2 October, plain, and of 3 October, packed; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = lines(visits)
    cut = visits * 3 // 5
    first = []
    for n, (time, text) in enumerate(rows[:cut], 1):
        first.append(text)
        if n in (spoiled or {}):
            first.append(spoiled[n][1].format(time=time))
    paths = [folder / NAME.format(day=2), folder / f'{NAME.format(day=3)}.gz']
    paths[0].write_text('\n'.join(first) + '\n', newline='')
    packed = '\n'.join(text for _, text in rows[cut:]) + '\n'
    paths[1].write_bytes(gzip.compress(packed.encode(), mtime=0))
    return paths


if __name__ == '__main__':
    print(write(pathlib.Path(sys.argv[1])))
