"""What a mapping comes to: columns of files on their way into a log, and how the files are written."""

import dataclasses
from typing import Any

from jaxrec.data.logs.schema import ColumnSpec

UNITS = {'s': 1_000_000, 'ms': 1_000, 'us': 1, 'iso': 1}  # microseconds in one; 'iso' is text
TYPES = ('string', 'integer')


@dataclasses.dataclass(frozen=True)
class Field:
    """One column on its way from a file into the log.

    Attributes:
      name: in the log.
      column: in the file.
      role: 'user', 'item', 'time', 'label' or 'feature'.
      spec: what it becomes; None for times and labels, which are stored and are no features.
      type: 'string' or 'integer' for ids and categories; None until the files have been looked at.
      unit: of times, a key of `UNITS`; None for Parquet's own timestamps.
      separator: between the values of a multi-valued text.
      positive: texts of the label that mean 1, all others 0; None reads the label as a number.
      fill: what stands in for a missing value; None rejects the row (texts: the empty text).
    """

    name: str
    column: str
    role: str
    spec: ColumnSpec | None = None
    type: str | None = None
    unit: str | None = None
    separator: str | None = None
    positive: tuple[str, ...] | None = None
    fill: float | str | None = None

    @property
    def coded(self) -> bool:
        """Whether its values are looked up in a vocabulary."""
        return self.spec is not None and self.spec.kind != 'numeric'


@dataclasses.dataclass(frozen=True)
class Format:
    """How CSV files are written.

    Attributes:
      delimiter: one character; None looks at the first line.
      encoding: a codec Python knows.
      quote: the quote character; '' for none.
      header: column names of files that have no header line; None reads them from the first line.
    """

    delimiter: str | None = None
    encoding: str = 'utf-8'
    quote: str = '"'
    header: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Side:
    """Where the attributes of items or users come from.

    Attributes:
      fields: the attributes.
      file: their own file, or None when they stand in the event files.
      key: the item or user of a row of that file.
    """

    fields: tuple[Field, ...] = ()
    file: str | None = None
    key: Field | None = None


@dataclasses.dataclass(frozen=True)
class LogMapping:
    """A checked mapping.

    Attributes:
      events: fields of the event table; `user`, `item` and `time` first.
      items, users: the attribute tables.
      format: of the CSV files.
      given: the dict it was made from.
    """

    events: tuple[Field, ...]
    items: Side
    users: Side
    format: Format
    given: dict[str, Any]

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
