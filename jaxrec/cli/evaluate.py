"""Evaluate trained workdirs from their checkpoints, on any number of devices.

    jaxrec evaluate --workdir=runs/dnn --workdir=runs/can --part=test

Without --step the checkpoint with the best validation metric is read. Writes `evaluation_<part>.json` into
each workdir. Several processes, which all see the workdirs, share the work: docs/several_machines.md.
"""

from pathlib import Path

from absl import flags

from jaxrec.cli.flags import ALLOW_CODE, DATA_DIR, MESH, friendly_together, parse_mesh

WORKDIR = flags.DEFINE_multi_string('workdir', None, 'Of `jaxrec train`; may be repeated.', required=True)
PART = flags.DEFINE_enum('part', 'test', ['train', 'validation', 'test'], 'Which part of the log.')
STEP = flags.DEFINE_integer('step', None, 'Which checkpoint; default: the best on validation.')
COUNTS = ('examples', 'clicks', 'sessions', 'users', 'images', 'relations')


@friendly_together(may_stop=False)
def main(_: list[str]) -> None:
    """Evaluates every workdir, prints the table, writes the numbers."""
    import jax

    from jaxrec.runs.comparison.tables import side_by_side, write_json
    from jaxrec.runs.restore import ceiling, metrics_of
    from jaxrec.runs.run import Run

    rows, written, best = {}, [], None
    for workdir in map(Path, WORKDIR.value):
        run = Run(workdir, DATA_DIR.value, parse_mesh(MESH.value), ALLOW_CODE.value).experiment
        values, step = metrics_of(run, workdir, PART.value, STEP.value)
        rows[f'{workdir} (step {step})'] = values
        best = best or ceiling(run, PART.value)
        path = workdir / f'evaluation_{PART.value}.json'
        if jax.process_index() == 0:
            write_json(path, {'step': step, 'part': PART.value, **values})
        written.append(str(path))
    if best is not None:
        rows['true probabilities'] = best
    first = next(iter(rows.values()))
    print(f'\n{PART.value}: ' + ', '.join(f'{first[name]:.0f} {name}' for name in COUNTS if name in first))
    print(side_by_side(rows))
    print(f"\nwrote {', '.join(written)}; curves are in each workdir's curves.png")
