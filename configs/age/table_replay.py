"""AGE's tables 1 to 3 (arXiv 2112.11136) on simulated feeds into which new items arrive, the truth known.

python -m experiments.compare --config=configs/age/table_replay.py --workdir=runs/age_table
python -m experiments.compare --config=configs/age/table_replay.py --workdir=runs/age_quick --quick
"""

from ml_collections import ConfigDict

from configs.age.rows import ABLATED, ADDED, COMPARED, PUBLISHED, ROWS, SEARCH
from configs.age.simulated import get_config as one_run

# In both other columns only what the paper compares, and of that what explores least and most.
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
            'note': 'NOTE',
            'quick': {'seeds': 2, 'trials': 0},
        }
    )  # fmt: skip
