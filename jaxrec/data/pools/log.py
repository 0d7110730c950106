"""Pool logs: at each visit one item was shown out of a pool of candidates, and clicked or not.

Contextual bandits learn from them and are evaluated on them. A log folder holds `manifest.json`, `events/` (one row a
visit, in time order), `pools/` (each distinct pool once: visits share them), `items/` (row = item id) and `vocab/`. The
key columns are `time`, `item` (the shown one), `pool`, `click` and `propensity` (the probability with which the logger
showed that item); `history` is what a user met before. All other event columns are known before the choice: the user
side.

Letters: N visits, K distinct pools, C candidates of the largest pool, V item rows.
"""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxrec.data.logs.columns import Ragged
from jaxrec.data.logs.log import REMEDY, Log, describe_settings
from jaxrec.data.logs.raw_columns import RawTable
from jaxrec.data.logs.schema import Column, ColumnSpec
from jaxrec.data.pools.encoding import write_visits
from jaxrec.data.pools.survey import Pools, survey

__all__ = ['Column', 'ColumnSpec', 'PoolLog', 'Pools', 'compile_pools']

CHUNK = 1 << 20  # visits that are checked at a time
UNIFORM, PROPENSITIES, UNKNOWN = 'uniform', 'propensities', 'unknown'


class PoolLog(Log):
    """A compiled log of visits with candidate pools.

    Attributes:
      folder, manifest, schema: see `Log`.
      events: ColumnStore of N rows in time order: `time`; `item` int32, the shown one; `pool` int32, its row in
        `pools`; `shown` int32, the item's place in the pool; `click` of 0 and 1; `propensity` float64 where the
        logger's are known; the other columns.
      items: ColumnStore of item attributes, row = item id; rows 0 and 1 included.
      pools: ColumnStore of K rows: `candidates`, ragged int32, ascending item ids.
    """

    KIND: ClassVar[str] = 'pool log'
    FORMAT: ClassVar[str] = 'jaxrec.pool_log'
    COMPILER: ClassVar[str] = 'compile_pools'
    STORES: ClassVar[tuple[str, ...]] = ('events', 'items', 'pools')

    def __init__(self, folder: str | Path, check_ids: bool = True):
        """Opens a log folder; with `check_ids` every visit is checked, as `compile_pools` checks raw ones.

        Raises:
          ValueError: as `Log`; for visits that are out of time order, or whose shown item is not in their pool, whose
            click is not 0 or 1 or whose propensity is none; and for an empty pool.
        """
        super().__init__(folder, check_ids)
        self.items, self.pools = self.stores['items'], self.stores['pools']
        if check_ids:
            self._check_pools()
            for first in range(0, len(self), CHUNK):
                self._check_visits(slice(first, first + CHUNK))

    @property
    def candidates(self) -> int:
        """C."""
        return int(self.manifest['counts']['largest_pool'])

    @property
    def logging(self) -> str:
        """How the shown items were chosen: 'uniform' over each pool, by 'propensities', or 'unknown'."""
        return str(self.manifest['logging'])

    def _check_pools(self) -> None:
        pools, rows = self.pools['candidates'], self.schema['item'].rows
        where = self.pools.folder / 'candidates'
        if (pools.lengths < 1).any():
            raise ValueError(f'{where} row {int(np.argmin(pools.lengths))} is an empty pool: {REMEDY}')
        ids = pools.values
        if ids.size and not (2 <= ids.min() and ids.max() < rows):
            raise ValueError(f'{where} holds ids {ids.min()}..{ids.max()}, not of 2..{rows - 1}: {REMEDY}')

    def _check_visits(self, part: slice) -> None:
        pools, events = self.pools['candidates'], self.events
        # The visit before the part belongs to it as far as the order of time goes.
        time = np.asarray(events['time'][max(part.start - 1, 0) : part.stop])
        pool, shown = events['pool'][part], events['shown'][part]
        wrong = {'pool': (pool < 0) | (pool >= len(self.pools))}
        pool = np.where(wrong['pool'], 0, pool)
        wrong['shown'] = (shown < 0) | (shown >= pools.lengths[pool])
        place = pools.offsets[pool] + np.where(wrong['shown'], 0, shown)
        wrong['item'] = events['item'][part] != pools.values[place]
        wrong['click'] = ~np.isin(events['click'][part], (0, 1))
        if self.logging != UNKNOWN:
            propensity = events['propensity'][part]
            wrong['propensity'] = ~((propensity > 0) & (propensity <= 1))
        late = np.concatenate([np.zeros(int(part.start == 0), bool), np.diff(time) < 0])
        for name, bad in {**wrong, 'time': late}.items():
            if bad.any():
                row = int(np.argmax(bad)) + part.start
                raise ValueError(
                    f'{events.folder / name}.npy is {events[name][row]} at visit {row}, which does not fit '
                    f'the other columns: {REMEDY}'
                )

    @functools.cached_property
    def padded_pools(self) -> np.ndarray:
        """int32 [K, C], the candidates of each pool from the left, then zeros."""
        return self.pools['candidates'].rows(np.arange(len(self.pools)), self.candidates)

    def is_pair(self, name: str) -> bool:
        """Whether an event column holds a number for each candidate of the visit's pool."""
        numeric = name in self.schema and self.schema[name].kind == 'numeric'
        return numeric and name in self.events and isinstance(self.events[name], Ragged)


