"""CAN's co-actions: which columns meet, and which slices of which tables hold what they own.

Each pair reads two tables apart from the embeddings, the paper's "parameter independence" (level 1 of section
4.4): `<vocabulary>_induction` holds micro-MLPs for the ids of the candidate column, `<vocabulary>_feed` an
input for each id of the other column. With combination independence (level 2, eq. 12) every pair owns a slice
of both; with order independence (level 3, eq. 13) every order owns a micro-MLP within the pair's.

B batch, C candidates, L history, P numbers that one pair reads of an induction row, I input width.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxrec.embeddings import Table, normal
from jaxrec.models.ctr.features import SIDES, FeatureMap, read
from jaxrec.models.ctr.task import Ids

INDUCTION, FEED = '_induction', '_feed'
_HOW = (
    'write pairs as (candidate column, "history/column"), the second of any side, such as "user/user" or '
    '"candidate/category"'
)


@dataclasses.dataclass(frozen=True)
class Pair:
    """One co-action.

    Attributes:
      candidate: the candidate column whose ids own micro-networks.
      side: 'history', 'user' or 'candidate', where the input ids come from.
      column: the column of that side.
    """

    candidate: str
    side: str
    column: str

    @property
    def keys(self) -> tuple[str, str]:
        """Batch keys of the candidate and of the other side."""
        return f'candidate/{self.candidate}', f'{self.side}/{self.column}'


@dataclasses.dataclass(frozen=True)
class CoActions:
    """The pairs of a model and their tables.

    Attributes:
      pairs: the co-actions.
      features: the feature map that the pairs' columns belong to.
      width: P.
      inputs: I.
      combination_independence: every pair has its own slice of its two tables; else the pairs of one table
        share its rows.
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
        """Rows of the induction and feed tables.

        Args:
          batch: {key: [B, ...]}.

        Returns:
          {table: {'side/column': ids}}.
        """
        ids: Ids = {}
        for pair in self.pairs:
            for key, table in zip(pair.keys, self.table_names(pair), strict=True):
                ids.setdefault(table, {})[key] = read(batch, key)
        return ids

    def tables(self, init_std: float) -> list[Table]:
        """The induction and feed tables.

        Args:
          init_std: standard deviation of the initial rows.

        Returns:
          One table a name, however many pairs read it; as wide as their slices together.
        """
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
        """Takes a pair's slices out of the rows.

        Args:
          pair: one of the pairs.
          rows: {table: {'side/column': [B, ..., *]}}.

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

    Returns:
      The pairs.

    Raises:
      ValueError: a pair of columns that are not features, or not categorical, or that meets itself; a pair
        named twice, or no pair at all.
    """
    categorical = {name for name, column in features.columns.items() if column.kind == 'categorical'}
    given = given or [
        (column, f'history/{column}')
        for side, column in features.features
        if side == 'candidate' and ('history', column) in features.features and column in categorical
    ]
    pairs: list[Pair] = []
    for entry in given:
        pair = _make_pair(entry, features)
        if pair in pairs:
            raise ValueError(f'pairs: {tuple(entry)!r} stands there twice; take one of them out')
        pairs.append(pair)
    if not pairs:
        raise ValueError(
            'pairs: no categorical column is on both the candidate and the history side; name pairs: ' + _HOW
        )
    return tuple(pairs)


def _make_pair(entry: Sequence[str], features: FeatureMap) -> Pair:
    """Checks one pair."""
    if not isinstance(entry, (list, tuple)) or [type(name) for name in entry] != [str, str]:
        raise ValueError(f'pairs: {entry!r} is no pair of two names; {_HOW}')
    candidate, other = entry
    side, _, column = other.partition('/')
    for feature in (('candidate', candidate), (side, column)):
        if feature not in features.features or side not in SIDES:
            raise ValueError(
                f'pairs: ({candidate!r}, {other!r}) needs the feature {"/".join(feature)}, but the model '
                f'has {["/".join(f) for f in features.features]}; {_HOW}'
            )
        kind = features.columns[feature[1]].kind
        if kind != 'categorical':
            raise ValueError(f'pairs: column {feature[1]!r} is {kind}; a pair needs one id')
    if (side, column) == ('candidate', candidate):
        raise ValueError(
            f'pairs: ({candidate!r}, {other!r}) is a column with itself, which its embedding says alone; '
            'name another column'
        )
    return Pair(candidate, side, column)
