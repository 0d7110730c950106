"""AGE's scores of a pool, and NeuralUCB's on the same network, from host to host arrays. B requests, C candidates.

A bandit's request has 20 arms; a batch of a replay has requests of 38 candidates. Gate, dropout and lookup are
included.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from experiments.benchmarks.steps import count
from jaxrec.data.logs.schema import Column
from jaxrec.embeddings import row_adagrad
from jaxrec.models.age import make_explore_step, make_task
from jaxrec.models.age.policies import make_policy
from jaxrec.parallel import make_mesh, put_batch
from jaxrec.parallel.peak_memory import peak_mb
from jaxrec.runs.timing import measure, record
from jaxrec.training.state import Setup, init_state

ARMS, REQUESTS, POOL, ROWS, KEYS = 20, 256, 38, 1000, 64
COLUMNS, DIM, WIDTHS = 5, 10, (100,)
SHAPES = 'E100 MLP100 (5+5 columns, D10), gate MLP32, fp32'
FEATURES = {'user': tuple(f'user{i}' for i in range(COLUMNS)), 'candidate': tuple(f'item{i}' for i in range(COLUMNS))}
MODEL = {'task': 'jaxrec.models.baselines.dnn:make_task', 'dim': DIM, 'widths': WIDTHS}


def schema() -> dict[str, Column]:
    """{column: Column}, a vocabulary each."""
    names = (*FEATURES['user'], *FEATURES['candidate'])
    return {name: Column('categorical', name, ROWS, 1) for name in names}


def make_batches(requests: int, pool: int, number: int = 4) -> list[dict[str, np.ndarray]]:
    """Draws host batches with uniform ids and full pools."""
    rng = np.random.default_rng(0)

    def ids(*shape: int) -> np.ndarray:
        return rng.integers(2, ROWS, shape).astype(np.int32)

    def drawn() -> dict[str, np.ndarray]:
        return {
            **{f'user/{name}': ids(requests) for name in FEATURES['user']},
            **{f'candidate/{name}': ids(requests, pool) for name in FEATURES['candidate']},
            'label': np.zeros((requests, pool), np.float32),
            'valid': np.ones((requests, pool), np.float32),
        }

    return [drawn() for _ in range(number)]


def age(name: str, requests: int = 1, pool: int | None = None, **options: Any) -> dict[str, Any]:
    """Times AGE's scores."""
    pool, idle = pool or ARMS, peak_mb()
    config = {'features': FEATURES, 'base': MODEL, 'explore_lambda': 10.0, **options}
    task = make_task(config, schema())
    setup = Setup(task, optax.adam(1e-3), row_adagrad(0.05), make_mesh((1, 1)))
    batches = make_batches(requests, pool)
    state, explore = init_state(setup, put_batch(batches[0], setup.mesh), 0), make_explore_step(setup)
    timed = measure(over(batches, lambda batch, key: explore(state, batch, key).score), lambda: None)
    words = f'B{requests} C{pool} {SHAPES}, {" ".join(f"{k}={v}" for k, v in options.items())}'
    return record(name, words, count_base(state.params), timed, requests, idle, trained=count(state))


def neural_ucb(name: str) -> dict[str, Any]:
    """Times NeuralUCB's scores of one request, its diagonal over weights and rows."""
    idle = peak_mb()
    config = {'policy': 'gradient', 'model': {**MODEL, 'features': FEATURES}, 'options': {'form': 'ucb'}}
    policy, batches = make_policy(config, schema()), make_batches(1, ARMS)
    batches = [{**batch, 'pool': batch['valid'] > 0} for batch in batches]
    state = policy.init(jax.random.key(0), batches[0])
    timed = measure(over(batches, lambda batch, key: policy.score(state, batch, key)), lambda: None)
    params = sum(x.size for x in jax.tree.leaves(state.params))
    return record(name, f'B1 C{ARMS} {SHAPES}, no gate, no dropout', params, timed, 1, idle)


def count_base(params: Any) -> int:
    """Numbers of the network that is explored."""
    return sum(x.size for x in jax.tree.leaves(params['base']))


def over(batches: list[dict[str, np.ndarray]], score: Callable[..., jax.Array]) -> Callable[[], np.ndarray]:
    """A call that scores the next batch with the next key, and brings the scores to the host."""
    keys = itertools.cycle(list(jax.random.split(jax.random.key(0), KEYS)))
    turns = itertools.cycle(batches)
    return lambda: np.asarray(score(next(turns), next(keys)))
