"""AGE's tables 1 to 3 (arXiv 2112.11136) on simulated feeds into which new items arrive, the truth known.

    python -m experiments.compare --config=configs/age/table_replay.py --workdir=runs/age_table
    python -m experiments.compare --config=configs/age/table_replay.py --workdir=runs/age_quick --quick

Three columns, each a uniform log with pools of some 38: a million visits after the warm-up; the first half of
that stream; and a million of a feed whose items are all there from the start. --rows=DNN,AGE-TS chooses among
the rows of configs/age/rows.py, and `only` says which of them the two other columns have.

Protocol. The first 80,000 visits train one model a seed, from which every method starts: they are drawn alike
and see the same batches, so no file is shared. An ensemble's networks must differ, so it trains its own five.
The rest is replayed with a refit each 20,000 visits on the last 20,000 matched events, those of the warm-up
among them; what a method counts or sums beside its network takes in each event once. AGE's lambda is tuned at
the end of the warm-up to change a share of the winners. How far a method explores is searched, one number
each, in 3 trials on the first 30% of the tuning world's stream, judged by the true CTR of the picks, since
clicks of so short a stream would choose by luck; random, DNN, Ensemble-TS and beta-TS have no such number. In
the two other columns rows run as they were chosen for the first.

The world was fixed on seed 1001, which no cell has, on 300,000 visits of 4.17 days:

- Clicks for an item. R6B leaves some 1,100 matches for an article, of which 40 are clicks. A million visits
  leave 26,000 matches, and items that live for two days, 320 of them, 80 each. So that these hold news of an
  item at all, rates are three times as high (`bias`): 10% at random.
- What is to be found out. Quality differs more (.8) than what groups of users and items tell (.4), and no
  source tells any of it, as in R6B, where articles have no features. In the world's default (bias -3.3,
  quality .6, pairs .5, items that live for five days), 220,000 visits were too few for exploration to pay:
  true CTR .1075 of DNN, .1067 of AGE-TS at a target of 5%, .0967 of eps-greedy, .0736 of beta-TS.
- The target. In this world (with the source as a feature) AGE-TS by FGM had a true CTR of .1833 at a target
  of 5% and .2143 at 20%, DNN .1836, MC-dropout-TS .2154, eps-greedy .1797, Ensemble-TS .1796, beta-TS .1763,
  random .0995, who knew all .4134. Hence 20% is the first choice here; the library's default is 5%.
- The DNN. At learning rates of 1e-3, and 1e-3 to 1e-2 for rows, and windows of 5,000 to 60,000, its true CTR
  stayed within .1061 and .1081 in the default world; at 3e-3 and 3e-2 it fell to .0743.

Cost: not yet run in full. By seconds measured on one core of a slow machine, a million visits take 10 s of
reading and judging, and of scoring 24 s (DNN), 43 (GP), 81 (Ensemble), 96 (gradient), some 150 (AGE-TS), 170
(LinUCB), 224 (MC-dropout-UCB) and 330 (AGE-UCB); some 7 core hours in all, of which the two other columns are
two. One seed fewer saves an hour, --rows and `only` save what they leave out.
"""

from ml_collections import ConfigDict

from configs.age.rows import ABLATED, ADDED, COMPARED, PUBLISHED, ROWS, SEARCH
from configs.age.simulated import get_config as one_run

# In the two other columns, to halve their cost.
FEWER = ('random', 'DNN', 'eps-greedy', 'Ensemble-TS', 'gradient-TS', 'MC-dropout-TS', 'AGE-TS', 'AGE-UCB')


def get_config() -> ConfigDict:
    """Builds the table's config.

    Returns:
      Columns: `simulated`, a million visits after the warm-up; `half`, the first half of that stream; `null`,
      the same without arriving items. Rows, search space, seeds.
    """
    run = one_run('DNN')
    world = {key: run[key] for key in ('features', 'data', 'stream', 'replay', 'train', 'model')}
    simulated, half, null = (ConfigDict(world).copy_and_resolve_references() for _ in range(3))
    half.stream.share = 0.5
    null.data.arguments.lifetime = 0.0
    return ConfigDict(
        {
            'title': 'AGE replayed on simulated feeds',
            'run': 'experiments.age.cells:run_cell',
            'columns': {'simulated': simulated, 'half': half, 'null': null},
            'main': 'simulated',  # a ConfigDict forgets the order of its keys
            'order': (*COMPARED, *ADDED, *ABLATED),
            'tuned': ('simulated',),  # the other columns take what was chosen there
            'only': {'half': FEWER, 'null': FEWER},
            'rows': ROWS,
            'reference': 'DNN',
            'seeds': 5,
            'trials': 3,
            'search': {},
            'row_search': SEARCH,
            'paired': ('true_ctr', 'ctr', 'clicks'),
            'ratios': {'ctr': 'random', 'true_ctr': 'random'},
            'shown': (
                'clicks', 'matches', 'ctr', 'ctr_over_random', 'true_ctr', 'true_ctr_over_random', 'regret',
                'changed', 'true_ctr_minus_DNN', 'ctr_minus_DNN', 'tuned_explore_lambda', 'tuned_changed',
                'half/ctr', 'half/true_ctr', 'half/true_ctr_over_random', 'half/true_ctr_minus_DNN',
                'null/ctr', 'null/true_ctr', 'null/true_ctr_over_random', 'null/true_ctr_minus_DNN',
                'parameters', 'seconds',
            ),
            'published': PUBLISHED,
            'note': (
                'Simulated truth; the published columns are another data set and only their order can be '
                'compared. Seed s draws world s and the initial values; tuning has its own world. `ctr`: '
                'clicks over matches; `true_ctr`: mean true rate of the picks of all visits, `regret`: what '
                'the best candidates have more; `..._over_random`: that rate over the one of random with the '
                'same seed. `changed`: share of the visits whose pick is not the highest prediction; '
                '`tuned_explore_lambda` and `tuned_changed`: AGE\'s lambda and the share that it changed at '
                'the end of the warm-up. `half`: half of the stream; `null`: no items arrive.'
            ),
            'quick': {
                'seeds': 2,
                'trials': 0,
                'only': {'half': (), 'null': ()},
                'columns': {'simulated': {'data': {'arguments': {'visits': 200_000, 'days': 2.78}}}},
            },
        }
    )  # fmt: skip
