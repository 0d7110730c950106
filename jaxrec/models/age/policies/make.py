"""Builds the policy that a config names."""

from collections.abc import Callable, Mapping
from typing import Any

import optax

from jaxrec.configurable import resolve
from jaxrec.data.logs.schema import Column
from jaxrec.embeddings import make_row_optimizer
from jaxrec.models import age as age_model
from jaxrec.models.age.policies.age import Age
from jaxrec.models.age.policies.bandits import BetaBernoulli, LinUcb, Random
from jaxrec.models.age.policies.dropout import Dropout
from jaxrec.models.age.policies.ensemble import Ensemble, EnsembleTask
from jaxrec.models.age.policies.gaussian_process import GaussianProcess
from jaxrec.models.age.policies.gradient import Gradient
from jaxrec.models.age.policies.neural import Explorer, ExploringTask, Greedy, NeuralPolicy
from jaxrec.models.age.policies.policy import MemoryPolicy, Policy
from jaxrec.models.age.policies.stochastic import Stochastic
from jaxrec.options import plain, read_options
from jaxrec.parallel import make_mesh
from jaxrec.training.state import Setup
from jaxrec.training.task import Task

TOP: dict[str, Any] = {'policy': 'dnn', 'model': {}, 'train': {}, 'options': {}}
# The paper's network for every method; any CTR task of the library may stand in its place.
MODEL: dict[str, Any] = {
    'task': 'jaxrec.models.baselines.dnn:make_task',
    'dim': 8,
    'widths': (256, 64),
    'history_pooling': 'mean',
}
TRAIN: dict[str, Any] = {
    'learning_rate': 1e-3,
    'row_optimizer': 'lazy_adam',
    'row_learning_rate': 1e-3,
    'clip_norm': None,
    'batch_size': 256,
    'epochs': 1,
}
Config = Mapping[str, Any]
Schema = Mapping[str, Column]


def make_policy(config: Config, schema: Schema) -> Policy:
    """Builds the policy that a config names.

    Args:
      config: `policy`, one of `POLICIES`; `model`, with `features`, a `task` (the paper's DNN by default, as `MODEL`)
        and its own options; `train`, any of `TRAIN`; `options`, attributes of the policy's class.
      schema: the log's {column: Column}.

    Raises:
      ValueError: an unknown policy, section or option, or a value that does not fit.
    """
    top = read_options(config, 'config', **TOP)
    if top['policy'] not in POLICIES:
        raise ValueError(f'policy = {top["policy"]!r} does not exist; choose one of {sorted(POLICIES)}')
    train = read_options(top['train'], 'train', **TRAIN)
    for name in ('batch_size', 'epochs'):
        if train[name] < 1:
            raise ValueError(f'train.{name} = {train[name]}: give at least 1')
    return POLICIES[top['policy']](plain(top['model']), train, plain(top['options']), schema)


def _neural(task: Task, explorer: Explorer, train: Config) -> NeuralPolicy:
    setup = Setup(
        ExploringTask(task, explorer),
        optax.adam(train['learning_rate']),
        make_row_optimizer(train['row_optimizer'], train['row_learning_rate']),
        make_mesh((1, 1)),
        clip_norm=train['clip_norm'],
    )
    return NeuralPolicy(setup, train['batch_size'], train['epochs'])


def _network(model: Config) -> dict[str, Any]:
    """The model's task and options; the defaults of `MODEL` are those of the paper's DNN alone."""
    return {**MODEL, **model} if model.get('task', MODEL['task']) == MODEL['task'] else dict(model)


def _task(model: Config, schema: Schema) -> Task:
    own = _network(model)
    return resolve(own.pop('task'), 'task')(own, schema)


def _epsilon(model: Config, train: Config, options: Config, schema: Schema) -> Policy:
    own = read_options(options, 'options', epsilon=0.1)
    return Stochastic(_neural(_task(model, schema), Greedy(), train), 0.0, float(own['epsilon']))


def _ensemble(model: Config, train: Config, options: Config, schema: Schema) -> Policy:
    own = read_options(options, 'options', form='ts', scale=1.0, networks=5, share=1.0)
    task = EnsembleTask(_task(model, schema), own['networks'], float(own['share']))
    return _neural(task, Ensemble(own['form'], float(own['scale'])), train)


