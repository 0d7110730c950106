"""Open Bandit Dataset (arXiv 2008.07146): a TFDS builder of its rows, and the compiler to a pool log.

`<behaviour policy>/<campaign>/<campaign>.csv` has a row for each of three positions of an impression: time, item,
position, click, the logger's propensity for that item at that position, four anonymous user features, and the user's
affinity to each of the K items of the campaign. `item_context.csv` has four features of each item. The small sample and
the full set have the same layout; the files are placed by hand.

Letters: n rows of a block, N of all, K items, F entries that are not 0 of the affinities.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxrec.configurable import configurable
from jaxrec.data.logs.columns import Ragged
from jaxrec.data.logs.raw_columns import Coded
from jaxrec.data.pools.log import ColumnSpec, PoolLog, Pools, compile_pools
from jaxrec.data.readers.blocks import BLOCK_ROWS, Block, BlockBuilder, Coding, read_blocks
from jaxrec.data.readers.csv_blocks import read_csv, refuse
from jaxrec.data.readers.files import find_file, open_file, readable

BEHAVIOURS, CAMPAIGNS = ('random', 'bts'), ('all', 'men', 'women')
ROOTS = ('open-bandit-small', 'open_bandit_dataset', 'open-bandit', 'obd')
REMEDY = 'fetch the set from https://research.zozo.com/data.html, or its sample from st-tech/zr-obp, folder obd'
PROPENSITIES = ('propensity_score', 'action_prob')  # two names of one column
USER_FEATURES = tuple(f'user_feature_{n}' for n in range(4))
ITEM_FEATURES = tuple(f'item_feature_{n}' for n in range(4))
AFFINITY = 'user-item_affinity_'


class OpenBanditRows(BlockBuilder):
    """Rows of one campaign's file, in its order; of the affinities only what is not 0.

    Blocks have `affinity_row` (row of the block), `affinity_item` and `affinity_value`, F of each.
    """

    COLUMNS: ClassVar[Mapping[str, type]] = {
        'time': np.float64, 'item': np.int32, 'position': np.int8, 'click': np.int8, 'propensity': np.float64,
        **dict.fromkeys(USER_FEATURES, str), 'affinity_row': np.int32, 'affinity_item': np.int32,
        'affinity_value': np.float32,
    }  # fmt: skip
    MANUAL_DOWNLOAD_INSTRUCTIONS = REMEDY

    def find(self, folder: Path) -> Sequence[Path]:
        """The files of the uniform logger's campaign of all items."""
        return find_campaign(folder, 'random', 'all')

    def read(self, files: Sequence[Path]) -> Iterator[Block]:
        """Yields blocks of rows; refuses a wrong click, propensity, affinity or time, naming the line."""
        names, propensity, affinities = _header(files[0])
        wanted: dict[str, type] = {'timestamp': str, 'item_id': np.int32, 'position': np.int8}
        wanted |= {'click': np.int8, propensity: np.float64, **dict.fromkeys(USER_FEATURES, str)}
        wanted |= dict.fromkeys(affinities, np.float32)
        line = 2
        for block in read_csv(files[0], names, wanted, REMEDY, header=True):
            click, chance = block['click'], block[propensity]
            refuse(files[0], line, 'click', click, ~np.isin(click, (0, 1)), '0 or 1')
            refuse(files[0], line, propensity, chance, ~((chance > 0) & (chance <= 1)), 'in (0, 1]')
            lent = np.stack([block[name] for name in affinities], 1)
            refuse(files[0], line, 'an affinity', lent.sum(1), ~np.isfinite(lent).all(1), 'a number')
            row, item = np.nonzero(lent)
            yield {
                'time': _seconds(files[0], line, block['timestamp']),
                'item': block['item_id'],
                'propensity': chance,
                **{name: block[name] for name in ('position', 'click', *USER_FEATURES)},
                'affinity_row': row.astype(np.int32),
                'affinity_item': item.astype(np.int32),
                'affinity_value': lent[row, item],
            }
            line += len(click)


