"""CAN's table on the simulated CTR world, with the truth known (compare tables 2 and 4 of arXiv 2011.05625).

    jaxrec compare --config=configs/can/table_simulated.py --workdir=runs/can_table

The world and the search were fixed before the table was run, on seeds 1001 and 1002, which no cell has:

- Items: of 1,000, 1,500, 2,000, 3,000 and 10,000, 2,000 are the fewest that leave over 1% of the test examples with
  pairs that training never saw. At 3,000 the DNN hardly learns.
- Groups of items whose pairs act on each other: 16 fit into the sum of 18-wide embeddings, so that a DNN, well
  regularised, equals CAN; 24 do not, and 64 are learned by none.
- Search: L2 on the looked-up rows alone, which decides whether a model learns groups or labels by heart; learning rates
  of 1e-3 and 3e-3 and row learning rates from .05 to .3 moved no row by as much.
- The floor below which a pair shares a row that stands for none. With every pair in a row of its own (Cartesian-all) a
  pair is seen once or twice in training and its labels are learned by heart; with a floor of 20 the model is no worse
  for having pairs.

Results are in jaxrec/models/can/README.md.

--rows=CAN-1layer,CAN-DNN,CAN-3layer chooses among the rows of jaxrec/models/can/presets.py.
"""

from ml_collections import ConfigDict

from jaxrec.models.can.presets import ABLATED, COMPARED, PUBLISHED, ROWS, floored
from jaxrec.models.can.simulated import get_config as one_run

# CAN, what it stands on and what is simpler: where there is nothing to find, it must not win.
NULL = ('LR', 'DNN', 'DIN', 'Cartesian', 'CAN-DNN', 'CAN+Cartesian')


def get_config() -> ConfigDict:
    """Builds the table's config.

    Returns:
      Columns: the world with pair effects and, as `null`, the same world without any effect of two ids on each other:
      no pair effects, and no interests either, since an interest is a match of the candidate's category with those of
      the history. Rows, search space, seeds.
    """
    run = one_run('DNN')
    world = {key: run[key] for key in ('features', 'data', 'train')}
    null = ConfigDict(world).copy_and_resolve_references()
    null.data.arguments.pair_effect = null.data.arguments.interest_effect = 0.0
    return ConfigDict(
        {
            'title': 'CAN on the simulated CTR world',
            'columns': {'simulated': ConfigDict(world).copy_and_resolve_references(), 'null': null},
            'main': 'simulated',  # a ConfigDict forgets the order of its keys
            'order': (*COMPARED, 'Cartesian-all', *ABLATED),
            'tuned': ('simulated',),  # in the null world rows run as they were chosen for the other
            'only': {'null': NULL},
            'timed': ('simulated',),
            'rows': floored(ROWS) | {'Cartesian-all': ROWS['Cartesian']},
            'reference': 'DNN',
            'seeds': 5,
            'trials': 3,
            'search': {'model': {'row_l2': (1e-2, 1e-3, 3e-2)}},
            'slices': ('unseen_pairs',),
            'shown': (
                'auc', 'gauc', 'logloss', 'pcoc', 'auc_unseen', 'share_unseen', 'auc_minus_DNN',
                'auc_unseen_minus_DNN', 'null/auc', 'null/auc_minus_DNN', 'trained', 'parameters',
                'parameters_candidates', 'step_ms', 'seconds',
            ),
            'published': PUBLISHED,
            'note': (
                'Simulated truth; the published column is another data set and only its order can be '
                'compared. Seed s draws world s, the order of the data and the initial values; tuning has a '
                'world of its own. `auc_unseen`: test examples none of whose (candidate item, history item) '
                'pairs occurred in training. `null`: the same worlds without pair effects and interests.'
            ),
            'quick': {
                'seeds': 2, 'trials': 0, 'timed': (), 'only': {'null': ('DNN', 'CAN-DNN')},
                'columns': {column: {'train': {'epochs': 2}} for column in ('simulated', 'null')},
            },
        }
    )  # fmt: skip