def _gradient(model: Config, train: Config, options: Config, schema: Schema) -> Policy:
    defaults = {'form': 'ucb', 'scale': 1.0, 'ridge': 1.0, 'precision': True, 'prior': 1.0}
    own = read_options(options, 'options', **defaults, refine=False, item=None)
    item, refine, items = own.pop('item'), None, 0
    if own.pop('refine'):
        refine, items = _item(item, model, schema)
    return _neural(_task(model, schema), Gradient(**own, refine=refine, items=items), train)


def _explored(explorer: Callable[..., Explorer]) -> Callable[[Config, Config, Config, Schema], Policy]:
    """A builder of an explorer whose options, with their defaults, are the fields of its dataclass."""
    defaults = {name: field.default for name, field in getattr(explorer, '__dataclass_fields__', {}).items()}

    def build(model: Config, train: Config, options: Config, schema: Schema) -> Policy:
        return _neural(_task(model, schema), explorer(**read_options(options, 'options', **defaults)), train)

    return build


def _age(model: Config, train: Config, options: Config, schema: Schema) -> Policy:
    base = _network(model)
    task = age_model.make_task({**options, 'features': base.pop('features', {}), 'base': base}, schema)
    if task.gate is not None and train['clip_norm'] is not None:
        raise ValueError(
            f'train.clip_norm = {train["clip_norm"]}: one norm is over base and gate, so the gate would '
            "change what the base learns; set train.clip_norm to None, or options.gate to 'fixed' or 'none'"
        )
    return _neural(task, Age(task.exploration.explore_lambda), train)


def _random(model: Config, train: Config, options: Config, schema: Schema) -> Policy:
    read_options(options, 'options')
    return MemoryPolicy(Random(), train['batch_size'])


def _beta(model: Config, train: Config, options: Config, schema: Schema) -> Policy:
    own = read_options(options, 'options', item=None, clicks=1.0, skips=1.0)
    key, items = _item(own['item'], model, schema)
    return MemoryPolicy(BetaBernoulli(key, items, own['clicks'], own['skips']), train['batch_size'])


def _linucb(model: Config, train: Config, options: Config, schema: Schema) -> Policy:
    own = read_options(options, 'options', item=None, context=None, scale=1.0, ridge=1.0)
    key, items = _item(own['item'], model, schema)
    names = model.get('features', {}).get('user', ()) if own['context'] is None else own['context']
    if missing := [name for name in names if name not in schema]:
        raise ValueError(f'options.context names {missing[0]!r}; the log has the columns {sorted(schema)}')
    context = {name: schema[name] for name in names}
    return MemoryPolicy(LinUcb(key, items, context, own['scale'], own['ridge']), train['batch_size'])


def _stochastic(model: Config, train: Config, options: Config, schema: Schema) -> Policy:
    own = read_options(options, 'options', base='dnn', base_options={}, temperature=0.0, epsilon=0.1)
    inner = {'policy': own['base'], 'model': model, 'train': train, 'options': own['base_options']}
    return Stochastic(make_policy(inner, schema), float(own['temperature']), float(own['epsilon']))


def _item(name: str | None, model: Config, schema: Schema) -> tuple[str, int]:
    """Batch key and vocabulary size of the column of items, the first of the candidate by default."""
    given = model.get('features', {}).get('candidate', ())
    name = name or next(iter(given), None)
    if name is None or name not in schema or schema[name].kind != 'categorical':
        raise ValueError(
            f'options.item = {name!r}: name a categorical column of the candidate, one of {sorted(schema)}, '
            'that tells items apart'
        )
    return f'candidate/{name}', schema[name].rows


POLICIES: dict[str, Callable[[Config, Config, Config, Schema], Policy]] = {
    'random': _random,
    'dnn': _explored(Greedy),
    'epsilon_greedy': _epsilon,
    'ensemble': _ensemble,
    'gradient': _gradient,
    'gaussian_process': _explored(GaussianProcess),
    'dropout': _explored(Dropout),
    'age': _age,
    'linucb': _linucb,
    'beta': _beta,
    'stochastic': _stochastic,
}