def compile_pools(
    folder: str | Path,
    visits: RawTable | Iterable[RawTable],
    items: RawTable | None = None,
    *,
    columns: Mapping[str, ColumnSpec],
    uniform: bool = False,
    sources: Iterable[str | Path] = (),
    dropped: Mapping[str, int] | None = None,
    notes: Mapping[str, int] | None = None,
    request: Mapping[str, Any] | None = None,
    seed: int = 0,
    provenance: str = 'real',
) -> PoolLog:
    """Compiles visits to a log folder, which appears complete or not at all.

    Visits may come in blocks, which are read twice and never held together: memory is that of a block, of the distinct
    pools and of the vocabularies.

    Args:
      folder: of the log. If it already holds the log of the same content and settings, that one is returned.
      visits: raw columns [N] in time order, or something that yields them in blocks each time it is iterated. Required
        are `time`, `item` (the shown one), `pool` (`Ragged` of raw items, or `Pools`) and `click`. `propensity` is the
        probability with which the logger showed the item. `history` is `Ragged` of raw items that the user met before,
        oldest first. A `Ragged` described as numeric holds one number for each candidate, in the order of the pool.
        Columns not in `columns` are stored as they are, must be numeric and are no features.
      items: raw attributes by item, among them the key column `item`. Items of no pool and no history are skipped.
      columns: how columns become features; `item` and `history` are features in any case.
      uniform: for visits without propensities: the logger drew each shown item uniformly from its pool.
      sources, dropped, notes, request, seed, provenance: see `compile_log`.

    Raises:
      ValueError: visits that cannot be compiled, naming the visit: out of time order, an empty pool, a shown item
        missing from it, an item twice in it, a click other than 0 and 1, a propensity outside (0, 1]; a folder that
        holds anything else.
    """
    folder = Path(folder)
    blocks = [visits] if isinstance(visits, Mapping) else visits
    surveyed = survey(blocks, items or {}, columns, seed)
    if uniform and surveyed.has_propensity:
        raise ValueError(
            'uniform=True with a column propensity: leave one of them out, the log says itself whether its '
            'propensities are uniform'
        )
    settings = describe_settings(
        surveyed.specs,
        surveyed.digest,
        sources=sources,
        dropped=dropped,
        notes=notes,
        request=request,
        seed=seed,
        provenance=provenance,
        more={'uniform': uniform},
    )
    if existing := PoolLog.existing(folder, settings['fingerprint']):
        return existing
    return PoolLog.publish(folder, settings, lambda partial: write_visits(partial, blocks, surveyed, uniform))
