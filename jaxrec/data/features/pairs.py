"""Pairs of columns: a candidate column and another of any side, as configs write them.

`('item', 'history/category')` is the candidate's item with each category of the history; `'user/...'` and
`'candidate/...'` name single ids.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from jaxrec.data.logs.schema import Column

SIDES = ('user', 'candidate', 'history')
_HOW = (
    'write pairs as (candidate column, "history/column"), the second of any side, such as "user/user" or '
    '"candidate/category"'
)


@dataclasses.dataclass(frozen=True)
class Pair:
    """A candidate column, and another column of side 'history', 'user' or 'candidate'."""

    candidate: str
    side: str
    column: str

    @property
    def keys(self) -> tuple[str, str]:
        """Batch keys of the candidate and of the other side."""
        return f'candidate/{self.candidate}', f'{self.side}/{self.column}'


def read_pairs(
    given: Iterable[Sequence[str]], features: Sequence[tuple[str, str]], columns: Mapping[str, Column], where: str
) -> tuple[Pair, ...]:
    """Checks the pairs of a config.

    Args:
      given: (candidate column, 'side/column') pairs.
      features: the (side, column) that batches hold, described by `columns`.
      where: the config key, for messages.

    Raises:
      ValueError: a pair of columns that are not features, or not categorical, or that meets itself, or is named twice.
    """
    pairs: list[Pair] = []
    for entry in given:
        if not isinstance(entry, (list, tuple)) or [type(name) for name in entry] != [str, str]:
            raise ValueError(f'{where}: {entry!r} is no pair of two names; {_HOW}')
        side, _, column = entry[1].partition('/')
        pair = Pair(entry[0], side, column)
        _check(pair, features, columns, f'{where}: {tuple(entry)!r}')
        if pair in pairs:
            raise ValueError(f'{where}: {tuple(entry)!r} stands there twice; take one of them out')
        pairs.append(pair)
    return tuple(pairs)


def _check(pair: Pair, features: Sequence[tuple[str, str]], columns: Mapping[str, Column], where: str) -> None:
    for side, column in (('candidate', pair.candidate), (pair.side, pair.column)):
        if (side, column) not in features or side not in SIDES:
            have = ['/'.join(feature) for feature in features]
            raise ValueError(f'{where} needs the feature {side}/{column}, but there are {have}; {_HOW}')
        if columns[column].kind != 'categorical':
            raise ValueError(f'{where}: column {column!r} is {columns[column].kind}; a pair needs one id')
    if (pair.side, pair.column) == ('candidate', pair.candidate):
        raise ValueError(f'{where} is a column with itself, which its embedding says alone; name another column')
