"""SMS's table on rendered scenes: simultaneous matching and segmentation against what is simpler.

    python -m experiments.compare --config=configs/sms/table_scenes.py --workdir=runs/sms_table
    python -m experiments.compare --config=configs/sms/table_scenes.py --workdir=runs/sms_quick --quick

Rows have one trunk, one number of steps and one search. Test scenes have poses and textures that no training
scene has. In the column `null` the parts that take part in a relation are drawn at random: what a row there
wins with the part condition is no skill.
"""

from ml_collections import ConfigDict

from configs.sms.rows import COMPARED, ROWS, of_size
from configs.sms.scenes import MODEL
from configs.sms.scenes import get_config as one_run

SHOWN = ('recall_100_25', 'recall_100_50', 'recall_100_75', 'recall_G_50', 'mean_recall_100_50')
NULL = ('SMS', 'prior', 'two-stage')
DIFFERENCES = ('recall_100_50', 'recall_100_50_parts', 'recall_G_50')
QUICK = {'data': {'arguments': {'train': 1_600, 'validation': 40, 'test': 60}}}


def get_config() -> ConfigDict:
    """Builds the table's config.

    Returns:
      Columns: the world of scenes and, as `null`, the same world with the truth of parts switched off. Rows,
      search space, seeds.
    """
    run = one_run('SMS')
    world = {key: run[key] for key in ('features', 'data', 'train')}
    null = ConfigDict(world).copy_and_resolve_references()
    null.data.arguments.null = True
    own = (*SHOWN, *(f'{name}_parts' for name in SHOWN), 'entity_ap', 'part_miou')
    return ConfigDict(
        {
            'title': 'SMS on rendered scenes',
            'columns': {'scenes': ConfigDict(world).copy_and_resolve_references(), 'null': null},
            'main': 'scenes',  # a ConfigDict forgets the order of its keys
            'order': COMPARED,
            'tuned': ('scenes',),  # in the null world rows run as they were chosen for the other
            'only': {'null': NULL},
            'rows': of_size(ROWS, MODEL),
            'reference': 'SMS',
            'paired': DIFFERENCES,
            'ratios': {'recall_G_50': 'prior'},
            'seeds': 3,
            'trials': 2,
            'search': {'train': {'learning_rate': (2e-3, 4e-3)}},
            'judges': ('experiments.sms.judging:judge',),
            'shown': (
                *own, *(f'{name}_minus_SMS' for name in DIFFERENCES), 'recall_G_50_over_prior',
                *(f'null/{name}' for name in own), 'null/recall_100_50_parts_minus_SMS', 'fps', 'trained',
                'parameters', 'seconds',
            ),
            'note': (
                'Simulated truth. Seed s draws world s, the order of the data and the initial values; tuning '
                'has a world of its own. `recall_K_T`: the share of the true relations of an image that '
                'its K best predictions find with both masks at an IoU of T %; G is their true number. '
                '`_parts`: the set of parts must be right too. `fps`: images a second one by one, on the '
                'cores of one worker. `null`: parts drawn at random.'
            ),
            'quick': {
                'seeds': 2, 'trials': 0, 'only': {'null': ('SMS', 'prior')},
                'columns': dict.fromkeys(('scenes', 'null'), QUICK),
            },
        }
    )  # fmt: skip