def find_campaign(data_dir: str | Path, behaviour: str, campaign: str) -> list[Path]:
    """Finds the rows and the item features of a campaign, plain or packed, see `compile_open_bandit`.

    `data_dir` is the folder of the set, or one that holds it under a name of `ROOTS`. Raises a ValueError for another
    logger or campaign, or naming the places searched.
    """
    if behaviour not in BEHAVIOURS or campaign not in CAMPAIGNS:
        raise ValueError(
            f'behaviour={behaviour!r}, campaign={campaign!r}: the loggers are {", ".join(BEHAVIOURS)}, the '
            f'campaigns {", ".join(CAMPAIGNS)}'
        )
    place = f'{behaviour}/{campaign}'
    folders = [place, *(f'{root}/{place}' for root in ROOTS)]
    return [find_file(data_dir, name, folders, REMEDY) for name in (f'{campaign}.csv', 'item_context.csv')]


@configurable('log')
def compile_open_bandit(
    data_dir: str | Path, folder: str | Path, behaviour: str = 'random', campaign: str = 'all', affinity: bool = True,
    seed: int = 0,
) -> PoolLog:  # fmt: skip
    """Compiles a campaign to a pool log, every row a visit whose pool are all items of the campaign.

    Known before the choice are `position` and `user_feature_0` to `_3`, all categorical. Candidates have
    `item_feature_0` (a number) and `item_feature_1` to `_3` (categorical), and `affinity`, the user's to each of them.
    `time` is in seconds since 1970. Rows are sorted by time, stably, where they are not.

    Args:
      data_dir: of the set.
      folder: of the log; the prepared TFDS data go to `tfds/` next to it.
      behaviour: the logger, 'random' or 'bts' (Bernoulli Thompson sampling).
      campaign: 'all', 'men' or 'women'.
      affinity: keep affinities; dense they take 4 K bytes a row.
      seed: of the hash that assigns ids.

    Raises:
      ValueError: a file is missing, or a row is malformed, which is named.
    """
    files = find_campaign(data_dir, behaviour, campaign)
    about = {'behaviour': behaviour, 'campaign': campaign, 'affinity': affinity, 'seed': seed}
    request: dict[str, Any] = {'reader': OpenBanditRows.tag(), **about}
    if made := PoolLog.of_request(folder, files, request):
        return made
    items = _item_context(files[1])
    affinities = len(_header(files[0])[2])
    if sorted(items['item'].tolist()) != list(range(affinities)):
        raise ValueError(
            f'{files[1]} has {len(items["item"])} items, but {files[0]} affinities to {affinities}, numbered '
            f'from 0: {REMEDY}'
        )
    rows = _Rows(read_blocks(OpenBanditRows, files, folder), items['item'], affinity)
    categories = ('position', *USER_FEATURES, *ITEM_FEATURES[1:])
    numbers = (ITEM_FEATURES[0], *(['affinity'] if affinity else []))
    columns = dict.fromkeys(categories, ColumnSpec('categorical')) | dict.fromkeys(numbers, ColumnSpec('numeric'))
    notes = {'rows out of time order': rows.moved} if rows.moved else None
    return compile_pools(folder, rows, items, columns=columns, sources=files, notes=notes, request=request, seed=seed)


