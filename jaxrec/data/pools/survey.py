"""The first pass over visits with candidate pools: checks each block, and makes the vocabularies of all.

Letters: N visits, n of a block, k distinct pools of a block.
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxrec.data.logs.columns import Ragged
from jaxrec.data.logs.encoding import Encoder, make_vocabularies, select
from jaxrec.data.logs.raw_columns import Coded, RawLog, RawTable, check_raw_visits, distinct, values_of
from jaxrec.data.logs.schema import ColumnSpec
from jaxrec.data.logs.vocabulary import OUT_OF_VOCABULARY, Vocabulary, merge_counts


class Pools(NamedTuple):
    """The pools of visits that share them."""

    codes: np.ndarray  # integer [n], each in [0, k); the pool of visit n is row `codes[n]`
    rows: Ragged  # `Ragged` of k rows of raw items


@dataclasses.dataclass(frozen=True)
class Survey:
    """What the first pass finds."""

    specs: Mapping[str, ColumnSpec]  # how columns become features, keys included; those of pair columns too
    pairs: tuple[str, ...]  # event columns with a number for each candidate
    vocabularies: Mapping[str, Vocabulary]  # {name: vocabulary}
    items: RawTable  # checked raw attributes of the items that occur
    left_out: int  # attribute rows of items that occur in no pool and no history
    digest: str  # of the content
    has_propensity: bool  # whether visits have that column


def survey(blocks: Iterable[RawTable], items: RawTable, columns: Mapping[str, ColumnSpec], seed: int) -> Survey:
    """Checks all blocks of raw visits, each alone, and counts the values of their columns; see `compile_pools`."""
    counts: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    digest, last = hashlib.sha256(), None
    kinds: dict[str, Any] = {}
    specs: dict[str, ColumnSpec] = {}
    pairs: tuple[str, ...] = ()
    for first, block in numbered(blocks):
        if not kinds:
            kinds, pairs = _kinds(block), _pair_columns(block, columns)
            specs = _with_keys(columns, block)
        _check_same_columns(_kinds(block), kinds, first)
        plain = {name: column for name, column in block.items() if name not in ('pool', *pairs)}
        with _saying(first):
            raw = check_raw_visits(plain, items, {n: spec for n, spec in specs.items() if n not in pairs})
        _check_order(raw.events['time'], first, last)
        _check_pools(block, pairs, first)
        items, last = raw.items, raw.events['time'][-1]
        digest.update(_digest(block))
        for name, counted in _counted(block, specs):
            counts[name] = merge_counts([counts[name], counted]) if name in counts else counted
    if not kinds:
        raise ValueError('the log is empty, there is not one visit: check the reader and its filters')
    digest.update(_digest(items))
    categories = [name for name in items if name in specs and specs[name].kind != 'numeric']
    counts |= {name: distinct(items[name]) for name in categories if name != 'item'}
    is_text = lambda name: counts[name][0].dtype.kind == 'U'
    vocabularies = make_vocabularies(specs, is_text, counts.__getitem__, seed)
    ids = Encoder(specs, vocabularies).column('item', items['item']) if items else np.zeros(0, np.int32)
    kept = np.asarray(ids) > OUT_OF_VOCABULARY
    return Survey(
        specs=specs,
        pairs=pairs,
        vocabularies=vocabularies,
        items={name: select(column, np.flatnonzero(kept)) for name, column in items.items()},
        left_out=int((~kept).sum()),
        digest=digest.hexdigest(),
        has_propensity='propensity' in kinds,
    )


def _digest(table: RawTable) -> bytes:
    flat = {name: column for name, column in table.items() if name != 'pool'}
    if 'pool' in table:
        flat |= {f'pool.{name}': column for name, column in table['pool']._asdict().items()}
    return RawLog({'events': flat}, {}).digest().encode()


def numbered(blocks: Iterable[RawTable]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the number of each block's first visit, and the block, its pools as `Pools`, but for empty blocks.

    Raises:
      ValueError: a block without pools.
    """
    first = 0
    for given in blocks:
        block = dict(given)
        pool = block.get('pool')
        if isinstance(pool, Ragged):
            pool = block['pool'] = Pools(np.arange(len(pool.lengths)), pool)
        if not isinstance(pool, Pools):
            raise ValueError(
                f'visits have {", ".join(block)}, and no pool among them as `Ragged` of items or as `Pools`: '
                'give the candidates of each visit'
            )
        if len(pool.codes):
            block['pool'] = _used(pool, first)
            yield first, block
            first += len(pool.codes)


def _used(pool: Pools, first: int) -> Pools:
    """The pools without those that no visit has, whose items may occur nowhere else."""
    codes, rows = pool
    known = len(rows.lengths)
    if codes.ndim != 1 or codes.dtype.kind not in 'iu' or not (0 <= codes.min() and codes.max() < known):
        raise ValueError(
            f'the column pool of the visits from {first} on is {codes.dtype} {codes.shape} for {known} '
            'pools: give each visit the row of its pool, an integer'
        )
    used, place = np.unique(codes, return_inverse=True)
    return pool if len(used) == known else Pools(place, rows.take(used))


