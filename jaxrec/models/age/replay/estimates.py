"""What a policy would earn as the warm-up leaves it, from the rest of a log with propensities.

Replay needs a uniform logger, or drops most of a log; these estimates weigh what was shown by its propensity.

B visits of a batch, C candidates.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray

from jaxrec.evaluation.off_policy import Estimate, evaluate_off_policy
from jaxrec.evaluation.replay import scored, without_host
from jaxrec.evaluation.tallies import pick
from jaxrec.models.age.policies import Policy, Stochastic
from jaxrec.models.age.replay.streams import Stream, build_policy, warm
from jaxrec.options import plain


def estimate(config: ConfigDict, policy: Policy, stream: Stream, replicates: int = 1000) -> dict[str, Estimate]:
    """Estimates a policy's click rate on the visits after the warm-up, from which it does not learn.

    The model of the direct method is the config's, trained on the warm-up, which is not evaluated. `policy` is that of
    `build_policy`, and the bootstrap has so many `replicates`.

    Returns:
      {'ips', 'snips', 'dm', 'dr': estimate}.

    Raises:
      ValueError: a warm-up of no visit, from which no model comes, or a log without propensities.
    """
    if not stream.warm_up:
        raise ValueError('stream.warm_up = 0 leaves nothing to train the direct method on: give some visits')
    learned, _ = warm(config, policy, stream)
    plainly = ConfigDict({**plain(config), 'policy': 'dnn', 'options': {}})
    model = build_policy(plainly, stream)
    known, _ = warm(plainly, model, stream)
    keys = lambda batch: jax.random.fold_in(jax.random.key(config.seed), int(batch['host/event'][0]))

    def target(batch: Mapping[str, Any]) -> NDArray:
        if isinstance(policy, Stochastic):
            return np.asarray(policy.propensities(learned, without_host(batch), keys(batch)))
        scores, _ = scored(policy, learned, batch, keys(batch))
        pool = np.asarray(batch['pool'])
        return np.eye(pool.shape[1])[pick(scores, pool)] * pool

    def modelled(batch: Mapping[str, Any]) -> NDArray:
        probabilities = scored(model, known, batch, keys(batch))[1]
        assert probabilities is not None  # a CTR model predicts
        return probabilities

    source, size, last = stream.source, stream.source.batch_size, stream.source.first + stream.source.visits
    visits = (source.at(np.arange(n, min(n + size, last)), size) for n in range(stream.warm_up, last, size))
    return evaluate_off_policy(target, visits, modelled, replicates=replicates, seed=config.seed)
