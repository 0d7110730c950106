"""An extract in the format of Taobao UserBehavior, made here: about 900 lines of 120 users.

    python -m tests.data.extracts.taobao FOLDER

With the irregularities that the publisher's file has: no header, times outside the nine days (a year off,
the day before, before 1970), many events of one second, lines of a user out of order, an item under two
categories; besides, users of a single click, users who only bought, and repeated clicks on one item.
"""

import pathlib
import sys

import numpy as np

FIRST = 1_511_539_200  # 25 November 2017 in China
DAYS = 9


def lines(seed: int = 5) -> list[str]:
    draw = np.random.default_rng(seed)
    rows = []
    for user in range(120):
        name = 1 + user * 8317
        if user % 20 == 7:  # a single click
            rows.append((name, 5_000_001, 31, 'pv', FIRST + user))
            continue
        for _ in range(int(draw.integers(4, 12))):
            item = int(draw.integers(1, 61))
            time = FIRST + 86_400 * int(draw.integers(0, DAYS)) + int(draw.integers(0, 3))
            behaviour = 'buy' if user % 20 == 13 else str(draw.choice(['pv'] * 7 + ['cart', 'fav', 'buy']))
            rows.append((name, 5_000_000 + item, item % 7 + 30, behaviour, time))
    off = {10: 3_660_000_000, 111: -2_134_949_234, 222: FIRST - 1, 333: FIRST + DAYS * 86_400, 444: 0}
    for at, time in off.items():
        rows[at] = (*rows[at][:3], 'pv', time)
    for at in (50, 51, 300):  # another category than the item's other lines
        rows[at] = (*rows[at][:2], 99, *rows[at][3:])
    rows[60] = rows[61]  # the same line twice
    return [','.join(map(str, row)) for row in rows]


def write(folder: pathlib.Path, seed: int = 5) -> pathlib.Path:
    """Writes `UserBehavior.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / 'UserBehavior.csv'
    path.write_text('\n'.join(lines(seed)) + '\n')
    return path


if __name__ == '__main__':
    print(write(pathlib.Path(sys.argv[1])))
