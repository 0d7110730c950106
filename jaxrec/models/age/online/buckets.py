"""The fair buckets of AGE's online experiment (arXiv 2112.11136, section 5.3), served in a simulated feed.

The users are cut into three parts of the traffic. The common part is served by a model that learns from it alone. The
second is served twice, as bucket C without exploring and as bucket D by an explorer. The third is served twice too, as
A by a model that learns from the common part and C, and as B by one that learns from the common part and D. A's model
also serves C, and D's explorer learns what B's model does. A and B, and C and D, are given the same visits with the
same luck, so they differ in the model alone.

B visits of a batch, C candidates, V items, n visits of a part.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray

from jaxrec.data.simulators.feed import Feed
from jaxrec.data.simulators.feed_world import DAY, START
from jaxrec.evaluation.closed_loop import Served, serve
from jaxrec.evaluation.replay import without_host
from jaxrec.evaluation.tallies import Tally, merge
from jaxrec.models.age.policies import Policy
from jaxrec.models.age.replay.streams import Stream, build_policy, warm
from jaxrec.options import lay_over, read_options

ONLINE_OPTIONS: dict[str, Any] = {
    'shares': (0.5, 0.25, 0.25),  # of the users: common, C and D, A and B
    'learn_every': 4_000,  # visits between two updates of the models
    'max_impressions': 300,  # an item below this is new, and may be explored
}
COMMON, EXPLORED, JUDGED = range(3)
SERVED_BY_A_MODEL = {'common': COMMON, 'C': EXPLORED, 'A': JUDGED}


@dataclasses.dataclass
class Bucket:
    """What a bucket has shown."""

    part: int  # of the traffic
    days: list[Tally]  # a tally a day
    new: int = 0  # impressions of items that the common traffic had shown fewer than `max_impressions` times
    fresh: list[Served] = dataclasses.field(default_factory=list)  # served batches since the last learning

    @property
    def tally(self) -> Tally:
        """Of all days."""
        return functools.reduce(merge, self.days)


@dataclasses.dataclass
class Model:
    """A model at work."""

    policy: Policy  # ranks and learns
    state: Any  # where it stands
    serves: tuple[str, ...]  # its buckets
    learns: tuple[str, ...]  # the buckets whose feedback it is given
    counts: NDArray  # int64 [V], impressions given to it; an explorer leaves alone what has enough


class Buckets:
    """One seed: every explorer beside one and the same common traffic, C and A.

    Attributes:
      buckets: {name: Bucket}; those of explorers are called 'B <explorer>' and 'D <explorer>'.
      tuned: {explorer: {'explore_lambda', 'changed'}} of those that have a lambda.
    """

    def __init__(self, config: ConfigDict, stream: Stream):
        """Trains the models on the warm-up of a simulated feed.

        `config` is that of the plain model, as `streams` takes it, with `explorers`, {name: changes to it}, and
        `online`, any of `ONLINE_OPTIONS`. A ValueError names an unknown option, a stream whose world is not known, and
        shares that cut no traffic.
        """
        if stream.world is None:
            raise ValueError(
                f'{stream.log.folder} is no simulated feed, and only a world can answer other picks than the '
                'logger\'s: set data.log = "jaxrec.data.simulators.feed:simulate"'
            )
        self.config, self.stream = config, stream
        self.world: Feed = stream.world
        self.options = read_options(config.get('online', {}), 'online', **ONLINE_OPTIONS)
        shares = tuple(self.options['shares'])
        if len(shares) != 3 or min(shares) <= 0 or sum(shares) > 1 + 1e-9:
            raise ValueError(
                f'online.shares = {shares}: give three, of the common traffic, of C and D, and of A and B, '
                'each above 0 and at most 1 in all'
            )
        days = [Tally()] * int(np.ceil(self.world.world.days))
        self.buckets = {name: Bucket(part, list(days)) for name, part in SERVED_BY_A_MODEL.items()}
        self.tuned: dict[str, dict[str, float]] = {}
        plain, started = self._started({})
        # The models of all but the explorers are one model until the buckets tell them apart.
        alike = lambda: jax.tree.map(lambda x: x.copy(), started)
        self.models = [
            self._model(plain, alike(), ('common',), ('common',)),
            self._model(plain, alike(), ('C', 'A'), ('common', 'C')),
        ]
        for name, row in config.explorers.items():
            found, explored = f'B {name}', f'D {name}'
            self.buckets |= {found: Bucket(JUDGED, list(days)), explored: Bucket(EXPLORED, list(days))}
            diet = ('common', explored)
            self.models.append(self._model(plain, alike(), (found,), diet))
            self.models.append(self._model(*self._started(row, name), (explored,), diet))

    def _started(self, row: Any, explorer: str | None = None) -> tuple[Policy, Any]:
        """A policy and its state after the warm-up."""
        config = self.config.copy_and_resolve_references()
        with config.unlocked():
            lay_over(config, row)
        policy = build_policy(config, self.stream)
        state, tuned = warm(config, policy, self.stream)
        if explorer and tuned:
            self.tuned[explorer] = tuned
        return policy, state

    def _model(self, policy: Policy, state: Any, serves: tuple[str, ...], learns: tuple[str, ...]) -> Model:
        shown = self.stream.log.events['item'][: self.stream.warm_up]
        counts = np.bincount(shown, minlength=self.stream.log.schema['item'].rows)
        return Model(policy, state, serves, learns, counts)

    def run(self) -> Iterator[int]:
        """Serves the visits after the warm-up, to the end; yields the number of visits served before each learning."""
        step, last = self.options['learn_every'], self.stream.source.visits
        for first in range(self.stream.warm_up, last, step):
            rows = np.arange(first, min(first + step, last))
            part = self.world.buckets(rows, self.options['shares'], self.config.seed)
            new = self.models[0].counts < self.options['max_impressions']
            for model in self.models:
                for name in model.serves:
                    self._serve(name, model, rows[part == self.buckets[name].part], new)
            for model in self.models:
                self._learn(model)
            for bucket in self.buckets.values():
                bucket.fresh.clear()
            yield len(rows)

    def _serve(self, name: str, model: Model, rows: NDArray, new: NDArray) -> None:
        """Serves a part of the traffic by a model as it stands."""
        bucket, size = self.buckets[name], self.stream.source.batch_size
        enough = model.counts >= self.options['max_impressions']
        for first in range(0, len(rows), size):
            batch = self.stream.source.at(rows[first : first + size], size)
            if name.startswith('D '):
                batch['explorable'] = (~enough[batch['candidate/item']]).astype(np.float32)
            key = jax.random.fold_in(jax.random.key(self.config.seed), int(rows[first]))
            served = serve(model.policy, model.state, batch, key, self.world.clicks, truth=self.world.rates)
            day = int((batch['host/time'][0] - START) // DAY)
            bucket.days[day] = merge(bucket.days[day], served.tally)
            bucket.new += int(new[self._items(served)].sum())
            bucket.fresh.append(served)

    def _learn(self, model: Model) -> None:
        """Gives a model what its buckets have shown, in the order of time."""
        fresh = [served for name in model.learns for served in self.buckets[name].fresh]
        if not fresh:
            return
        rows, slots, clicks = (np.concatenate(column) for column in list(zip(*fresh, strict=True))[:3])
        order = np.argsort(rows)
        events = self.stream.source.impressions(rows[order], slots[order], clicks[order])
        model.state = model.policy.learn(model.state, without_host(events))
        for served in fresh:
            np.add.at(model.counts, self._items(served), 1)

    def _items(self, served: Served) -> NDArray:
        """Ids of what was shown, [n]."""
        log = self.stream.log
        return log.padded_pools[log.events['pool'][served.rows], served.slots]
