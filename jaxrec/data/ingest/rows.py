"""New rows of CSV or Parquet files as ids of a log, a block at a time, for scoring.

Letters: n rows of a block.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.ingest.blocks import read_blocks
from jaxrec.data.ingest.chunks import Part, Rejected, locate, merge_rejected, take_rows
from jaxrec.data.ingest.convert import split_lists
from jaxrec.data.ingest.events import SECOND
from jaxrec.data.ingest.fields import Field, LogMapping
from jaxrec.data.ingest.files import find_files
from jaxrec.data.ingest.merge import numpy_values
from jaxrec.data.ingest.types import resolve_types
from jaxrec.data.logs.columns import Ragged
from jaxrec.data.logs.encoding import cut
from jaxrec.data.logs.log import Log
from jaxrec.data.logs.vocabulary import OUT_OF_VOCABULARY


@dataclasses.dataclass
class NewRows:
    """Some rows."""

    kept: pa.RecordBatch  # the columns to be returned, as they are in the file
    columns: dict[str, np.ndarray | Ragged]  # {name: ids int32 [n], `Ragged` ids or float32 [n]}
    times: np.ndarray | None  # [n] in seconds, or None

    def __len__(self) -> int:
        return self.kept.num_rows

    def slice(self, first: int, last: int) -> 'NewRows':
        """Rows `first` to `last`."""
        cut_ = lambda c: c.take(np.arange(first, last)) if isinstance(c, Ragged) else c[first:last]
        return NewRows(
            self.kept.slice(first, last - first),
            {name: cut_(column) for name, column in self.columns.items()},
            None if self.times is None else self.times[first:last],
        )


class RowReader:
    """Reads files of new rows.

    Attributes:
      rows: number of rows read so far that can be scored.
      unknown: {column: values that the log's vocabulary does not hold}, so far.
      rejected: {reason: {'rows': count, 'first': ['file:line', ...]}}, complete at the end.
    """

    def __init__(
        self,
        inputs: Sequence[str | Path],
        mapping: LogMapping,
        log: Log,
        columns: Sequence[str],
        keep: Sequence[str] | None = None,
    ):
        """Reads the heads of the files.

        Args:
          inputs: files and patterns.
          mapping: what their columns are.
          log: whose vocabularies give the ids.
          columns: names of the log's columns that rows must bring, besides their time.
          keep: columns of the files to be returned; None keeps user, item and time, or `columns`.

        Raises:
          ValueError: naming what is missing in the files or in the mapping.
        """
        fields = {field.name: field for field in mapping.in_events}
        for name in columns:
            if name not in fields:
                raise ValueError(
                    f'the model reads column {name!r}, which the mapping does not name; it names '
                    f'{", ".join(fields)}: add it, or give the mapping of the log'
                )
        self._time = log.has_time and 'time' in fields
        wanted = [fields[name] for name in (*columns, *(['time'] if self._time else []))]
        self.log, self.rows, self.rejected = log, 0, Rejected()
        keys = [field.column for field in wanted if field.role in ('user', 'item', 'time')]
        self._keep = list(keep or keys or [field.column for field in wanted])
        paths = find_files([str(path) for path in inputs])
        parts = [Part('events', n, path, tuple(wanted), mapping.format) for n, path in enumerate(paths)]
        for part in parts:
            part.check_columns(self._keep)
        self._parts, _ = resolve_types(parts, log)
        self.unknown = {field.name: 0 for field in wanted if field.coded}

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(part.path.stat().st_size for part in self._parts)

    def blocks(self, strict: bool = False, progress: Callable[[int], None] = lambda size: None) -> Iterator[NewRows]:
        """Yields the rows of all files, in their order; `progress` receives the number of bytes that were read.

        Raises:
          ValueError: naming file and line; under `strict` also for the first row that cannot be scored.
        """
        for part in self._parts:
            rejected = Rejected()
            columns = [*(field.column for field in part.fields), *self._keep]
            lines = records = 0
            for block in read_blocks(part.path, columns, part.format, progress):
                taken, found = take_rows(block, part.fields, self._keep)
                if found and strict:
                    locate(part, found, exact=False)
                    reason, where = next((reason, f['first'][0]) for reason, f in found.items())
                    raise ValueError(f'{where}: {reason}; mend or remove such rows, or leave out --strict')
                merge_rejected(rejected, found)
                lines, records = block.lines, block.end - 1
                if taken.num_rows:
                    self.rows += taken.num_rows
                    yield self._encode(taken, part.fields)
            locate(part, rejected, exact=lines == records)
            merge_rejected(self.rejected, rejected)

    def _encode(self, taken: pa.RecordBatch, fields: Sequence[Field]) -> NewRows:
        columns: dict[str, np.ndarray | Ragged] = {}
        times = None
        for number, field in enumerate(fields):
            column = taken.column(number)
            if field.role == 'time':
                times = np.asarray(column) / SECOND
            elif field.coded:
                columns[field.name] = self._ids(field, column)
            else:
                columns[field.name] = np.asarray(column)
        kept = [_plain(taken.column(len(fields) + n)) for n in range(len(self._keep))]
        return NewRows(pa.RecordBatch.from_arrays(kept, names=self._keep), columns, times)

    def _ids(self, field: Field, column: pa.DictionaryArray) -> np.ndarray | Ragged:
        vocabulary = self.log.vocabulary(str(self.log.schema[field.name].vocabulary))
        codes = np.asarray(column.indices)
        if field.spec is not None and field.spec.kind == 'multi':
            lists = split_lists(column.dictionary)
            ids = vocabulary.encode(numpy_values(lists.flatten()))
            rows = cut(Ragged(ids, np.asarray(lists.offsets, np.int64)), field.spec.width).take(codes)
            self.unknown[field.name] += int((rows.values == OUT_OF_VOCABULARY).sum())
            return rows
        ids = vocabulary.encode(numpy_values(column.dictionary))[codes]
        self.unknown[field.name] += int((ids == OUT_OF_VOCABULARY).sum())
        return ids


def _plain(column: pa.Array) -> pa.Array:
    """A kept column as it is written: bytes of CSV files as text."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not pa.types.is_binary(column.type):
        return column
    try:
        return pc.cast(column, pa.string())
    except pa.ArrowInvalid:  # a column that is only handed on may hold anything
        return pa.array([value.decode('utf-8', 'replace') for value in column.to_pylist()])
