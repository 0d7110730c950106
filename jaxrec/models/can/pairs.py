"""CAN's co-actions: which columns meet, and which slices of which tables hold what they own.

Each pair reads two tables apart from the embeddings, the paper's "parameter independence" (level 1 of section
4.4): `<vocabulary>_induction` holds micro-MLPs for the ids of the candidate column, `<vocabulary>_feed` an
input for each id of the other column. With combination independence (level 2, eq. 12-13) every pair owns a
slice of both; with order independence (level 3) every order owns a micro-MLP within the pair's slice.

B batch, C candidates, L history, P numbers that one pair reads of an induction row, I input width.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxrec.data.features.pairs import Pair, read_pairs
from jaxrec.embeddings import Table, normal
from jaxrec.models.ctr.features import FeatureMap, read
from jaxrec.models.ctr.task import Ids
from jaxrec.training.parameters import INDUCTION

FEED = '_feed'


@dataclasses.dataclass(frozen=True)
class CoActions:
    """The pairs of a model and their tables.

    Attributes:
      pairs, features: the co-actions, and the feature map of their columns.
      width, inputs: P and I.
      combination_independence: every pair has its own slice of its two tables; else the pairs of one table share its
        rows.
    """

    pairs: tuple[Pair, ...]
    features: FeatureMap
    width: int
    inputs: int
    combination_independence: bool = False

    def table_names(self, pair: Pair) -> tuple[str, str]:
        """Names of the induction and the feed table of one pair; columns of one vocabulary share them."""
        columns = self.features.columns
        return f'{columns[pair.candidate].vocabulary}{INDUCTION}', f'{columns[pair.column].vocabulary}{FEED}'

    def ids(self, batch: Mapping[str, Any]) -> Ids:
        """Rows of the induction and feed tables of a batch {key: [B, ...]}: {table: {'side/column': ids}}."""
        ids: Ids = {}
        for pair in self.pairs:
            for key, table in zip(pair.keys, self.table_names(pair), strict=True):
                ids.setdefault(table, {})[key] = read(batch, key)
        return ids

    def tables(self, init_std: float) -> list[Table]:
        """The induction and feed tables, one a name, as wide as the slices of all pairs that read it."""
        tables: dict[str, Table] = {}
        for pair in self.pairs:
            columns = (self.features.columns[name] for name in (pair.candidate, pair.column))
            places = zip(columns, self.table_names(pair), self.slices(pair), strict=True)
            for column, name, place in places:  # the last pair of a table has its last slice
                tables[name] = Table(name, column.rows, place.stop, normal(init_std))
        return list(tables.values())

    def slices(self, pair: Pair) -> tuple[slice, slice]:
        """Which numbers of an induction row and of a feed row belong to a pair."""
        earlier = self.pairs[: self.pairs.index(pair)] if self.combination_independence else ()
        induction, feed = self.table_names(pair)
        before = sum(self.table_names(other)[0] == induction for other in earlier) * self.width
        fed_before = sum(self.table_names(other)[1] == feed for other in earlier) * self.inputs
        return slice(before, before + self.width), slice(fed_before, fed_before + self.inputs)

    def read(self, pair: Pair, rows: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
        """Takes a pair's slices out of the rows {table: {'side/column': [B, ..., *]}}.

        Returns:
          weights float [B, C, P] and inputs float [B, L, I], [B, C, I] or [B, I], as the side has it.
        """
        (candidate, other), (induction, feed) = pair.keys, self.table_names(pair)
        own, own_input = self.slices(pair)
        return rows[induction][candidate][..., own], rows[feed][other][..., own_input]


def make_pairs(given: Sequence[Sequence[str]], features: FeatureMap) -> tuple[Pair, ...]:
    """Checks the pairs of a config; by default each candidate column meets the same column of the history.

    Args:
      given: (candidate column, 'side/column') pairs; none of them for the default.
      features: the feature map.

    Raises:
      ValueError: pairs that `data.pairs.read_pairs` refuses, or no pair at all.
    """
    given = given or [
        (column, f'history/{column}')
        for side, column in features.features
        if side == 'candidate'
        and ('history', column) in features.features
        and features.columns[column].kind == 'categorical'
    ]
    if not given:
        raise ValueError(
            'model.pairs: no categorical column is on both the candidate and the history side; name pairs, '
            'such as (("site", "candidate/app"),)'
        )
    return read_pairs(given, features.features, features.columns, 'model.pairs')
