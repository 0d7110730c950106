"""Writing rows to a CSV, Parquet or JSONL file, and pictures, that appear whole or not at all."""

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from matplotlib.figure import Figure

from jaxrec.files import needs_room, replace_bytes


class RowWriter:
    """Writes record batches of one schema.

    Example:
      with RowWriter('scores.csv') as writer:
        writer.write(batch)
    """

    def __init__(self, path: str | Path):
        """Checks where to write: a .csv, .parquet or .jsonl file, replaced at the end if it is there.

        Raises:
          ValueError: for another ending, or a folder that does not exist.
        """
        self.path = Path(path)
        if self.path.suffix not in ('.csv', '.parquet', '.jsonl'):
            raise ValueError(f'--output={path}: give a file that ends in .csv, .parquet or .jsonl')
        if not self.path.absolute().parent.is_dir():
            raise ValueError(f'--output={path}: the folder {self.path.parent} does not exist, make it first')
        self._partial = self.path.with_name(f'.{self.path.name}.partial')
        self._writer: Any = None

    def __enter__(self) -> 'RowWriter':
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends rows."""
        with needs_room(self.path):
            if self._writer is None:
                self._writer = self._open(batch.schema)
            self._writer.write_batch(batch)

    def _open(self, schema: pa.Schema) -> Any:
        if self.path.suffix == '.csv':
            return pyarrow.csv.CSVWriter(self._partial, schema)
        if self.path.suffix == '.jsonl':
            return _JsonLines(self._partial)
        return pyarrow.parquet.ParquetWriter(self._partial, schema)

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is not None:
                with contextlib.suppress(OSError):  # what failed before would fail again, and hide why
                    self._close()
                return
            if self._writer is None:
                raise ValueError(
                    f'there is no row to write to {self.path}: none can be scored, check input and mapping'
                )
            with needs_room(self.path):  # much is written no sooner than here
                self._close()
            os.replace(self._partial, self.path)
        finally:
            self._partial.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _JsonLines:
    """Writes an object a row."""

    def __init__(self, path: Path):
        self._file = path.open('w', encoding='utf-8')

    def write_batch(self, batch: pa.RecordBatch) -> None:
        for row in batch.to_pylist():
            self._file.write(json.dumps(row, ensure_ascii=False) + '\n')

    def close(self) -> None:
        self._file.close()


def new_figure(rows: int, columns: int, **options: Any) -> tuple[Figure, Any]:
    """Makes a figure and its axes as `pyplot.subplots` does, but leaves the backend of a notebook as it is."""
    of_axes = {name: options.pop(name) for name in ('sharex', 'sharey', 'squeeze') if name in options}
    figure = Figure(layout='constrained', **options)
    return figure, figure.subplots(rows, columns, **of_axes)


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as a PNG, in the place of one that is there, or raises a ValueError where the disk is full."""
    content = io.BytesIO()
    figure.savefig(content, dpi=110, format='png')
    replace_bytes(path, content.getvalue())
