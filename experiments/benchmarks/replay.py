"""Replay of a randomly logged stream by a policy that learns: visits a second.

A log like the Open Bandit Dataset's men: 10,000 visits, 34 items each, drawn uniformly. Policies refit every 1,000
visits.
"""

import tempfile
from pathlib import Path
from typing import Any

import jax

from jaxrec.data.simulators.feed import simulate
from jaxrec.data.sources.pool_source import PoolSource
from jaxrec.evaluation.replay import ReplayOptions, replay, start, without_host
from jaxrec.models.age.policies import make_policy
from jaxrec.parallel.peak_memory import peak_mb
from jaxrec.runs.timing import measure, record

VISITS, BATCH = 10_000, 1_000
WORLD = {'users': 2_000, 'live': 34, 'lifetime': 0.0, 'traits': 20, 'active': 4, 'history': 1}
FEATURES = {'user': ('traits',), 'candidate': ('item', 'category', 'source')}
# The network and options of AGE's replay tables; 'beta' has no network and no context.
MODEL = {'task': 'jaxrec.models.baselines.dnn:make_task', 'dim': 8, 'widths': (64, 32), 'features': FEATURES}
OPTIONS: dict[str, dict[str, Any]] = {
    'beta': {},
    'linucb': {},
    'epsilon_greedy': {'epsilon': 0.1},
    'age': {'explore_lambda': 10.0, 'pgd_steps': 3},
}


def run(name: str, policy: str) -> dict[str, Any]:
    """Time whole replays by a policy of `OPTIONS`, each from the same state; an example is a visit."""
    idle, key = peak_mb(), jax.random.key(0)
    with tempfile.TemporaryDirectory() as folder:
        log = simulate(Path(folder) / 'log', visits=VISITS, **WORLD)
        visits = PoolSource(log.folder, features=FEATURES, batch_size=BATCH)
        made = make_policy({'policy': policy, 'model': MODEL, 'options': OPTIONS[policy]}, log.schema)
        state = made.init(key, without_host(visits[0]))
        options = ReplayOptions(refit_every=BATCH)

        def call() -> int:
            fresh = start(jax.tree.map(lambda x: x.copy(), state))  # a state is given up by learning
            return replay(made, visits, fresh, key, options).tally.matches

        matches = call()
        timed = measure(call, lambda: None)
        params = sum(x.size for x in jax.tree.leaves((state.params, state.tables)))
        shapes = f'{VISITS} visits, C{log.candidates}, scored and refitted every {BATCH}, {policy}'
        return record(name, shapes, params, timed, VISITS, idle, matches=matches)
