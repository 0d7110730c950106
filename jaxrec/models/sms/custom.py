"""SMS on a folder of annotated images, as `jaxrec.data.images.records` describes it.

The folder is read and checked the first time; later runs use its log in runs/logs. Training begins with the published
weights of a ResNet-18 where `model.weights` names their file.
"""

from pathlib import Path

from ml_collections import ConfigDict

from jaxrec.models.sms.presets import AUGMENT, LOG_METRICS, ROWS, TARGETS, of_size
from jaxrec.runs.config import run_config

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


def folder_config(path: str, name: str) -> ConfigDict:
    """The config of the model `name` of `jaxrec.models.sms.presets.ROWS` on the folder at `path`."""
    return run_config(
        name,
        {
            'features': {},
            'data': {
                'log': 'jaxrec.data.images.log:own_images',
                'arguments': {'path': str(Path(path)), 'broken': 'refuse'},
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
