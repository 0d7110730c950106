"""SMS on images of one's own, a folder as `jaxrec.data.images.records` describes it.

    jaxrec sms check --input=album --output=album_drawn
    jaxrec train --config=configs/sms/own.py:SMS,album --workdir=runs/mine \
        --config.model.weights=resnet18.safetensors
    jaxrec train --config=configs/sms/own.py:SMS,album2 --workdir=runs/more \
        --warm_start=runs/mine

After the colon stand the row, one of jaxrec/models/sms/presets.py, and the folder; every file of it is read and
checked the first time. Later runs take the log that was made of it, under runs/logs: after mending a picture
or a mask alone, delete that. Training begins with the published weights of a ResNet-18 where
`--config.model.weights` names their file, else with drawn ones; `--warm_start` goes on from a run on images
with the same lists of names, and a file of `jaxrec.cli.sms.export` as `--config.model.weights` from one on
images with others. With few images let `--config.train.evals_per_epoch` be smaller than 1.
"""

from pathlib import Path

from ml_collections import ConfigDict

from configs.runs import run_config
from jaxrec.models.sms.presets import AUGMENT, LOG_METRICS, ROWS, TARGETS, of_size

# Mean and deviation are ImageNet's, as published ResNets want them.
MODEL = {
    'size': 'small',
    'trunk': 'resnet18',
    'weights': '',
    'mean': (0.485, 0.456, 0.406),
    'std': (0.229, 0.224, 0.225),
    'hidden': 128,
    'divisor': 32.0,
    'mask_stride': 2,
    'parts_by_relation': True,
}


def get_config(text: str = 'SMS') -> ConfigDict:
    """Builds the config of one row for one folder.

    Args:
      text: 'row,folder'.

    Returns:
      The config.
    """
    name, _, path = text.partition(',')
    return run_config(
        name,
        {
            'features': {},
            'data': {
                'log': 'jaxrec.data.images.log:own_images',
                'arguments': {'path': str(Path(path)) if path else '', 'broken': 'refuse'},
                'cache': 'runs/logs',
                **TARGETS,
                'image_size': (256, 256),  # height, width
                'mask_stride': 2,
                'augment': AUGMENT,
            },
            'train': {
                'batch_size': 8,
                'eval_batch_size': 8,
                'epochs': 50,
                'learning_rate': 5e-4,
                'clip_norm': 10.0,
                'evals_per_epoch': 1.0,
                'log_every': 20,
                'log_metrics': LOG_METRICS,
                'monitor': 'recall_100_50',
                'maximize': True,
                'patience': 10,
                'init_from': None,
            },
        },
        of_size(ROWS, MODEL),
    )
