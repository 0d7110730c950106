"""SIM's table (arXiv 2006.05639) on simulated worlds of long histories, with the truth known.

    jaxrec compare --config=configs/sim/table_simulated.py --workdir=runs/sim_table
    jaxrec compare --config=configs/sim/table_simulated.py --workdir=runs/sim_quick --quick

Three columns: histories of 2,000 behaviours; of 20,000, for the rows that search; and of 2,000 in a world where old
behaviours do not matter. All have been run, in some twelve core hours with their trials, see
`jaxrec/models/sim/README.md`. --rows=DIN-short,SIM-soft chooses among the rows of jaxrec/models/sim/presets.py. With
JAX_COMPILATION_CACHE_DIR set, the seeds of a row share what was compiled, and
--cells=docs/results/sim/cells_simulated.jsonl.gz goes on from what was run.

The world and the search were fixed before the table was run, by validation of seed 1001, which no cell has:

- Users come once, and parts hold different users. Where each had six pages, the short window alone reached an AUC of
  .875 and the searches .891: clicks on earlier pages, and an id that was trained on them, tell what a user wants
  without a look at old behaviours.
- Pages: a user sees 20 items at once, and all of a page look back on the same behaviours. A page is one request, so
  102,000 examples read 5,100 long histories. The label of each item is drawn for itself.
- Ids: 480 items, 320 of 40 hidden groups in 20 themes and 20 categories, and 160 staples, so that a candidate is met
  some 210 times in training.
- Effects: an episode at full strength moves the logit by 2.5, and nine impressions of ten are of the user's themes or
  recent categories; `gap_effect` 2, so that a behaviour lends much while its interest is due and takes away before. Who
  knew all reached an AUC of .971; by all but the ages .77, by the 50 newest of the category .80, without their ages
  .70, by 50 at random .68, by the last 50 behaviours alone .54.
- Search: L2 on the looked-up rows alone. Every row that is read counts, 2,000 of them in some models, so the values are
  lower than those of CAN's table.
- Initial embeddings of .3, from which a match of embeddings means something from the first step on: in three epochs
  soft search reached .747, from .1 .738, from 1 less; hard search .693 from .1 and .3, .697 from .01.
- Soft search as public code does it. By the equations, W_a and W_b are drawn apart, so that the first top 50 are at
  random, and the search's loss reads the sum of 2,000 raw products: in an earlier world it was below DIN-short after
  three and a half epochs.
- DIN-full's softmax begins as a mean over 1,950: it stayed at .53 for seven epochs and was at .755 after twelve, still
  gaining. Without the softmax, as in DIN's paper, it was at .51 after one and a half.
"""

from ml_collections import ConfigDict

from jaxrec.models.sim.presets import COMPARED, PUBLISHED, SEARCHING, SIMULATED_ROWS
from jaxrec.models.sim.simulated import get_config as one_run
from jaxrec.options import changed

# What has nothing to find where old behaviours do not matter.
NULL = ('DIN-short', 'SIM-hard', 'SIM-hard+time', 'SIM-soft', 'SIM-soft+time')
# A scan of 2,000 steps is slow, so MIMN trains on a fourth of the training users.
MIMN_SHARE = 1 / 6
# Its validation stands still for seven epochs, see above, which the patience of the others would not outlast.
FULL_TRAIN = {'patience': 8}
# A fourth of the behaviours, so that its rows stay within the time of a quick table.
QUICK_WORLD = {'history': 500, 'near': 150, 'episode': 4}
# Interests leave more behaviours in a history ten times as long, and strays as many.
LONGER_WORLD = {'users': 1_536, 'history': 20_000, 'impressions': 100, 'page': 100, 'episode': 50, 'strays': 0.003}


def get_config() -> ConfigDict:
    """Builds the table's config.

    Returns:
      Columns: `main`, histories of 2,000; `L20000`, of 20,000, of which training reads a random 2,000 where a search
      reads vectors, and evaluation all; `null`, of 2,000 without long-range interests. Rows, search space, seeds.
    """
    run = one_run('SIM-soft')
    world = {key: run[key] for key in ('features', 'data', 'train')}
    main, longer, null = (ConfigDict(world).copy_and_resolve_references() for _ in range(3))
    null.data.arguments.long_effect = 0.0
    # Fewer users of longer pages: 102,400 examples to train on, 25,600 of validation and of test.
    longer.data.arguments.update(LONGER_WORLD)
    longer.data.candidates = LONGER_WORLD['page']
    longer.data.lifelong.update({'length': 19_950, 'sample': 2_000})
    longer.train.update({'batch_size': 4, 'eval_batch_size': 2})
    own = {
        'MIMN': changed(SIMULATED_ROWS['MIMN'], data={'split': {'train': MIMN_SHARE}}),
        'DIN-full': changed(SIMULATED_ROWS['DIN-full'], train=FULL_TRAIN),
    }
    return ConfigDict(
        {
            'title': 'SIM on simulated long histories',
            'columns': {'main': main, 'L20000': longer, 'null': null},
            'main': 'main',  # a ConfigDict forgets the order of its keys
            'order': COMPARED,
            'tuned': ('main',),  # the other columns take what was chosen there
            'only': {'L20000': SEARCHING, 'null': NULL},
            'timed': ('main',),
            'rows': SIMULATED_ROWS | own,
            'reference': 'DIN-short',
            'seeds': 5,
            'trials': 2,
            'search': {'model': {'row_l2': (3e-4, 3e-5)}},
            'judges': ('jaxrec.models.sim.comparison:judge',),
            'shown': (
                'auc', 'gauc', 'logloss', 'auc_minus_DIN-short', 'step_ms', 'recall', 'recall_recent',
                'recall_random', 'agreement', 'relevant_short', 'relevant_long', 'relevant_of_long',
                'L20000/auc', 'L20000/gauc', 'L20000/auc_minus_DIN-short', 'L20000/recall',
                'L20000/recall_random', 'L20000/agreement', 'null/auc', 'null/auc_minus_DIN-short', 'trained',
                'parameters', 'seconds',
            ),
            'published': PUBLISHED,
            'note': (
                'Simulated truth; the published columns are other data sets and only their order can be '
                'compared. Seed s draws world s, the order of the data and the initial values; tuning has a '
                'world of its own. `recall`: share of the behaviours of the long window that matter to the '
                'candidate among the 50 that are kept (by SDIM: that collide most often), beside the 50 most '
                'recent and 50 at random; `agreement`: share of the 50 to which the exact unit would attend '
                'most that the search kept. MIMN trains on a fourth of the training users. '
                '`L20000`: histories of 20,000, of which training reads a random '
                '2,000 where a search reads vectors. `null`: old behaviours do not matter.'
            ),
            'quick': {
                'seeds': 2,
                'trials': 0,
                'timed': (),
                'only': {'L20000': (), 'null': ()},
                'columns': {
                    'main': {
                        'data': {'arguments': QUICK_WORLD, 'lifelong': {'length': 450}},
                        'train': {'epochs': 5},
                    }
                },
            },
        }
    )  # fmt: skip
