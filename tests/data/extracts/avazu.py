"""An extract in the format of Avazu's train file, made here: 1,200 impressions of ten days.

    python -m tests.data.extracts.avazu FOLDER

With what the published file has: a header of 24 names, identifiers beyond 64-bit integers, hours as YYMMDDHH
in order, hexadecimal digests with leading zeros and some of digits alone, -1 for a missing C20, and devices
seen once.
"""

import gzip
import pathlib
import sys

import numpy as np

# fmt: off
HEADER = (
    'id', 'click', 'hour', 'C1', 'banner_pos', 'site_id', 'site_domain', 'site_category', 'app_id',
    'app_domain', 'app_category', 'device_id', 'device_ip', 'device_model', 'device_type', 'device_conn_type',
    'C14', 'C15', 'C16', 'C17', 'C18', 'C19', 'C20', 'C21',
)
# fmt: on
DIGESTS = {'site_id': 15, 'site_domain': 9, 'site_category': 4, 'app_id': 12, 'app_domain': 6}
DIGESTS |= {'app_category': 5, 'device_id': 30, 'device_ip': 900, 'device_model': 40}
NUMBERS = {'C1': 4, 'banner_pos': 3, 'device_type': 3, 'device_conn_type': 4, 'C14': 25, 'C15': 3, 'C16': 4}
NUMBERS |= {'C17': 12, 'C18': 4, 'C19': 7, 'C20': 6, 'C21': 9}


def digest(field: str, value: int) -> str:
    """Eight hexadecimal digits; the first values of a field have leading zeros, or digits alone."""
    if value < 2:
        return f'{value:08d}'
    return f'{(sum(map(ord, field)) * 2_654_435_761 + value * 40_503) % 2**32:08x}'


def lines(impressions: int = 1200, seed: int = 7) -> list[str]:
    draw = np.random.default_rng(seed)
    hours = np.sort(draw.integers(0, 240, impressions))
    rows = []
    for n, hour in enumerate(hours.tolist()):
        values = {name: str(1000 + int(draw.integers(0, size))) for name, size in NUMBERS.items()}
        values |= {name: digest(name, int(draw.integers(0, size))) for name, size in DIGESTS.items()}
        if n % 3 == 0:
            values['C20'] = '-1'
        values['id'] = str(2**64 + n * 7919)
        values['hour'] = f'1410{21 + hour // 24:02d}{hour % 24:02d}'
        odds = 0.1 + 0.5 * ((int(values['C14']) + int(values['banner_pos'])) % 3 == 0)
        values['click'] = str(int(draw.uniform() < odds))
        rows.append(','.join(values[name] for name in HEADER))
    return [','.join(HEADER), *rows]


def write(folder: pathlib.Path, impressions: int = 1200, seed: int = 7) -> pathlib.Path:
    """Writes `train.gz`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / 'train.gz'
    path.write_bytes(gzip.compress(('\n'.join(lines(impressions, seed)) + '\n').encode(), mtime=0))
    return path


if __name__ == '__main__':
    print(write(pathlib.Path(sys.argv[1])))
