"""A stream of visits and the policies on it, from a config.

    stream = open_stream(config)
    policy = build_policy(config, stream)
    started = warm(config, policy, stream)      # trained on the first visits, AGE's lambda tuned there

The config has the sections `features`, `data` (a pool log: `log`, `arguments`, `cache`), `stream`, and of the policy
`policy`, `model`, `options` and `train`, as `jaxrec.models.age.policies.make_policy` takes them.

B visits of a batch, C candidates, N visits of the stream.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray

from jaxrec.data.pools.log import PoolLog
from jaxrec.data.simulators.feed import Feed
from jaxrec.data.simulators.worlds import truth_folder
from jaxrec.data.sources.batch_source import Batch
from jaxrec.data.sources.pool_source import PoolSource
from jaxrec.evaluation.replay import without_host
from jaxrec.models.age.policies import Policy, make_policy, unwrapped
from jaxrec.models.age.policies.age import Age, tune
from jaxrec.models.age.policies.neural import NeuralPolicy
from jaxrec.options import plain, read_options
from jaxrec.runs.sources import log_of
from jaxrec.training.state import TrainState

POLICY = ('policy', 'model', 'options', 'train')
TOP = (*POLICY, 'features', 'data', 'stream', 'seed')
STREAM_OPTIONS: dict[str, Any] = {
    'batch_size': 2048,  # B
    'share': 1.0,  # of the log's visits, the first ones
    'warm_up': 80_000,  # visits, of whatever is shown; every method learns them first
    'changed': 0.05,  # share of the winners that AGE's lambda is tuned to change
}


class StreamSource(PoolSource):
    """Batches of visits whose history is the long window too, for models that read one, such as SIM."""

    def at(self, rows: NDArray, size: int | None = None) -> Batch:
        """As `PoolSource.at`."""
        return _with_long(super().at(rows, size))

    def impressions(self, rows: NDArray, slots: NDArray | None = None, clicks: NDArray | None = None) -> Batch:
        """As `PoolSource.impressions`."""
        return _with_long(super().impressions(rows, slots, clicks))


def _with_long(batch: Batch) -> Batch:
    side = 'history/'
    return batch | {f'long/{k.removeprefix(side)}': x for k, x in batch.items() if k.startswith(side)}


@dataclasses.dataclass(frozen=True)
class Stream:
    """Visits in time order."""

    source: StreamSource  # their batches
    warm_up: int  # how many of the first ones are there to learn from
    world: Feed | None  # which knows the true click rates and answers other picks; None of a real log

    @property
    def log(self) -> PoolLog:
        """The log."""
        return self.source.log

    @property
    def truth(self) -> Callable[[NDArray], NDArray] | None:
        """Rows [n] -> true click rates [n, C], where they are known."""
        return None if self.world is None else self.world.rates

    def before(self) -> Mapping[str, NDArray]:
        """The last B visits of the warm-up, to tune on and for their shapes."""
        size = self.source.batch_size
        first = max(self.warm_up - size, 0)
        return self.source.at(np.arange(first, min(first + size, self.source.visits)), size)


def open_stream(config: ConfigDict, data_dir: str | None = None) -> Stream:
    """Opens the visits that a config's `features`, `data` and `stream` name; compiles the log if it is not there.

    `data_dir` is where real data sets are; None takes the environment variable JAXREC_DATA.

    Raises:
      ValueError: a missing or unknown key, a log without pools, or a warm-up that leaves no visit.
    """
    for name in ('features', 'data'):
        if name not in config:
            raise ValueError(f'the config has no {name!r}; a stream needs features and data')
    options = read_options(config.get('stream', {}), 'stream', **STREAM_OPTIONS)
    if not 0 < options['share'] <= 1:
        raise ValueError(f'stream.share = {options["share"]}: give a share of the visits in (0, 1]')
    log = log_of(config, data_dir)
    if not isinstance(log, PoolLog):
        raise ValueError(
            f'data.log = {config.data.log!r} is a {log.KIND}, of which no visit has candidates: name the '
            'compiler of a pool log, such as jaxrec.data.simulators.feed:simulate'
        )
    last = round(len(log) * options['share'])
    if not 0 <= options['warm_up'] < last:
        raise ValueError(
            f'stream.warm_up = {options["warm_up"]} of {last} visits: give 0 or more that leave some to serve'
        )
    source = StreamSource(log.folder, features=plain(config.features), batch_size=options['batch_size'], last=last)
    simulated = (truth_folder(log.folder) / 'world.json').is_file()
    return Stream(source, options['warm_up'], Feed(log.folder) if simulated else None)


def build_policy(config: ConfigDict, stream: Stream) -> Policy:
    """Builds a config's policy for a stream, from `policy`, `model`, `options`, `train` and `features`."""
    sections = {name: plain(config[name]) for name in POLICY if name in config}
    model = {**sections.get('model', {}), 'features': plain(config.features)}
    return make_policy({**sections, 'model': model}, stream.log.schema)


def warm(config: ConfigDict, policy: Policy, stream: Stream) -> tuple[TrainState, dict[str, float]]:
    """Teaches a policy the warm-up, whatever was shown there, and then tunes AGE's lambda on its last batch.

    Policies with one network are drawn alike and see the same batches, so of one seed they all start from the same
    model, to the bit; AGE's gate learns beside it. The networks of an ensemble must differ, so it starts from others.
    What else a policy remembers is of these visits too.

    Returns:
      The state, and of AGE {'explore_lambda', 'changed'}: its lambda and the share of winners that it changes; empty of
      other policies, and where the config gives the lambda.

    Raises:
      ValueError: a share `stream.changed` that no lambda changes.
    """
    requests = stream.before()
    state = policy.init(jax.random.key(config.seed), requests)
    if stream.warm_up:
        shown = stream.source.impressions(np.arange(stream.warm_up))
        state = policy.learn(state, without_host(shown))
    inner = unwrapped(policy)
    explorer = inner.task.explorer if isinstance(inner, NeuralPolicy) else None
    if not isinstance(explorer, Age) or explorer.explore_lambda is not None:
        return state, {}
    target = read_options(config.get('stream', {}), 'stream', **STREAM_OPTIONS)['changed']
    # No batch of the stream is scored with a key of this number.
    rng = jax.random.fold_in(jax.random.key(config.seed), 2**31 - 1)
    state, changed = tune(policy, state, requests, rng, target)
    found = float(state.model_state['memory']['explore_lambda'])
    return state, {'explore_lambda': found, 'changed': changed}
