"""Writes a trained network to one file, for prediction elsewhere and for training on images of other classes.

    jaxrec sms export --workdir=runs/mine --output=network.npz
    jaxrec sms predict --network=network.npz --input=album --output=found
    jaxrec train --model=SMS --log=album2 --workdir=runs/more --set=model.weights=network.npz

`predict` needs nothing but the file. Training keeps what was learned of the classes, relations and parts that both
have, by name, and all that has no name; `model` must describe the same network. Where all names are the same,
`--warm_start` continues without a file.
"""

import shlex
from pathlib import Path

from absl import flags

from jaxrec.cli.flags import ALLOW_CODE, DATA_DIR, MESH, friendly, parse_mesh

WORKDIR = flags.DEFINE_string('workdir', None, 'Of `jaxrec train`.', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'The .npz file that takes the network.', required=True)
STEP = flags.DEFINE_integer('step', None, 'Which checkpoint; default: the best on validation.')


@friendly
def main(_: list[str]) -> None:
    """Restores and writes."""
    from jaxrec.models.sms.images.finder import image_size
    from jaxrec.models.sms.task import SmsTask
    from jaxrec.models.sms.weights.state_transfer import Description, save_network
    from jaxrec.runs.restore import restore_model
    from jaxrec.runs.run import Run

    workdir, output = Path(WORKDIR.value), Path(OUTPUT.value)
    if output.suffix != '.npz':
        raise ValueError(f'--output={output}: name a .npz file')
    run = Run(workdir, DATA_DIR.value, parse_mesh(MESH.value), ALLOW_CODE.value).experiment
    task = run.setup.task
    if not isinstance(task, SmsTask):
        raise ValueError(f'{workdir} is no run of relation segmentation, but of {run.config.task}')
    state, step = restore_model(run, workdir, STEP.value)
    described = Description(task.network, task.vocabulary, image_size(run))
    save_network(output, described, state.params, state.model_state)
    print(f'wrote {output} ({output.stat().st_size / 2**20:.1f} MiB): the network of step {step} of {workdir}')
    reading, learning = (shlex.quote(f'--{flag}={output}') for flag in ('network', 'config.model.weights'))
    print(f'next: jaxrec sms predict {reading} ...')
    print(f'or:   jaxrec train ... {learning}')
