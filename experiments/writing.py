"""Writing rows to a CSV, Parquet or JSONL file that appears whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet


class RowWriter:
    """Writes record batches of one schema.

    Example:
      with RowWriter('scores.csv') as writer:
        writer.write(batch)
    """

    def __init__(self, path: str | Path):
        """Checks where to write.

        Args:
          path: ends in .csv, .parquet or .jsonl; a file that is there is replaced at the end.

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
        if self._writer is None:
            if self.path.suffix == '.csv':
                self._writer = pyarrow.csv.CSVWriter(self._partial, batch.schema)
            elif self.path.suffix == '.jsonl':
                self._writer = _JsonLines(self._partial)
            else:
                self._writer = pyarrow.parquet.ParquetWriter(self._partial, batch.schema)
        self._writer.write_batch(batch)

    def __exit__(self, kind: object, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
        if kind is not None or self._writer is None:
            self._partial.unlink(missing_ok=True)
        if kind is None and self._writer is None:
            raise ValueError(
                f'there is no row to write to {self.path}: none can be scored, check input and mapping'
            )
        if kind is None:
            os.replace(self._partial, self.path)


class _JsonLines:
    """Writes an object a row."""

    def __init__(self, path: Path):
        self._file = path.open('w', encoding='utf-8')

    def write_batch(self, batch: pa.RecordBatch) -> None:
        for row in batch.to_pylist():
            self._file.write(json.dumps(row, ensure_ascii=False) + '\n')

    def close(self) -> None:
        self._file.close()
