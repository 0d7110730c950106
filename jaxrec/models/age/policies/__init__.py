"""Policies: what is shown, and what is learnt from it.

A model says how likely a click is. A policy ranks a pool of candidates and learns from what it shows. Replay and
simulators know the protocol `Policy` alone.

    policy = make_policy({'policy': 'age', 'model': {'features': FEATURES}, ...}, schema)
    state = policy.init(jax.random.key(0), requests)     # shapes of one batch of requests
    scores = policy.score(state, requests, key)          # [B, C], -inf outside the pool; rank by it
    state = policy.learn(state, matched_events)          # the old state is given up

States are `TrainState`s, so checkpoints save and restore them mid-stream.
"""

from jaxrec.models.age.policies.make import POLICIES as POLICIES
from jaxrec.models.age.policies.make import make_policy as make_policy
from jaxrec.models.age.policies.policy import Policy as Policy
from jaxrec.models.age.policies.policy import Ranked as Ranked
from jaxrec.models.age.policies.policy import restore_policy as restore_policy
from jaxrec.models.age.policies.stochastic import Stochastic as Stochastic
from jaxrec.models.age.policies.stochastic import unwrapped as unwrapped
