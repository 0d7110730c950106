"""Writes the scorer of a trained run to one file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxrec.options import plain
from jaxrec.runs.build import Experiment
from jaxrec.runs.restore import restore_model
from jaxrec.training.export import export_scorer


def export_run(
    run: Experiment,
    workdir: Path,
    output: str | Path,
    step: int | None = None,
    bake: bool = False,
    batch_size: int | None = None,
    platforms: Sequence[str] | None = None,
) -> tuple[dict[str, Any], int]:
    """Exports the model of a checkpoint; `jaxrec.training.export.load_scorer` reads the file.

    Args:
      bake: weights are constants of the program instead of its arguments.
      batch_size: a fixed number of rows; None for any.
      platforms: such as ('cpu', 'tpu'); None for the one at hand.
    """
    state, step = restore_model(run, workdir, step, run.source('train', shuffle=True))
    about = {
        'step': step,
        'features': plain(run.config.features),
        'label': plain(run.data['label']),
        'history_length': run.data.get('history_length', 0),
        'lifelong': plain(run.data.get('lifelong')),
        'time_gap': plain(run.data.get('time_gap')),
        'log': run.log.manifest['fingerprint'],
    }
    example = run.source('train')[0]  # as requests are: of whole histories where training read samples
    return export_scorer(
        output, run.setup, state, example, bake=bake, batch_size=batch_size, platforms=platforms, about=about
    ), step
