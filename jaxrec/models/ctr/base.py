"""Bases: what stands before a model's head, to which a paper adds vectors of its own.

B batch, C candidates, X width.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn

from jaxrec.embeddings import Table
from jaxrec.models.ctr.task import Ids

SHARED = ('features', 'dim', 'init_std')  # a model and its base are told these once, in the model's options


class Base(NamedTuple):
    """A base built for a log.

    Attributes:
      module: called as (rows, batch, train) -> (x float [B, C, X], losses {name: float []}).
      tables: the tables whose rows it reads.
      ids: batch -> {table: {feature: ids}}.
    """

    module: nn.Module
    tables: Sequence[Table]
    ids: Callable[[Mapping[str, Any]], Ids]
