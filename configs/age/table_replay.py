"""AGE's tables 1 to 3 (arXiv 2112.11136) on simulated feeds into which new items arrive, with known true rates.

    jaxrec compare --config=configs/age/table_replay.py --workdir=runs/age_table
    jaxrec compare --config=configs/age/table_replay.py --workdir=runs/age_quick --quick

Two data sets, each a uniform log with pools of some 38: a million visits after the warm-up, of which metrics that begin
with `early_` are of the first half; and a million of a feed whose items are all there from the start. --rows=DNN,AGE-TS
chooses among the rows of jaxrec/models/age/presets.py; `only` names those of the second data set.

Protocol. The first 80,000 visits train one model a seed, from which every method starts: they are drawn alike and see
the same batches. An ensemble's networks must differ, so it trains its own five. The rest is replayed with a refit each
20,000 visits on the last 20,000 matched events, those of the warm-up among them; what a method counts or sums beside
its network learns from each event once. AGE's lambda is tuned at the end of the warm-up to change a share of the
winners, 20 % first of three choices (the library's default is 5 %). A trial in which no lambda does has failed; a
test is tuned to the largest share that one does change, as its caveat says.

Every row with a network has three trials, which try the same three learning rates, each with a draw of how far the
method explores where that is a number (DNN and Ensemble-TS have none); LinUCB has three of that number alone. random
and beta-TS have nothing to tune. A trial replays the first half of the tuning world's stream and is evaluated by the
true CTR of the picks, since clicks of so short a stream would choose by luck. The second data set takes the options
chosen for the first.

Cost: four and a half hours of one worker, on busy cores: a run took 5 s (random) to 445 (AGE-UCB without its gate, 20
passes). jaxrec/models/age/README.md has the results and how the world was chosen, and
--cells=docs/results/age/cells_replay.jsonl.gz takes the finished runs from there.
"""

from ml_collections import ConfigDict

from jaxrec.models.age.presets import ABLATED, ADDED, COMPARED, PUBLISHED, ROWS, SEARCH
from jaxrec.models.age.simulated import get_config as one_run

# In the other column, to halve its cost.
FEWER = ('random', 'DNN', 'eps-greedy', 'Ensemble-TS', 'gradient-TS', 'MC-dropout-TS', 'AGE-TS')


def get_config() -> ConfigDict:
    """Builds the table's config.

    Returns:
      Columns: `simulated`, a million visits after the warm-up; `null`, the same without arriving items. Rows, search
      space, seeds.
    """
    run = one_run('DNN')
    world = {key: run[key] for key in ('features', 'data', 'stream', 'replay', 'train', 'model')}
    simulated, null = (ConfigDict(world).copy_and_resolve_references() for _ in range(2))
    simulated.replay.told_at = 0.5
    null.data.arguments.lifetime = 0.0
    return ConfigDict(
        {
            'title': 'AGE replayed on simulated feeds',
            'run': 'jaxrec.models.age.replay.comparison:run_cell',
            'columns': {'simulated': simulated, 'null': null},
            'main': 'simulated',  # a ConfigDict forgets the order of its keys
            'order': (*COMPARED, *ADDED, *ABLATED),
            'tuned': ('simulated',),  # the other column takes what was chosen there
            'only': {'null': FEWER},
            'rows': ROWS,
            'reference': 'DNN',
            'seeds': 5,
            'trials': 3,
            'search': {},
            'row_search': SEARCH,
            'paired': ('true_ctr', 'ctr', 'clicks', 'early_true_ctr'),
            'ratios': {'ctr': 'random', 'true_ctr': 'random', 'early_true_ctr': 'random'},
            'shown': (
                'clicks', 'matches', 'ctr', 'ctr_over_random', 'true_ctr', 'true_ctr_over_random', 'regret',
                'changed', 'true_ctr_minus_DNN', 'ctr_minus_DNN', 'tuned_explore_lambda', 'tuned_changed',
                'early_clicks', 'early_ctr', 'early_true_ctr', 'early_true_ctr_over_random', 'early_regret',
                'early_changed', 'early_true_ctr_minus_DNN',
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
                'the end of the warm-up. `early_...`: of the first half; `null`: no items arrive. Trials are '
                'judged by the true rate of their picks, which no real log could tell. `threshold 56%`: a '
                'fixed gate at that share of what random earns on R6B. Stand-ins where the texts are '
                'silent: GP is a Gaussian process on the last hidden layer of the same network, with a '
                'linear kernel and Laplace\'s posterior; UR multiplies the uncertainty by (clicks + 1) / '
                '(predicted clicks + 1) of the item.'
            ),
            'quick': {
                'seeds': 2,
                'trials': 0,
                'only': {'null': ()},
                'columns': {'simulated': {'data': {'arguments': {'visits': 200_000, 'days': 2.78}}}},
            },
        }
    )  # fmt: skip
