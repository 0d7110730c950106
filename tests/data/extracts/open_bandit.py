"""An extract in the layout of the full Open Bandit Dataset, made here: 600 rows of a campaign of 6 items.

    python -m tests.data.extracts.open_bandit FOLDER

Unlike the small sample: plain files, rows not in order of time, times on the full second (written without a
fraction), and a logger (`bts`) whose propensities differ by item and position. Few affinities are not 0.
"""

import pathlib
import sys

import numpy as np

ITEMS = 6
HEADER = [
    '', 'timestamp', 'item_id', 'position', 'click', 'propensity_score',
    *(f'user_feature_{n}' for n in range(4)), *(f'user-item_affinity_{n}' for n in range(ITEMS)),
]  # fmt: skip


def lines(rows: int = 600, seed: int = 13, uniform: bool = False) -> list[str]:
    draw = np.random.default_rng(seed)
    seconds = np.sort(draw.integers(0, 86_400, rows))
    moved = draw.permutation(rows)[:40]
    seconds[np.sort(moved)] = seconds[moved]
    written = [','.join(HEADER)]
    for n, second in enumerate(seconds.tolist()):
        position = int(draw.integers(1, 4))
        chance = np.full(ITEMS, 1 / ITEMS) if uniform else np.roll(np.arange(1, ITEMS + 1) / 21, position)
        item = int(draw.choice(ITEMS, p=chance))
        hour, rest = divmod(second, 3600)
        fraction = '' if n % 25 == 0 else f'.{int(draw.integers(1, 10**6)):06d}'
        time = f'2019-11-24 {hour:02d}:{rest // 60:02d}:{rest % 60:02d}{fraction}+00:00'
        features = [f'{int(draw.integers(0, 3)):032x}' for _ in range(4)]
        lent = [0.0] * ITEMS
        if n % 9 == 0:
            lent[int(draw.integers(0, ITEMS))] = float(draw.integers(1, 4))
        click = int(draw.uniform() < 0.05 * (1 + item))
        fields = [n, time, item, position, click, repr(float(chance[item])), *features, *map(repr, lent)]
        written.append(','.join(map(str, fields)))
    return written


def items() -> list[str]:
    header = ',item_id,' + ','.join(f'item_feature_{n}' for n in range(4))
    order = [4, 0, 2, 1, 5, 3]  # the sample lists them in theirs
    return [header, *(f'{n},{n},{n / 4 - 0.5},{n % 2:032x},{n % 3:032x},{7:032x}' for n in order)]


def write(folder: pathlib.Path, behaviour: str = 'bts', campaign: str = 'men', rows: int = 600) -> pathlib.Path:
    """Writes a campaign's two files; returns the path of its rows."""
    place = folder / behaviour / campaign
    place.mkdir(parents=True, exist_ok=True)
    (place / 'item_context.csv').write_text('\n'.join(items()) + '\n')
    path = place / f'{campaign}.csv'
    path.write_text('\n'.join(lines(rows, uniform=behaviour == 'random')) + '\n')
    return path


if __name__ == '__main__':
    print(write(pathlib.Path(sys.argv[1])))
