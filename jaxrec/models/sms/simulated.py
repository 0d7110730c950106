"""SMS and what it is compared with on rendered scenes of people and things."""

from ml_collections import ConfigDict

from jaxrec.models.sms.presets import LOG_METRICS, ROWS, of_size
from jaxrec.runs.config import run_config

# 128 pixels on two cores, a map of 32 x 32 cells on which a ball is one of them;
# `jaxrec/models/sms/README.md` says why the trunk is no DLA.
MODEL = {
    'size': 'small',
    'trunk': 'resnet_fine',
    'hidden': 48,
    'point_hidden': 128,
    'mask_stride': 2,
    'mask_width': 24,
    'mask_fine': True,
    'mask_context': 16,
    'mask_weight': 3.0,
    'divisor': 5.0,
    'pair_divisor': 16.0,
    'mask_init': 0.05,
    'least_radius': 1,
    # Of one person's relations there are several, of one thing's seldom: their points lie near the things.
    'shift': 2 / 3,
    'ends_by_relation': True,
    'object_class': True,
    'relation_power': 2.0,
    'tries': 5,
    'displacement_weight': 0.4,
    'part_weight': 4.0,
    # Most pixels have no part, and whose left is where is learned from those that do.
    'parsing_weight': 16.0,
    'part_context': True,
    'read_near': True,
    'predicted_pairs': 0.5,
    'parts_by_relation': True,
    'keep': 40,
    'points': 300,
    # Of batches of four, statistics over ten of them are still noise.
    'momentum': 0.98,
}


def get_config(name: str = 'SMS') -> ConfigDict:
    """Builds the config of one row of `jaxrec.models.sms.presets` on simulated scenes."""
    return run_config(
        name,
        {
            'features': {},
            'data': {
                'log': 'jaxrec.data.simulators.scenes:simulate',
                'arguments': {'seed': 0, 'train': 7_600, 'validation': 100, 'test': 200},
                'cache': 'runs/logs',
                'image_size': 128,
                'entities': 20,
                'relations': 24,
                'mask_stride': 2,
                'soft_masks': True,
                'centre': 'inside',
            },
            'train': {
                'batch_size': 4,
                'eval_batch_size': 20,
                'epochs': 1,
                # Twice as many steps of Adam learn less.
                'optimizer': 'muon',
                'learning_rate': 8e-3,
                'clip_norm': 10.0,
                'schedule': {'kind': 'cosine', 'warmup': 0.02},
                'evals_per_epoch': 5,
                'log_every': 50,
                'log_metrics': LOG_METRICS,
                'monitor': 'recall_100_50_parts',
                'maximize': True,
            },
        },
        of_size(ROWS, MODEL),
    )
