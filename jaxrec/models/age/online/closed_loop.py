"""Serves a simulated feed by one policy, which learns from its own impressions alone.

B visits of a batch.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxrec.evaluation.closed_loop import serve
from jaxrec.evaluation.replay import without_host
from jaxrec.evaluation.tallies import Tally, merge, summarise
from jaxrec.models.age.policies import Policy
from jaxrec.models.age.replay.replayer import TOP
from jaxrec.models.age.replay.streams import Stream, build_policy, open_stream, warm
from jaxrec.training.state import TrainState


class ServedStream(NamedTuple):
    """A stream that was served to its end by a policy."""

    stream: Stream  # its visits, the policy, and its state at the end
    policy: Policy
    state: TrainState
    tuned: dict[str, float]  # AGE's {'explore_lambda', 'changed'} after the warm-up; empty for other policies
    tallies: tuple[Tally, ...]  # the counts of each batch, in the order of time

    @property
    def metrics(self) -> dict[str, float | int | str]:
        """Of all served visits, as `jaxrec.evaluation.tallies.summarise` names them."""
        return summarise(functools.reduce(merge, self.tallies))


def serve_stream(config: ConfigDict, data_dir: str | None = None) -> ServedStream:
    """Trains a policy on the warm-up, then serves each batch and learns from what was shown and clicked.

    `config` is that of a replay, such as `jaxrec.models.age.simulated.get_config`; its section `replay` is not used.
    `data_dir` is where real data sets are; None takes the environment variable JAXREC_DATA.

    Raises:
      ValueError: an unknown section or option, or a log that is no simulated feed.
    """
    if unknown := sorted(set(config) - set(TOP)):
        raise ValueError(f'config.{unknown[0]} is not a section; give the sections {TOP}')
    stream = open_stream(config, data_dir)
    if stream.world is None:
        raise ValueError(
            f'{stream.log.folder} is no simulated feed, and a real log has no clicks on other picks: '
            'set data.log = "jaxrec.data.simulators.feed:simulate"'
        )
    policy = build_policy(config, stream)
    state, tuned = warm(config, policy, stream)
    tallies, size = [], stream.source.batch_size
    for first in range(stream.warm_up, stream.source.visits, size):
        batch = stream.source.at(np.arange(first, min(first + size, stream.source.visits)), size)
        key = jax.random.fold_in(jax.random.key(config.seed), first)
        served = serve(policy, state, batch, key, stream.world.clicks, truth=stream.world.rates)
        shown = stream.source.impressions(served.rows, served.slots, served.clicks)
        state = policy.learn(state, without_host(shown))
        tallies.append(served.tally)
    return ServedStream(stream, policy, state, tuned, tuple(tallies))
