"""Requests, events and tiny policies: what the tests of all policies share.

B requests, C candidates.
"""

from typing import Any

import numpy as np

from jaxrec.models.age.policies import make_policy
from tests.models.worlds import SCHEMA

B, C = 5, 4
FEATURES: dict[str, tuple[str, ...]] = {'user': ('user',), 'candidate': ('item', 'category')}
MODEL: dict[str, Any] = {'features': FEATURES, 'dim': 3, 'widths': (6, 4)}
TRAIN: dict[str, Any] = {'batch_size': 8, 'learning_rate': 0.03, 'row_learning_rate': 0.03}
ITEM = {'item': 'item'}
# Every method of the paper's table, its stand-ins, and two bandits.
POLICIES: dict[str, tuple[str, dict[str, Any]]] = {
    'random': ('random', {}),
    'DNN': ('dnn', {}),
    'eps-greedy': ('epsilon_greedy', {'epsilon': 0.3}),
    'Ensemble-TS': ('ensemble', {'form': 'ts', 'networks': 3, 'share': 0.7}),
    'Ensemble-UCB': ('ensemble', {'form': 'ucb', 'networks': 3}),
    'gradient-TS': ('gradient', {'form': 'ts'}),
    'gradient-UCB': ('gradient', {'form': 'ucb'}),
    'norm-UCB': ('gradient', {'form': 'ucb', 'precision': False}),
    'UR-gradient-TS': ('gradient', {'form': 'ts', 'refine': True, **ITEM}),
    'UR-gradient-UCB': ('gradient', {'form': 'ucb', 'refine': True}),
    'GP-TS': ('gaussian_process', {'form': 'ts'}),
    'GP-UCB': ('gaussian_process', {'form': 'ucb', 'fourier': 7}),
    'dropout-TS': ('dropout', {'form': 'ts', 'rate': 0.2}),
    'dropout-UCB': ('dropout', {'form': 'ucb', 'rate': 0.2, 'passes': 3}),
    'AGE-TS': ('age', {'explore_lambda': 5.0, 'dropout_rate': 0.2, 'gate': 'none', 'direction': 'fgm'}),
    'AGE-UCB': ('age', {'explore_lambda': 5.0, 'uncertainty': 'ucb', 'passes': 2, 'direction': 'fgm'}),
    'LinUCB': ('linucb', {'scale': 0.5}),
    'beta-TS': ('beta', {}),
    'softmax': ('stochastic', {'base': 'dnn', 'temperature': 0.1, 'epsilon': 0.2}),
}


def make(name: str, **options: Any):
    policy, own = POLICIES[name]
    return make_policy({'policy': policy, 'model': MODEL, 'train': TRAIN, 'options': own | options}, SCHEMA)


def make_requests(seed: int = 0, size: int = B) -> dict[str, np.ndarray]:
    """Pools of 1 to C candidates; the last request has none."""
    rng = np.random.default_rng(seed)
    ids = lambda name, *shape: rng.integers(1, SCHEMA[name].rows, shape).astype(np.int32)
    pool = np.arange(C) < rng.integers(2, C + 1, (size, 1))
    pool[0], pool[-1] = True, False
    return {
        'user/user': ids('user', size),
        'candidate/item': ids('item', size, C) * pool,
        'candidate/category': ids('category', size, C) * pool,
        'pool': pool,
    }


def make_events(seed: int = 1, size: int = B) -> dict[str, np.ndarray]:
    """The same with what was shown; the event without a pool is not valid."""
    requests, rng = make_requests(seed, size), np.random.default_rng((seed, 1))
    return {
        **requests,
        'shown': rng.integers(0, requests['pool'].sum(1).clip(1)).astype(np.int32),
        'click': rng.integers(0, 2, size).astype(np.float32),
        'valid': requests['pool'].any(1),
    }
