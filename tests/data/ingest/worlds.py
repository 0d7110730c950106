"""Files as users have them, and the same rows in memory for `compile_log`."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jaxrec.data.logs.behaviour_log import BehaviourLog, ColumnSpec, compile_log
from jaxrec.data.logs.columns import ColumnStore, Ragged

MAPPING = {
    'user': 'uid',
    'item': {'column': 'sku', 'min_count': 2},
    'time': {'column': 'ts', 'unit': 's'},
    'label': {'column': 'rating'},
    'events': {
        'place': {'kind': 'categorical', 'column': 'where', 'min_count': 3},
        'tags': {'kind': 'multi', 'separator': '|', 'width': 2},
        'price': {'kind': 'numeric'},
        'hashed': {'kind': 'categorical', 'column': 'where', 'buckets': 7},
    },
    'items': {'columns': {'brand': {'kind': 'categorical'}, 'kinds': {'kind': 'multi', 'separator': '+'}}},
    'users': {'columns': {'age': {'kind': 'numeric'}, 'city': {'kind': 'categorical'}}},
}
COLUMNS = {
    'item': ColumnSpec('categorical', min_count=2),
    'place': ColumnSpec('categorical', min_count=3),
    'tags': ColumnSpec('multi', width=2),
    'price': ColumnSpec('numeric'),
    'hashed': ColumnSpec('categorical', buckets=7),
    'brand': ColumnSpec('categorical'),
    'kinds': ColumnSpec('multi'),
    'age': ColumnSpec('numeric'),
    'city': ColumnSpec('categorical'),
}


def rows_of(number: int, seed: int = 0, users: int = 30, items: int = 40) -> list[dict[str, Any]]:
    """Events with quotes, delimiters and other alphabets; attributes follow from the key."""
    draw = np.random.default_rng(seed)
    rows = []
    for _ in range(number):
        user, item = draw.integers(users), int(draw.zipf(1.4)) % items
        tags = [f't{t}' for t in draw.integers(0, 6, draw.integers(0, 4))]
        rows.append(
            {
                'uid': f'u"{user},é',
                'sku': f'i{item}',
                'ts': 1_500_000_000 + int(draw.integers(0, 50)),
                'rating': int(draw.integers(1, 6)),
                'where': f'w{int(draw.zipf(1.5)) % 12}',
                'tags': '|'.join(tags),
                'price': round(float(draw.random()) * 10, 3),
                'brand': f'b{item % 5}',
                'kinds': '+'.join(f'k{k}' for k in range(item % 4)),
                'age': int(user) % 7 + 20,
                'city': f'c{user % 3}',
                'unused': 'x',
            }
        )
    return rows


def write_csv(path: Path, rows: list[dict[str, Any]], delimiter: str = ',') -> Path:
    opened = gzip.open(path, 'wt', newline='') if path.suffix == '.gz' else path.open('w', newline='')
    with opened as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100)
    return path


def split(text: str, separator: str) -> list[str]:
    return [value for value in text.split(separator) if value]


def last_rows(rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    return list({row[key]: row for row in rows}.values())


def oracle(folder: Path, rows: list[dict[str, Any]], sources: list[Path], seed: int = 0) -> BehaviourLog:
    """`compile_log` of the same rows, held in memory."""
    column = lambda name, dtype=None, rows=rows: np.asarray([row[name] for row in rows], dtype)
    items, users = last_rows(rows, 'sku'), last_rows(rows, 'uid')
    return compile_log(
        folder,
        {
            'user': column('uid'),
            'item': column('sku'),
            'time': column('ts'),
            'rating': column('rating', np.float32),
            'place': column('where'),
            'tags': Ragged.from_rows([split(row['tags'], '|') for row in rows], str),
            'price': column('price', np.float32),
            'hashed': column('where'),
        },
        {
            'item': column('sku', rows=items),
            'brand': column('brand', rows=items),
            'kinds': Ragged.from_rows([split(row['kinds'], '+') for row in items], str),
        },
        {
            'user': column('uid', rows=users),
            'age': column('age', np.float32, rows=users),
            'city': column('city', rows=users),
        },
        columns=COLUMNS,
        sources=sources,
        seed=seed,
    )


def assert_same_log(found: Path, wanted: Path) -> None:
    """Every file of two logs is the same but for the fingerprint and what the manifest says of the ingest."""
    names = lambda folder: sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file())
    assert names(found) == names(wanted)
    for name in names(wanted):
        if name == 'manifest.json':
            one, other = (json.loads((folder / name).read_text()) for folder in (found, wanted))
            del one['ingest'], one['fingerprint'], other['fingerprint']
            assert one == other
        else:
            assert (found / name).read_bytes() == (wanted / name).read_bytes(), name
    assert ColumnStore(found / 'events').names == ColumnStore(wanted / 'events').names
