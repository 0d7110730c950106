"""Bases: the input of a model's head, chosen by a config, to which a paper adds vectors of its own.

B batch, C candidates, X width.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn

from jaxrec.configurable import resolve
from jaxrec.embeddings import Table
from jaxrec.models.ctr.task import Ids

# By name, so that no model imports another before a config asks for it.
BASES = {
    'dnn': 'jaxrec.models.baselines.dnn:make_inputs',
    'din': 'jaxrec.models.baselines.din:make_inputs',
    'dien': 'jaxrec.models.baselines.dien:make_inputs',
    'cartesian': 'jaxrec.models.baselines.cartesian:make_inputs',
}
# The options that a model and its base share, given once, in the model's options.
SHARED = ('features', 'dim', 'history_pooling', 'init_std')


class Base(NamedTuple):
    """A base built for a log.

    Attributes:
      module: called as (rows, batch, train) -> (x float [B, C, X], losses {name: float []}).
      tables, ids: the tables whose rows it reads, and batch -> {table: {feature: ids}}.
    """

    module: nn.Module
    tables: Sequence[Table]
    ids: Callable[[Mapping[str, Any]], Ids]


def make_base(name: str, options: Mapping[str, Any], own: Mapping[str, Any], schema: Mapping[str, Any]) -> Base:
    """Builds the base that a config names.

    Args:
      name: one of `BASES`, or the import path of a function (config, schema) -> `Base`.
      options, own: the model's, of which those of `SHARED` are the base's too, and its further ones, `base_options`.
      schema: the log's {column: Column}.

    Raises:
      ValueError: there is no such base, an option given twice, or what the base itself refuses.
    """
    if name not in BASES and ':' not in name:
        raise ValueError(
            f'model.base = {name!r} does not exist; choose one of {sorted(BASES)}, or name a function as '
            "'package.module:name'"
        )
    if twice := sorted(set(own) & set(SHARED)):
        raise ValueError(f'model.base_options.{twice[0]}: the base takes it from model.{twice[0]}; set that')
    shared = {key: options[key] for key in SHARED}
    return resolve(BASES.get(name, name), 'task')({**shared, **own}, schema)
