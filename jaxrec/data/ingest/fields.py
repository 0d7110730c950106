"""What a mapping comes to: columns of files on their way into a log, and how the files are written."""

import dataclasses
from typing import Any

from jaxrec.data.logs.schema import ColumnSpec

UNITS = {'s': 1_000_000, 'ms': 1_000, 'us': 1, 'iso': 1}  # microseconds in one; 'iso' is text
TYPES = ('string', 'integer')


@dataclasses.dataclass(frozen=True)
class Field:
    """One column on its way from a file into the log."""

    name: str  # in the log
    column: str  # in the file
    role: str  # 'user', 'item', 'time', 'label' or 'feature'
    spec: ColumnSpec | None = None  # what it becomes; None for times and labels, which are stored and are no features
    type: str | None = None  # 'string' or 'integer' for ids and categories; None until the files have been looked at
    unit: str | None = None  # of times, a key of `UNITS`; None for Parquet's own timestamps
    separator: str | None = None  # between the values of a multi-valued text
    positive: tuple[str, ...] | None = None  # texts of the label that mean 1, others 0; None: it is a number
    fill: float | str | None = None  # replaces a missing value; None rejects the row (texts: the empty text)

    @property
    def coded(self) -> bool:
        """Whether its values are looked up in a vocabulary."""
        return self.spec is not None and self.spec.kind != 'numeric'


@dataclasses.dataclass(frozen=True)
class Format:
    """How CSV files are written."""

    delimiter: str | None = None  # one character; None looks at the first line
    encoding: str = 'utf-8'  # a codec Python knows
    quote: str = '"'  # the quote character; '' for none
    header: tuple[str, ...] | None = None  # column names of files without a header line; None reads that line


@dataclasses.dataclass(frozen=True)
class Side:
    """Where the attributes of items or users come from."""

    fields: tuple[Field, ...] = ()  # the attributes
    file: str | None = None  # their own file, or None when they are in the event files
    key: Field | None = None  # the item or user of a row of that file


@dataclasses.dataclass(frozen=True)
class LogMapping:
    """A checked mapping."""

    events: tuple[Field, ...]  # fields of the event table; `user`, `item` and `time` first
    items: Side  # the attributes of items
    users: Side  # the attributes of users
    format: Format  # of the CSV files
    given: dict[str, Any]  # the dict it was made from

    @property
    def has_users(self) -> bool:
        """Whether it describes a behaviour log; otherwise a click log."""
        return any(field.role == 'user' for field in self.events)

    @property
    def sides(self) -> dict[str, tuple[str, Side]]:
        """{'items': ('item', items), 'users': ('user', users)}."""
        return {'items': ('item', self.items), 'users': ('user', self.users)}

    @property
    def in_events(self) -> tuple[Field, ...]:
        """All fields that the event files hold, attributes without a file of their own included."""
        inline = [f for side in (self.items, self.users) if side.file is None for f in side.fields]
        return (*self.events, *inline)

    @property
    def specs(self) -> dict[str, ColumnSpec]:
        """{name: ColumnSpec} of all features, as `compile_log` takes them."""
        fields = (*self.events, *self.items.fields, *self.users.fields)
        return {f.name: f.spec for f in fields if f.spec is not None}
