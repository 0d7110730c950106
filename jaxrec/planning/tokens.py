"""What a token model must compute: 6 x active parameters x the tokens that pass through them, in FLOPs of training.

Encoder and decoder count their own tokens, experts those that are sent to them. Lookups and attention between tokens do
not count.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from jaxrec.models.onerec.options import Network
from jaxrec.training.task import Task


class Work(NamedTuple):
    """The work of one example.

    Attributes:
      parameters, active: all of the model, and those that a token can meet.
      tokens: read by encoder and decoder.
      products: sum over weights of active parameters x tokens; training takes 6 FLOPs a product.
    """

    parameters: int
    active: int
    tokens: int
    products: int

    @property
    def flops(self) -> int:
        """Of training with an example."""
        return 6 * self.products


def work_of(task: Task, params: Any, batch: Mapping[str, Any]) -> Work | None:
    """The work of training a token model, from shapes of its parameters and a batch; None where it reads no tokens."""
    network = getattr(task, 'network', None)
    if not isinstance(network, Network) or 'target/item' not in batch:
        return None
    size = lambda tree: sum(math.prod(x.shape) for x in jax.tree.leaves(tree))
    read = batch['history/item'].shape[1] * network.tokens
    items = math.prod(batch['target/item'].shape[1:])
    written = items * network.tokens
    decoder = dict(params['decoder'])
    share = network.active / network.experts if network.experts else 1
    feed = round(size(decoder.pop('feed')) * share)
    of_memory = size([decoder['cross']['key'], decoder['cross']['value']])  # the encoder's tokens pass it
    predicting = size(params['codes'] if network.tied else params['predict'])
    rest = size(decoder) - of_memory
    products = (size(params['encoder']) + of_memory) * read + (rest + feed) * written + predicting * items
    active = size(params) - size(params['decoder']['feed']) + feed
    return Work(size(params), active, read + written, products)
