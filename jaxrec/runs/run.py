"""A trained run: what `fit` and `load` give back."""

import functools
import html
import importlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.parquet
from ml_collections import ConfigDict

from jaxrec.configurable import allow_code
from jaxrec.runs.build import Experiment, build
from jaxrec.runs.fit import draw_curves
from jaxrec.runs.predict import predict_files
from jaxrec.runs.restore import ceiling, export_run, metrics_of
from jaxrec.runs.workdir import read_config
from jaxrec.training.writers import read_metrics

RECOMMENDER = 'jaxrec.models.onerec.recommend_users'  # by name: the models' procedures import this package


class Run:
    """A trained run in its workdir.

    Attributes:
      workdir: its folder.
      config: what it was trained with.
      metrics: the lines of `metrics.jsonl`, {'step', 'part', metric: value} each.
    """

    def __init__(
        self,
        workdir: str | Path,
        data_dir: str | None = None,
        mesh: tuple[int, int] | None = None,
        allow_code: Sequence[str] = (),
    ):
        """Opens a workdir; use `jaxrec.load`, whose arguments these are.

        Raises:
          ValueError: the folder holds no run.
        """
        self.workdir, self._mesh, self._data_dir = Path(workdir), mesh, data_dir
        self._code = tuple(allow_code)
        self.config: ConfigDict = read_config(str(self.workdir / 'config.json'))

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`."""
        path = self.workdir / 'metrics.jsonl'
        return read_metrics(path) if path.exists() else []

    @functools.cached_property
    def experiment(self) -> Experiment:
        """The log, the task and the sources of the run."""
        with allow_code(self._code):
            return build(self.config, self._data_dir, self._mesh)

    def evaluate(self, part: str = 'test', step: int | None = None) -> dict[str, float]:
        """The metrics, {metric: value}, of a checkpoint on one part of the log.

        Args:
          part: 'train', 'validation' or 'test'.
          step: which checkpoint; None takes the best on validation.

        Raises:
          ValueError: there is no such part or checkpoint.
        """
        if part not in ('train', 'validation', 'test'):
            raise ValueError(f"part = {part!r}: give 'train', 'validation' or 'test'")
        with allow_code(self._code):
            return metrics_of(self.experiment, self.workdir, part, step)[0]

    def ceiling(self, part: str = 'test') -> dict[str, float] | None:
        """The metrics of the true click probabilities, where the data is simulated; else None."""
        return ceiling(self.experiment, part)

    def predict(self, frame: Any, log: str | None = None, step: int | None = None) -> Any:
        """Scores rows, in their order.

        Args:
          frame: a pandas, Polars or PyArrow table with the columns of the files that the log was made of; or the
            path of a CSV or Parquet file.
          log: of the histories; None takes the log of the run.
          step: which checkpoint; None takes the best on validation.

        Returns:
          The frame with a column `probability`, of the same type; of a path a PyArrow table.

        Raises:
          ValueError: a column that the model reads is missing, or a row cannot be scored.
        """
        with tempfile.TemporaryDirectory() as folder:
            if isinstance(frame, str | Path):
                path, native = str(frame), None
            else:
                try:
                    native = nw.from_native(frame, eager_only=True)
                except TypeError:
                    raise ValueError(
                        f'predict takes a data frame or the path of a file, not {type(frame).__name__}'
                    ) from None
                path = str(Path(folder) / 'frame.parquet')
                pyarrow.parquet.write_table(native.to_arrow(), path)
            blocks: list[pa.RecordBatch] = []
            with allow_code(self._code):
                predict_files(self.experiment, self.workdir, [path], blocks.append, log=log, step=step, strict=True)
        if native is None:
            return pa.Table.from_batches(blocks)
        scores = np.concatenate(
            [np.asarray(block.column('probability')) for block in blocks] or [np.zeros(0, np.float32)]
        )
        column = nw.new_series('probability', scores, nw.Float32, backend=native.implementation)
        if native.implementation.is_pandas():  # rows keep their labels
            return native.to_native().assign(probability=scores)
        return native.with_columns(column).to_native()

    def recommend(
        self, users: Sequence[Any], sessions: int = 1, items: int = 5, beams: int = 32, step: int | None = None
    ) -> list[dict[str, Any]]:
        """Generates sessions of items; for models that name items, such as OneRec and SASRec.

        Args:
          users: as the log names them.
          sessions: of each user.
          items: of a session.
          beams: of the search.
          step: which checkpoint; None takes the best on validation.

        Returns:
          A dict a session: 'user', 'rank' from 1, 'items' and 'score'. Users that the log does not know have none.

        Raises:
          ValueError: the model gives rows a probability and names no items.
        """
        procedure = importlib.import_module(RECOMMENDER)
        with allow_code(self._code):
            return procedure.recommend_rows(self.experiment, self.workdir, users, sessions, items, beams, step)

    def export(self, output: str | Path, step: int | None = None, **options: Any) -> Path:
        """Writes the scorer to one file that needs no code of the model, and returns its path.

        Args:
          output: the file; `jaxrec.training.export.load_scorer` reads it.
          step: which checkpoint; None takes the best on validation.
          **options: of `jaxrec.runs.restore.export_run`.
        """
        with allow_code(self._code):
            export_run(build(self.config, self._data_dir, (1, 1)), self.workdir, output, step, **options)
        return Path(output)

    def plot(self, output: str | Path | None = None) -> Path:
        """Draws training loss and validation metric against steps to a PNG, or to `curves.png`; returns its path."""
        path = Path(output) if output is not None else self.workdir / 'curves.png'
        draw_curves(self.workdir, self.config.get('train', {}).get('monitor', 'auc'), path)
        return path

    def _summary(self) -> dict[str, str]:
        train, data = self.config.get('train', {}), self.config.data
        steps = [line['step'] for line in self.metrics]
        monitor = train.get('monitor', 'auc')
        found = [line[monitor] for line in self.metrics if line['part'] == 'validation' and monitor in line]
        best = (max if train.get('maximize', True) else min)(found) if found else None
        return {
            'workdir': str(self.workdir),
            'task': self.config.task,
            'log': str(data.get('arguments', {}).get('path', '') or data.log),
            'steps': str(max(steps, default=0)),
            f'best validation {monitor}': '-' if best is None else f'{best:.4f}',
        }

    def __repr__(self) -> str:
        return 'Run(' + ', '.join(f'{name}={value}' for name, value in self._summary().items()) + ')'

    def _repr_html_(self) -> str:
        rows = ''.join(
            f'<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>'
            for name, value in self._summary().items()
        )
        return f'<table>{rows}</table>'