class _Rows:
    """All rows in time order, in blocks of visits each time they are iterated."""

    def __init__(self, blocks: Iterator[Block], items: np.ndarray, affinity: bool):
        parts: dict[str, list[np.ndarray]] = {}
        codings = {name: Coding() for name in USER_FEATURES}
        before = 0
        for block in blocks:
            for name, column in block.items():
                if isinstance(column, Coded):
                    codings[name].add(column)
                else:
                    shift = before if name == 'affinity_row' else 0
                    parts.setdefault(name, []).append(column.astype(np.int64) + shift if shift else column)
            before += len(block['time'])
        columns: dict[str, Any] = {name: np.concatenate(part) for name, part in parts.items()}
        columns |= {name: coding.joined() for name, coding in codings.items()}
        order = np.argsort(columns['time'], kind='stable')
        self.moved = int((order != np.arange(before)).sum())
        self._items, self._affinity = items, affinity
        lent = {name: columns.pop(f'affinity_{name}') for name in ('row', 'item', 'value')}
        row = np.argsort(order, kind='stable')[lent['row']]
        by_row = np.argsort(row, kind='stable')
        self._lent = {'row': row[by_row], 'item': lent['item'][by_row], 'value': lent['value'][by_row]}
        self._columns = _picked(columns, order)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        visits, size = len(self._columns['time']), len(self._items)
        for first in range(0, visits, BLOCK_ROWS):
            part = slice(first, min(first + BLOCK_ROWS, visits))
            count = part.stop - first
            block = _picked(self._columns, part)
            pool = Ragged(self._items, np.asarray([0, size], np.int64))
            block['pool'] = Pools(np.zeros(count, np.int32), pool)
            if self._affinity:
                begin, end = np.searchsorted(self._lent['row'], [first, part.stop])
                dense = np.zeros((count, size), np.float32)
                at = self._lent['row'][begin:end] - first
                dense[at, self._lent['item'][begin:end]] = self._lent['value'][begin:end]
                dense = dense[:, self._items]  # in the order of the pool
                block['affinity'] = Ragged(dense.reshape(-1), np.arange(count + 1, dtype=np.int64) * size)
            yield block


def _picked(columns: Mapping[str, Any], rows: Any) -> dict[str, Any]:
    """Rows of columns, by a slice or by numbers."""
    pick = lambda column: column._replace(codes=column.codes[rows]) if isinstance(column, Coded) else column[rows]
    return {name: pick(column) for name, column in columns.items()}


def _header(path: Path) -> tuple[tuple[str, ...], str, list[str]]:
    """Names of all fields, which of them is the propensity, and those of the affinities by item."""
    with open_file(path, REMEDY) as stream:
        names = tuple(stream.readline().decode(errors='replace').rstrip('\r\n').split(','))
    propensity = next((name for name in names if name in PROPENSITIES), PROPENSITIES[0])
    affinities = [f'{AFFINITY}{n}' for n in range(sum(name.startswith(AFFINITY) for name in names))]
    needed = ['timestamp', 'item_id', 'position', 'click', propensity, *USER_FEATURES, *affinities]
    if missing := [name for name in [*needed, f'{AFFINITY}0'] if name not in names]:
        raise ValueError(f'{path}:1: the header has no {missing[0]!r} but {", ".join(names[:10])}, ...: {REMEDY}')
    return names, propensity, affinities


def _seconds(path: Path, line: int, stamps: Coded) -> np.ndarray:
    """Seconds since 1970 of times such as '2019-11-24 00:00:34.762830+00:00'."""
    seconds = np.full(len(stamps.values), np.nan)
    for n, text in enumerate(stamps.values.tolist()):
        moment, zone = text[:-6], text[-6:]
        try:
            if zone == '+00:00':
                seconds[n] = np.datetime64(moment, 'us').astype(np.int64) / 1e6
        except ValueError:
            continue  # stays NaN, and is refused with its line below
    found = seconds[stamps.codes]
    refuse(path, line, 'timestamp', stamps.values[stamps.codes], np.isnan(found), 'a time in UTC')
    return found


def _item_context(path: Path) -> dict[str, Any]:
    """The items and their features."""
    with open_file(path, REMEDY) as stream, readable(str(path), REMEDY):
        rows = list(csv.DictReader(io.TextIOWrapper(stream, 'utf-8')))
    found: dict[str, Any] = {}
    for name in ('item_id', *ITEM_FEATURES):
        if not rows or any(row.get(name) is None for row in rows):
            raise ValueError(f'{path} has no item or not all have {name!r}: {REMEDY}')
        texts = [row[name] for row in rows]
        try:
            kind = {'item_id': int, ITEM_FEATURES[0]: float}.get(name, str)
            found['item' if name == 'item_id' else name] = np.asarray([kind(text) for text in texts])
        except ValueError as error:
            raise ValueError(f'{path}: {name} cannot be read ({error}): repair the line') from None
    return found
