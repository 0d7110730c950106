"""Evaluates trained workdirs from their checkpoints and shows them side by side; any device count will do.

    jaxrec evaluate --workdir=runs/dnn --workdir=runs/can --part=test

Without --step the checkpoint with the best validation metric is read. Writes `evaluation_<part>.json` into
each workdir. Several processes, which all see the workdirs, share the work: docs/several_machines.md.
"""

from pathlib import Path

import jax
from absl import app, flags

from jaxrec.cli.flags import DATA_DIR, MESH, friendly_together, parse_mesh
from jaxrec.evaluation.ranking import RankingEvaluator
from jaxrec.runs.build import build, read_config
from jaxrec.runs.comparison.slices import COLD_ITEMS, judge_slice
from jaxrec.runs.comparison.tables import side_by_side, write_json
from jaxrec.runs.fit import ceiling, score

WORKDIR = flags.DEFINE_multi_string('workdir', None, 'Of jaxrec.cli.train; may be repeated.', required=True)
PART = flags.DEFINE_enum('part', 'test', ['train', 'validation', 'test'], 'Which part of the log.')
STEP = flags.DEFINE_integer('step', None, 'Which checkpoint; default: the best on validation.')
TABLES = {
    'jaxrec.data.simulators.ctr:simulate': 'simulated',
    'jaxrec.data.readers.movielens:compile_movielens': 'movielens',
}


@friendly_together(may_stop=False)
def main(_: list[str]) -> None:
    """Evaluates every workdir, prints the table, writes the numbers."""
    rows, written, best = {}, [], None
    for workdir in map(Path, WORKDIR.value):
        run = build(read_config(str(workdir / 'config.json')), DATA_DIR.value, parse_mesh(MESH.value))
        evaluator, step = score(run, workdir, PART.value, STEP.value)
        values = evaluator.compute()
        if isinstance(evaluator, RankingEvaluator):
            values |= judge_slice(COLD_ITEMS, run, evaluator)[0]
        rows[f'{workdir} (step {step})'] = values
        best = best or ceiling(run, PART.value)
        path = workdir / f'evaluation_{PART.value}.json'
        if jax.process_index() == 0:
            write_json(path, {'step': step, 'part': PART.value, **values})
        written.append(str(path))
    if best is not None:
        rows['true probabilities'] = best
    first = next(iter(rows.values()))
    counts = ('examples', 'clicks', 'sessions', 'users', 'images', 'relations')
    print(f'\n{PART.value}: ' + ', '.join(f'{first[name]:.0f} {name}' for name in counts if name in first))
    print(side_by_side(rows))
    print(f"\nwrote {', '.join(written)}; curves are in each workdir's curves.png")
    if name := TABLES.get(run.data['log']):
        print('next: the whole table with seeds and tuning')
        command = f'jaxrec compare --config=configs/can/table_{name}.py'
        print(f'  {command} --workdir=runs/can_table_{name} --quick')


if __name__ == '__main__':
    app.run(main)
