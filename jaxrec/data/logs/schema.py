"""Feature columns: what a user asks of a raw column, and what a model may know of the compiled one."""

import dataclasses

KINDS = ('categorical', 'multi', 'numeric')


@dataclasses.dataclass(frozen=True)
class ColumnSpec:
    """How a raw column becomes a feature."""

    kind: str  # 'categorical', 'multi' (several values a row) or 'numeric'
    min_count: int = 1  # frequency floor, counted in rows of the column's own table; rarer values become id 1
    buckets: int | None = None  # hash into so many buckets instead of enumerating
    vocabulary: str | None = None  # its name, by default the column's own; columns that give the same name share ids
    width: int | None = None  # keep the first so many values of a multi-valued row; all by default

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f'column kind {self.kind!r} is unknown: use one of {", ".join(KINDS)}')
        if self.width is not None and (self.kind != 'multi' or self.width < 1):
            raise ValueError(
                f'width={self.width} on a {self.kind} column: only multi-valued columns have one, at least 1'
            )


@dataclasses.dataclass(frozen=True)
class Column:
    """What a model may know of a feature column."""

    kind: str  # 'categorical', 'multi' (several ids a row) or 'numeric'
    vocabulary: str | None  # its name, shared by all columns that name it; None for numeric
    rows: int  # of a table for it, ids 0 and 1 included; 0 for numeric
    width: int  # values a row: 1, or the most that any row of a multi-valued column holds
