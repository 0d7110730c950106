"""The methods of AGE's tables, by the names of their rows.

All but the bandits without a network rank by the same DNN; rows differ in how they explore. `SEARCH` has the one number
of each that says how far it explores, and of a network its learning rate.
"""

from typing import Any

# The paper has an MLP of 256 and 64, which a replay of a million visits can't afford on a CPU.
MODEL = {'task': 'jaxrec.models.baselines.dnn:make_task', 'dim': 8, 'widths': (64, 32)}
PGD_STEPS = 3  # the paper does not say how many


def method(policy: str, **options: Any) -> dict[str, Any]:
    """A row of a policy and its options; a bandit without a network has no model."""
    return {'policy': policy, 'options': options}


def age(**options: Any) -> dict[str, Any]:
    """A row of AGE."""
    return method('age', **{'pgd_steps': PGD_STEPS, **options})


# As in table 1 of the paper. Scales are in the units of what they multiply: a probability's deviation, of GP
# a logit's; the gradient's length is no deviation and much larger than one.
COMPARED_ROWS: dict[str, dict[str, Any]] = {
    'random': method('random'),
    'DNN': method('dnn'),
    'eps-greedy': method('epsilon_greedy', epsilon=0.1),
    'Ensemble-TS': method('ensemble', form='ts', networks=5),
    'Ensemble-UCB': method('ensemble', form='ucb', networks=5, scale=1.0),
    'GP-TS': method('gaussian_process', form='ts', scale=0.3),
    'GP-UCB': method('gaussian_process', form='ucb', scale=0.3),
    'gradient-TS': method('gradient', form='ts', scale=0.1),
    'gradient-UCB': method('gradient', form='ucb', scale=0.1),
    'UR-gradient-TS': method('gradient', form='ts', scale=0.1, refine=True),
    'UR-gradient-UCB': method('gradient', form='ucb', scale=0.1, refine=True),
    'AGE-TS': age(),
    'AGE-UCB': age(uncertainty='ucb'),
}
# Not in the paper: what AGE is without its gradient and gate, and what needs no network.
ADDED_ROWS: dict[str, dict[str, Any]] = {
    'MC-dropout-TS': method('dropout', form='ts', rate=0.01),
    'MC-dropout-UCB': method('dropout', form='ucb', rate=0.01, scale=1.0),
    'LinUCB': method('linucb', scale=0.3),
    'beta-TS': method('beta'),
}
# Table 3's fixed thresholds on R6B, where a uniform logger earns .036, by what share of that rate they are: a
# threshold means nothing apart from it. Where random earns more they would be open for every pair.
R6B_CTR = 0.036
THRESHOLDS = {'AGE-TS threshold 56%': 0.02, 'AGE-TS threshold 28%': 0.01, 'AGE-TS threshold 14%': 0.005}


def thresholds_at(ctr: float) -> dict[str, dict[str, Any]]:
    """The rows with a fixed threshold, at the paper's shares of the rate that a uniform logger earns."""
    return {
        name: age(gate='fixed', gate_threshold=round(threshold * ctr / R6B_CTR, 4))
        for name, threshold in THRESHOLDS.items()
    }


# Tables 2 and 3.
ABLATED_ROWS: dict[str, dict[str, Any]] = {
    'AGE-TS without delta': age(uncertainty='gaussian'),
    'AGE-TS without gradient': age(direction='random'),
    'AGE-TS without gate': age(gate='none'),
    **thresholds_at(R6B_CTR),
    'AGE-TS FGM': age(direction='fgm'),
    'AGE-UCB without gate': age(uncertainty='ucb', gate='none'),
}
ROWS = COMPARED_ROWS | ADDED_ROWS | ABLATED_ROWS
COMPARED, ADDED, ABLATED = tuple(COMPARED_ROWS), tuple(ADDED_ROWS), tuple(ABLATED_ROWS)

# {section: {key: choices}}, the first choice that of the row: how far a method explores is one number each,
# and rows with a network share the learning rate. random and beta-TS have neither, LinUCB no network. As
# `jaxrec compare` draws them, three trials try each learning rate once, whatever else a row has.
SHARED = {'train': {'learning_rate': (1e-3, 3e-3, 3e-4)}}
WITHOUT_NETWORK = ('random', 'LinUCB', 'beta-TS')
CHANGED = {'stream': {'changed': (0.2, 0.05, 0.4)}}
RATES = {'options': {'rate': (0.01, 0.03, 0.1)}}


def scaled(first: float) -> dict[str, Any]:
    """Choices of a scale around the row's own."""
    return {'options': {'scale': (first, 3 * first, first / 3)}}


SEARCH: dict[str, dict[str, Any]] = {'eps-greedy': {'options': {'epsilon': (0.1, 0.03, 0.3)}}}
SEARCH |= {name: scaled(row['options']['scale']) for name, row in ROWS.items() if 'scale' in row['options']}
SEARCH |= {name: CHANGED for name, row in ROWS.items() if row['policy'] == 'age'}
SEARCH['MC-dropout-TS'] = RATES
SEARCH |= {name: SEARCH.get(name, {}) | SHARED for name in ROWS if name not in WITHOUT_NETWORK}

# Clicks on Yahoo! R6B: of tables 1 to 3, and of table 1 on half of the stream.
CLICKS = {
    'random': (26212.8, 13323.6),
    'DNN': (39149.4, 19345.6),
    'eps-greedy': (42540.2, 20384.6),
    'Ensemble-TS': (43429.0, 20372.2),
    'Ensemble-UCB': (31985.6, 14872.0),
    'GP-TS': (44069.8, 20376.8),
    'GP-UCB': (36191.8, 18923.4),
    'gradient-TS': (46829.6, 23227.2),
    'gradient-UCB': (37655.4, 17362.4),
    'UR-gradient-TS': (47539.6, 22052.4),
    'UR-gradient-UCB': (41509.6, 19476.8),
    'AGE-TS': (50111.0, 24875.2),
    'AGE-UCB': (47873.6, 23042.4),
    'AGE-TS without delta': (45677.0,),
    'AGE-TS without gradient': (44638.0,),
    'AGE-TS without gate': (47387.0,),
    'AGE-TS threshold 56%': (47328.2,),
    'AGE-TS threshold 28%': (48263.8,),
    'AGE-TS threshold 14%': (47596.8,),
    'AGE-TS FGM': (48698.2,),
    'AGE-UCB without gate': (38327.0,),
}


def published(name: str) -> dict[str, str]:
    """Returns what the paper has of a row: its clicks, and their ratio to random's."""
    found = {}
    for data, clicks, least in zip(('R6B', '50% of R6B'), CLICKS[name], CLICKS['random'], strict=False):
        found[f'{data} clicks'] = f'{clicks:,.0f}'
        found[f'{data} clicks over random'] = f'{clicks / least:.2f}'
    return found


PUBLISHED = {name: published(name) for name in CLICKS}
