"""Where metrics go: a JSON line a report always, the log, and TensorBoard on request."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxrec.files import is_full, needs_room, no_room, replace_text

log = logging.getLogger(__name__)


class MetricWriter:
    """Appends reports to `metrics.jsonl`; a run stays readable with `cat`."""

    def __init__(self, workdir: str | Path, step: int = 0, tensorboard: bool = False, log_metrics: Sequence[str] = ()):
        """Opens the file and cuts what a run that was stopped had written after the restored step.

        Args:
          workdir: the run's folder.
          step: the restored step; later lines are removed, and TensorBoard is told to forget later points.
          tensorboard: write event files too.
          log_metrics: those of evaluations that go to the log, where some name a hundred; all by default.

        Raises:
          ValueError: TensorBoard was asked for and its writer is not installed, or the disk is full.
        """
        self.path = Path(workdir) / 'metrics.jsonl'
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_metrics(self.path) if line['step'] <= step] if step else []
        replace_text(self.path, ''.join(json.dumps(line) + '\n' for line in kept))
        self._file = self.path.open('ab', buffering=0)  # nothing is held back that closing would write
        self._log_metrics = tuple(log_metrics)
        self._events = Path(workdir) / 'tensorboard'
        self._board = _open_board(self._events, step) if tensorboard else None

    def write(self, step: int, part: str, values: Mapping[str, float], note: str = '') -> None:
        """Reports scalars.

        Args:
          part: 'train', 'validation' or 'test'.
          note: goes to the log alone, such as a speed, which no two runs share.

        Raises:
          ValueError: the disk is full; no part of the line is left in the file.
        """
        values = {name: float(value) for name, value in values.items()}
        self._append(json.dumps({'step': step, 'part': part, **values}).encode() + b'\n')
        names = self._log_metrics if part != 'train' and self._log_metrics else values
        shown = [f'{name}={_told(values[name]) if name in values else "absent"}' for name in names]
        log.info('step %d %s %s', step, part, ' '.join([*shown, note]).rstrip())
        if self._board is not None:
            with needs_room(self._events):
                for name, value in values.items():
                    self._board.add_scalar(f'{part}/{name}', value, step)

    def _append(self, line: bytes) -> None:
        end = self._file.seek(0, os.SEEK_END)
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            self._file.truncate(end)
            if not is_full(error):
                raise
            raise no_room(str(self.path), self.path.parent, error) from error

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        if self._board is not None:
            with needs_room(self._events):
                self._board.close()


def _told(value: float) -> str:
    return f'{value:.0f}' if value.is_integer() else f'{value:.4g}'


class QuietWriter(MetricWriter):
    """What all processes of a run but the first report to: one of them writes for all."""

    def __init__(self) -> None:
        """Opens nothing."""

    def write(self, step: int, part: str, values: Mapping[str, float], note: str = '') -> None:
        """Writes nothing."""

    def close(self) -> None:
        """Closes nothing."""


def read_metrics(path: str | Path) -> list[dict]:
    """Reads the reports of a `metrics.jsonl`, a dict a line, without a last line cut short; a missing file is empty.

    Raises:
      ValueError: a damaged line before the last.
    """
    path = Path(path)
    lines = path.read_text().splitlines() if path.exists() else []
    reports = []
    for number, line in enumerate(lines, 1):
        try:
            reports.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(
                    f'{path}:{number} is not a JSON line ({error}); remove the line, or start a new workdir'
                ) from error
    return reports


def _open_board(folder: Path, step: int):  # type: ignore[no-untyped-def]  # the type lives in the optional package
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ValueError("train.tensorboard needs the extra: pip install 'jaxrec[tensorboard]'") from error
    # Event files are only ever added to: the new one says from which step on those before it do not count.
    return SummaryWriter(str(folder), purge_step=step + 1)
