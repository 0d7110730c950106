"""Where metrics go: a JSON line a report always, the log, and TensorBoard on request."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

log = logging.getLogger(__name__)


class MetricWriter:
    """Appends reports to `metrics.jsonl`; a run stays readable with `cat`."""

    def __init__(self, workdir: str | Path, step: int = 0, tensorboard: bool = False):
        """Opens the file and cuts what a run that was stopped had written after the restored step.

        Args:
          workdir: the run's folder.
          step: the restored step; later lines are removed.
          tensorboard: write event files too.

        Raises:
          ValueError: TensorBoard was asked for and its writer is not installed.
        """
        self.path = Path(workdir) / 'metrics.jsonl'
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_metrics(self.path) if line['step'] <= step] if step else []
        partial = self.path.with_suffix('.partial')
        partial.write_text(''.join(json.dumps(line) + '\n' for line in kept))
        partial.replace(self.path)
        self._file = self.path.open('a')
        self._board = _open_board(Path(workdir)) if tensorboard else None

    def write(self, step: int, part: str, values: Mapping[str, float], note: str = '') -> None:
        """Reports scalars.

        Args:
          step: optimizer steps taken.
          part: 'train', 'validation' or 'test'.
          values: {metric: value}.
          note: goes to the log alone, such as a speed, which no two runs share.
        """
        values = {name: float(value) for name, value in values.items()}
        self._file.write(json.dumps({'step': step, 'part': part, **values}) + '\n')
        self._file.flush()
        shown = [f'{k}={v:.0f}' if v.is_integer() else f'{k}={v:.4g}' for k, v in values.items()]
        log.info('step %d %s %s', step, part, ' '.join([*shown, note]).rstrip())
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f'{part}/{name}', value, step)

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def read_metrics(path: str | Path) -> list[dict]:
    """Reads the reports of a run.

    Args:
      path: a `metrics.jsonl`; a missing one is empty.

    Returns:
      One dict a line. A last line that a kill cut short is left out.

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


def _open_board(workdir: Path):  # type: ignore[no-untyped-def]  # the type lives in the optional package
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ValueError("train.tensorboard needs the extra: pip install 'jaxrec[tensorboard]'") from error
    return SummaryWriter(str(workdir / 'tensorboard'))
