"""SIM's table on MovieLens latest-small (2016), real logs: 671 users, 9,066 movies, 100,004 ratings.

    jaxrec compare --config=configs/sim/table_movielens.py --workdir=runs/sim_movielens

The data root is $JAXREC_DATA or --data_dir. `auc_long` is of the test examples whose history exceeds the short window,
`examples_long` their count. What came of it stands in jaxrec/models/sim/README.md.
"""

from ml_collections import ConfigDict

from configs.sim.movielens import get_config as one_run
from jaxrec.models.sim.presets import COMPARED, PUBLISHED, ROWS
from jaxrec.options import changed

# A scan of 1,115 steps is slow, so MIMN trains on the last fifth of each user's ratings before validation.
MIMN_SHARE = 0.2


def get_config() -> ConfigDict:
    """Builds the table's config.

    Returns:
      One column, rows, search space, seeds.
    """
    run = one_run('SIM-soft')
    world = {key: run[key] for key in ('features', 'data', 'train')}
    return ConfigDict(
        {
            'title': 'SIM on MovieLens latest-small (2016), rating >= 4',
            'columns': {'movielens': ConfigDict(world).copy_and_resolve_references()},
            'main': 'movielens',  # a ConfigDict forgets the order of its keys
            'order': COMPARED,
            'rows': ROWS | {'MIMN': changed(ROWS['MIMN'], data={'split': {'train': MIMN_SHARE}})},
            'reference': 'DIN-short',
            'seeds': 5,
            'timed': ('movielens',),
            'trials': 2,
            'search': {'model': {'row_l2': (1e-3, 1e-2)}},
            'slices': ('long_histories',),
            'judges': ('jaxrec.models.sim.comparison:judge',),
            'shown': (
                'auc',
                'gauc',
                'logloss',
                'auc_minus_DIN-short',
                'auc_long',
                'auc_long_minus_DIN-short',
                'examples_long',
                'agreement',
                'trained',
                'parameters',
                'step_ms',
                'seconds',
            ),
            'published': PUBLISHED,
            'note': (
                'Real logs; the published columns are other data sets and only their order can be compared. '
                'Seeds change the order of the data and the initial values; the split is fixed by time. '
                '`auc_long`: test examples with more than 50 positive ratings before them, '
                '`examples_long` of them. MIMN trains on the last fifth of the ratings of a user before '
                'validation.'
            ),
            'quick': {'seeds': 2, 'trials': 0, 'timed': (), 'columns': {'movielens': {'train': {'epochs': 2}}}},
        }
    )
