r"""OneRec in the sizes of the paper, from some 50 million to a billion parameters, for an accelerator.

    jaxrec train --config=configs/onerec/sized.py:1b --workdir=runs/onerec_1b

After the colon stands the size: tiny, 50m, 100m, 200m, 500m or 1b. Three levels of 8,192 codes, histories of 256 items
and sessions of 5 are the paper's; but of tiny, activations are bfloat16, layers are looped over and computed again for
gradients. The world is simulated, so that the config runs without data; on your own log train the preset:

    jaxrec train --model=OneRec --log=logs/mine --workdir=runs/onerec --set=model.size=1b \
      --set=files.ids.arguments.content=vectors.npy --set=files.ids.arguments.content_items=names.txt

On 256 chips give --mesh=32,8, three of the 24 experts a device: tokens come to experts over rings of eight,
and no expert is gathered. What is planned of it by

    jaxrec plan --config=configs/onerec/sized.py:1b --mesh=32,8 \
        --topology=v5p:8x8x4 --batch=8192

is 8.6 of 95 GiB, 63.8 ms a step and an MFU of 44 %; on v5e:16x16 with a batch of 4,096 it is 5.9 of 16 GiB,
106 ms and 31 % (docs/plans.md, with other slices, generation, and `dispatch`).
"""

from ml_collections import ConfigDict

from jaxrec.models.onerec.presets import FEATURES, SIZED, of_length, tokenized
from jaxrec.options import changed
from jaxrec.runs.config import run_config

HISTORY = 256
LARGE = {'dtype': 'bfloat16', 'scan': True, 'remat': True, 'dispatch': 'ring'}
ROWS = {
    name.partition('-')[2]: row if name == 'OneRec-tiny' else changed(row, model=LARGE)
    for name, row in of_length(SIZED, HISTORY).items()
}


def get_config(size: str = '1b') -> ConfigDict:
    """Builds the config of one size."""
    return run_config(
        size,
        {
            'features': FEATURES,
            'files': {'ids': tokenized(content='simulated', clusters=8_192, passes=10)},
            'data': {
                'log': 'jaxrec.data.simulators.sessions:simulate',
                'arguments': {'users': 20_000, 'items': 40_000, 'requests': 100, 'seed': 0},
                'cache': 'runs/logs',
                'label': {},
                'split': {'kind': 'per_user_time', 'validation': 0.05, 'test': 0.05},
                'history_length': HISTORY,
            },
            'train': {
                'batch_size': 64, 'eval_batch_size': 64, 'epochs': 1, 'optimizer': 'adamw', 'learning_rate': 2e-4,
                'clip_norm': 1.0, 'log_every': 50, 'checkpoint_every': 1_000,
            },
        },
        ROWS,
    )  # fmt: skip
