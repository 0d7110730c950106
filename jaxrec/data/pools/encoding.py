"""The second pass over visits with candidate pools: encoded and written, block by block.

Letters: N visits, n of a block, k distinct pools of a block, K of all, V item rows.
"""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.logs.column_writer import ColumnWriter
from jaxrec.data.logs.columns import Ragged, write_columns
from jaxrec.data.logs.encoding import Encoder, spread
from jaxrec.data.logs.raw_columns import Coded, RawTable
from jaxrec.data.logs.schema import Column
from jaxrec.data.pools.survey import Pools, Survey, numbered

UNIFORM_WITHIN = 1e-6  # of 1, for propensity * pool size: what rounding to float32 leaves


def write_visits(
    folder: Path, blocks: Iterable[RawTable], surveyed: Survey, uniform: bool
) -> tuple[dict[str, Any], dict[str, int]]:
    """Encodes the surveyed blocks of visits in order and writes `events/`, `pools/`, `items/` and `vocab/` of a log.

    Without propensities `uniform` tells that each shown item was drawn uniformly from its pool.

    Returns:
      The manifest's schema, vocabularies, counts and logging; and {reason: skipped rows}.

    Raises:
      ValueError: a shown item that is not in its pool, or an item twice in one.
    """
    encoder, registry = Encoder(surveyed.specs, surveyed.vocabularies), _Registry()
    visits, even = 0, True
    with contextlib.ExitStack() as stack:
        writer: ColumnWriter | None = None
        for first, block in numbered(blocks):
            encoded = _encode(block, encoder, registry, surveyed.pairs, first)
            size = registry.lengths(encoded['pool'])
            if uniform:
                encoded['propensity'] = 1 / size
            if 'propensity' in encoded:
                even = even and bool((np.abs(encoded['propensity'] * size - 1) <= UNIFORM_WITHIN).all())
            if writer is None:
                writer = stack.enter_context(_writer(folder / 'events', encoded))
            writer.append(encoded)
            visits = first + len(size)
    pools = registry.pools()
    write_columns(folder / 'pools', {'candidates': pools})
    counts = _write_items(folder, encoder, surveyed.items)
    counts |= {'events': visits, 'pools': len(pools.lengths), 'largest_pool': int(pools.lengths.max())}
    known = uniform or surveyed.has_propensity
    logging = 'unknown' if not known else 'uniform' if even else 'propensities'
    left_out = {'items that occur in no pool': surveyed.left_out} if surveyed.left_out else {}
    return encoder.describe(folder, counts) | {'logging': logging}, left_out


class _Registry:
    """Gives each distinct pool one number, whatever the order of its items."""

    def __init__(self) -> None:
        self._number: dict[bytes, int] = {}
        self._rows: list[np.ndarray] = []

    def add(self, candidates: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """The numbers of pools that lie end to end, ascending ids each; int32 [k]."""
        numbers = np.empty(len(offsets) - 1, np.int32)
        for n in range(len(numbers)):
            row = candidates[offsets[n] : offsets[n + 1]]
            numbers[n] = self._number.setdefault(row.tobytes(), len(self._rows))
            if numbers[n] == len(self._rows):
                self._rows.append(row.copy())
        return numbers

    def lengths(self, numbers: np.ndarray) -> np.ndarray:
        """int64, the size of each pool."""
        known, place = np.unique(numbers, return_inverse=True)
        return np.asarray([len(self._rows[number]) for number in known])[place]

    def pools(self) -> Ragged:
        """All pools, int32."""
        return Ragged.from_rows(self._rows, np.int32)


def _encode(
    block: RawTable, encoder: Encoder, registry: _Registry, pairs: tuple[str, ...], first: int
) -> dict[str, Any]:
    """Encodes a block; `pool` becomes a number in the registry and `shown` the place in the pool."""
    pools = block['pool']
    encoded: dict[str, Any] = {
        name: encoder.column(name, column) for name, column in block.items() if name not in ('pool', *pairs)
    }
    ids = encoder.vocabularies['item'].encode(pools.rows.values)
    rows = np.repeat(np.arange(len(pools.rows.lengths)), pools.rows.lengths)
    order = np.lexsort((ids, rows))
    key = rows * np.int64(2**31) + ids[order]
    if (key[1:] == key[:-1]).any():
        twice = int(np.flatnonzero(key[1:] == key[:-1])[0])
        row = first + int(np.argmax(pools.codes == rows[twice]))
        raise ValueError(
            f'visit {row} has item {pools.rows.values[order[twice]].item()!r} twice in its pool: keep it once'
        )
    encoded['shown'] = _places(block, key, encoded['item'], first)
    encoded['pool'] = registry.add(ids[order], pools.rows.offsets)[pools.codes]
    for name in pairs:
        # The pool's items are in the order of their ids now, and so must what belongs to each.
        encoded[name] = _reordered(block[name], pools, order)
        encoder.schema[name] = Column('numeric', None, 0, 1)
    encoded['click'] = encoded['click'].astype(np.int8)
    if 'propensity' in encoded:
        encoded['propensity'] = encoded['propensity'].astype(np.float64)
    return encoded


def _places(block: RawTable, key: np.ndarray, item: np.ndarray, first: int) -> np.ndarray:
    """int32 [n], where each shown item stands in its pool."""
    pools = block['pool']
    wanted = pools.codes.astype(np.int64) * 2**31 + item
    place = np.searchsorted(key, wanted)
    missing = key[np.minimum(place, len(key) - 1)] != wanted
    if missing.any():
        row = int(np.argmax(missing))
        column = block['item']
        raw = column.values[column.codes[row]] if isinstance(column, Coded) else column[row]
        raise ValueError(
            f'visit {first + row} shows item {raw.item()!r}, which is not among the '
            f'{pools.rows.lengths[pools.codes[row]]} items of its pool: add it there or drop the visit'
        )
    return (place - pools.rows.offsets[pools.codes]).astype(np.int32)


def _reordered(column: Ragged, pools: Pools, order: np.ndarray) -> Ragged:
    lengths = column.lengths
    start = np.repeat(column.offsets[:-1], lengths)
    slot = np.arange(len(column.values)) - start
    begin = np.repeat(pools.rows.offsets[pools.codes], lengths)  # of the visit's pool among all pools
    return column._replace(values=column.values[start + order[begin + slot] - begin].astype(np.float32))


def _writer(folder: Path, encoded: Mapping[str, Any]) -> ColumnWriter:
    ragged = {name: c.values.dtype for name, c in encoded.items() if isinstance(c, Ragged)}
    return ColumnWriter(folder, {n: ragged[n] if n in ragged else c.dtype for n, c in encoded.items()}, ragged)


def _write_items(folder: Path, encoder: Encoder, items: RawTable) -> dict[str, int]:
    attributes: dict[str, Any] = dict(encoder.columns(items))
    ids = attributes.pop('item', np.zeros(0, np.int32))
    rows, schema = encoder.schema['item'].rows, encoder.schema
    write_columns(
        folder / 'items', {name: spread(column, ids, rows, schema.get(name)) for name, column in attributes.items()}
    )
    return {'items': rows - 2} | ({'items_without_attributes': rows - 2 - len(ids)} if items else {})
