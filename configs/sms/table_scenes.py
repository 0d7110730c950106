"""SMS's table on rendered scenes: simultaneous matching and segmentation against what is simpler.

    jaxrec compare --config=configs/sms/table_scenes.py --workdir=runs/sms_table
    jaxrec compare --config=configs/sms/table_scenes.py --workdir=runs/sms_quick --quick

Rows have one trunk, one number of steps and one search, whose trials take a third of the steps. Test scenes have poses
and textures that no training scene has. In the column `null` the parts that take part in a relation are drawn at
random: what a row there wins with the part condition is no skill. As many relations have no part, `recall_K_T_parts`
falls there by the share of the others alone; `parts_given_relation` is of those that have parts, and says it plainly.
`SMS-long` is SMS with a wider neck on eight times the scenes, at the rate that was chosen for SMS: other rows say which
form learns more from as many scenes, this one how far it goes. A seed of it takes an hour and a half of a core.
"""

from ml_collections import ConfigDict

from jaxrec.models.sms.presets import COMPARED, ROWS, of_size
from jaxrec.models.sms.simulated import MODEL
from jaxrec.models.sms.simulated import get_config as one_run
from jaxrec.options import changed

SHOWN = ('recall_100_25', 'recall_100_50', 'recall_100_75', 'recall_G_50', 'mean_recall_100_50')
NULL = ('SMS', 'prior', 'two-stage')
DIFFERENCES = ('recall_100_50', 'recall_100_50_parts', 'recall_G_50', 'parts_given_relation')
# More looks and test scenes than the demo's: of 200 test scenes one seed's recall is known to .015 alone.
SIZES = {'data': {'arguments': {'train': 7_500, 'validation': 200, 'test': 500}}, 'train': {'evals_per_epoch': 8}}
LONG = changed(
    ROWS['SMS'],
    data={'arguments': {'train': 60_000}},
    train={'evals_per_epoch': 15},
    model={'neck': 48},  # so many scenes fill a map of 32 channels
)
QUICK = {'data': {'arguments': {'train': 1_040, 'validation': 20, 'test': 60}}, 'train': {'evals_per_epoch': 1}}
NOTE = (
    'Simulated truth. Seed s draws world s, the order of the data and the initial values; tuning '
    'has a world of its own. `recall_K_T`: the share of the true relations of an image that '
    'its K best predictions find with both masks at an IoU of T %; G is their true number. '
    '`_parts`: the set of parts must be right too; `parts_given_relation`: of the relations that '
    'have parts and are found at 100 and 50 %, the share with the right set. `fps`: images a '
    'second one by one, on the cores of one worker. `null`: parts drawn at random. `prior` is '
    'given the true masks: of masks and speed it says nothing.'
)


def get_config() -> ConfigDict:
    """Returns the table's config: data sets `scenes` and `null` (random part labels), models, search space, seeds."""
    run = one_run('SMS')
    world = ConfigDict({key: run[key] for key in ('features', 'data', 'train')}).copy_and_resolve_references()
    world.update(SIZES)
    null = world.copy_and_resolve_references()
    null.data.arguments.null = True
    parts = (*(f'{name}_parts' for name in SHOWN), 'parts_given_relation')
    own = (*SHOWN, *parts, 'entity_ap', 'part_miou')
    return ConfigDict(
        {
            'title': 'SMS on rendered scenes',
            'columns': {'scenes': world, 'null': null},
            'main': 'scenes',  # a ConfigDict forgets the order of its keys
            'order': (*COMPARED, 'SMS-long'),
            'tuned': ('scenes',),  # in the null world rows run as they were chosen for the other
            'only': {'null': NULL},
            'rows': of_size(ROWS | {'SMS-long': LONG}, MODEL),
            'reference': 'SMS',
            'paired': DIFFERENCES,
            'ratios': {'recall_G_50': 'prior'},
            'seeds': 3,
            'trials': 2,
            'trial': {'data': {'arguments': {'train': 2_500}}},
            'search': {},
            'row_search': {name: {'train': {'learning_rate': (8e-3, 4e-3)}} for name in COMPARED},
            'after': {'SMS-long': 'SMS'},
            'judges': ('jaxrec.models.sms.comparison:judge',),
            'shown': (
                *own, *(f'{name}_minus_SMS' for name in DIFFERENCES), 'recall_G_50_over_prior',
                *(f'null/{name}' for name in own), 'null/recall_100_50_parts_minus_SMS',
                'null/parts_given_relation_minus_SMS', 'fps', 'trained', 'parameters', 'seconds',
            ),
            'note': NOTE,
            'quick': {
                'seeds': 2, 'trials': 0, 'order': COMPARED, 'only': {'null': ()},
                'columns': {'scenes': QUICK},
            },
        }
    )  # fmt: skip
