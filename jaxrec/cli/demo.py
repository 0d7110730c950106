"""Train DNN and CAN-DNN on simulated clicks and compare them, or SMS on rendered scenes and draw what it finds.

    jaxrec demo
    jaxrec demo --model=sms --images=20

Takes minutes on two cores. The workdir takes a folder for each model, with checkpoints, metrics and curves.
"""

from pathlib import Path

from absl import flags

from jaxrec.cli.flags import DATA_DIR, friendly

MODEL = flags.DEFINE_enum('model', 'can', ['can', 'sms'], 'Which demo.')
WORKDIR = flags.DEFINE_string('workdir', 'runs/demo', 'Takes what the runs write.')
IMAGES = flags.DEFINE_integer('images', 20, 'Of sms: how many images are drawn.', lower_bound=1)


@friendly
def main(_: list[str]) -> None:
    """Runs the demo."""
    if MODEL.value == 'sms':
        _sms(Path(WORKDIR.value) / 'sms')
    else:
        _can(Path(WORKDIR.value) / 'simulated')


def _can(workdir: Path) -> None:
    from jaxrec.runs.api import fit
    from jaxrec.runs.comparison.tables import side_by_side

    rows: dict[str, dict[str, float]] = {}
    for name in ('DNN', 'CAN-DNN'):
        run = fit('simulated', name, workdir / name, data_dir=DATA_DIR.value)
        rows[name] = run.evaluate('test')
        best = run.ceiling('test')
    if best is not None:
        rows['true probabilities'] = best
    print(f'\ntest: {rows["DNN"]["examples"]:.0f} examples of simulated clicks')
    print(side_by_side(rows))
    print(f'wrote {workdir}/DNN and {workdir}/CAN-DNN; curves are in their curves.png')
    print('next: `jaxrec models`, then `jaxrec ingest --help` for your own data')


def _sms(workdir: Path) -> None:
    from jaxrec.models.sms.images.drawing import show_part
    from jaxrec.runs.api import fit
    from jaxrec.runs.comparison.tables import side_by_side

    run = fit('simulated', 'SMS', workdir, data_dir=DATA_DIR.value)
    print(side_by_side({str(workdir): run.evaluate('test')}))
    print(show_part(run.experiment, workdir, workdir / 'pictures', 'test', IMAGES.value))