def _check_order(time: np.ndarray, first: int, last: Any) -> None:
    before = np.concatenate([time[:1] if last is None else np.asarray([last]), time[:-1]])
    late = time < before
    if late.any():
        row = int(np.argmax(late))
        raise ValueError(
            f'visit {first + row} has time {time[row]}, earlier than the visit before it, {before[row]}: '
            'sort the visits by time, a policy must not learn from what comes later'
        )


def _check_pools(block: Mapping[str, Any], pairs: tuple[str, ...], first: int) -> None:
    codes, rows = block['pool']
    lengths = rows.lengths
    if len(codes) != len(block['item'].codes if isinstance(block['item'], Coded) else block['item']):
        raise ValueError(f'the column pool has {len(codes)} rows and not one a visit: give each visit its pool')
    if (lengths[codes] < 1).any():
        row = int(np.argmin(lengths[codes]))
        raise ValueError(f'visit {first + row} has an empty pool: drop it, there was nothing to choose from')
    for name in pairs:
        if not np.array_equal(block[name].lengths, lengths[codes]):
            raise ValueError(f"column {name!r} must have one number for each candidate of the visit's pool")
        if not np.isfinite(block[name].values).all():
            raise ValueError(f'column {name!r} holds a number that is not finite: fill it before compiling')
    if 'propensity' in block:
        propensity = np.asarray(block['propensity'])
        wrong = ~((propensity > 0) & (propensity <= 1))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f'visit {first + row} has propensity {propensity[row]}: it must lie in (0, 1], the '
                'probability with which the logger showed this item; drop visits whose propensity is lost'
            )


def _check_same_columns(found: Mapping[str, Any], kinds: Mapping[str, Any], first: int) -> None:
    if found != kinds:
        name = next(name for name in [*kinds, *found] if found.get(name) != kinds.get(name))
        raise ValueError(
            f'column {name!r} of the visits from {first} on is {found.get(name)}, before it was '
            f'{kinds.get(name)}: give all blocks the same columns'
        )


def _kinds(block: Mapping[str, Any]) -> dict[str, str]:
    """What must not change from block to block: texts may differ in width, numbers not in dtype."""
    values = lambda column: column.rows.values if isinstance(column, Pools) else values_of(column)
    dtypes = {name: np.asarray(values(column)).dtype for name, column in block.items()}
    return {n: f'{type(block[n]).__name__} {"str" if dtype.kind == "U" else dtype}' for n, dtype in dtypes.items()}


def _pair_columns(block: Mapping[str, Any], columns: Mapping[str, ColumnSpec]) -> tuple[str, ...]:
    numeric = {name for name, spec in columns.items() if spec.kind == 'numeric'}
    return tuple(name for name, column in block.items() if isinstance(column, Ragged) and name in numeric)


def _with_keys(columns: Mapping[str, ColumnSpec], block: Mapping[str, Any]) -> dict[str, ColumnSpec]:
    """Adds the descriptions of `item` and `history`, and refuses those that would mix candidates up."""
    specs = dict(columns)
    item = specs.setdefault('item', ColumnSpec('categorical'))
    if item != ColumnSpec('categorical'):
        raise ValueError(
            "column 'item' is described with buckets, a floor or another vocabulary: candidates of one pool "
            'must keep ids of their own, leave its description out'
        )
    for name in ('pool', 'propensity', 'shown'):
        if name in specs or (name == 'shown' and name in block):
            raise ValueError(f'{name!r} is a key column and no feature: give a copy under another name')
    if 'history' in block:
        history = specs.setdefault('history', ColumnSpec('multi', vocabulary='item'))
        if (history.kind, history.vocabulary) != ('multi', 'item'):
            raise ValueError(
                "column 'history' is described otherwise than as ColumnSpec('multi', vocabulary='item', ...):"
                ' it holds items that the user met, rename the column if it holds anything else'
            )
    return specs


def _counted(
    block: Mapping[str, Any], specs: Mapping[str, ColumnSpec]
) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """The distinct values of the visits' columns; an item counts once for each visit that could show it."""
    for name, column in block.items():
        spec = specs.get(name)
        if name == 'item':
            codes, rows = block['pool']
            uses = np.repeat(np.bincount(codes, minlength=len(rows.lengths)), rows.lengths)
            values, place = np.unique(rows.values, return_inverse=True)
            yield name, (values, np.bincount(place, uses).astype(np.int64))
        elif spec is not None and spec.kind != 'numeric':
            yield name, distinct(column)


@contextlib.contextmanager
def _saying(first: int) -> Iterator[None]:
    """Says from which visit on rows are counted, where blocks follow each other."""
    try:
        yield
    except ValueError as error:
        raise (ValueError(f'visits from {first} on: {error}') if first else error) from None
