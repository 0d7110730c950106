"""From a config to what is compiled: task, optimizers, and the shapes of a batch and of the state on a mesh.

No array of the state is made. The log is opened, since it decides the shapes of a batch; files that take long to make
are replaced by stand-ins of the same shapes.

B batch, V items, L levels.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxrec.configurable import resolve
from jaxrec.data.logs.schema import Column
from jaxrec.data.logs.vocabulary import FIRST
from jaxrec.models.onerec.tokenizing.semantic_ids import SemanticIds
from jaxrec.models.onerec.tokenizing.tokens import TOKEN_OPTIONS
from jaxrec.options import plain
from jaxrec.parallel.mesh import BATCH
from jaxrec.runs.build import build
from jaxrec.runs.sources import log_of
from jaxrec.training.state import Setup, TrainState, abstract_state
from jaxrec.training.step import make_predict_step, make_train_step

STEPS: dict[str, Callable[[Setup], Any]] = {'train': make_train_step, 'predict': make_predict_step}


@dataclasses.dataclass(frozen=True)
class World:
    """What a plan is of.

    Attributes:
      setup: task and optimizers; its mesh is replaced by each plan's.
      batch: {key: shape of the config's batch}, what stays on hosts left out.
      step: setup -> (state, batch) -> results.
      name: of the step, as --step gives it.
    """

    setup: Setup
    batch: dict[str, jax.ShapeDtypeStruct]
    step: Callable[[Setup], Any]
    name: str

    @property
    def trains(self) -> bool:
        """Whether the step is that of training; others read parameters, model state and tables alone."""
        return self.name == 'train'

    @property
    def batch_size(self) -> int:
        """B of the config."""
        return next(iter(self.batch.values())).shape[0]

    def exchanging(self, exchange: str) -> 'World':
        """The same with another way of moving rows between devices, one of `embeddings.lookup.EXCHANGES`."""
        return dataclasses.replace(self, setup=self.setup._replace(exchange=exchange))


def open_world(
    config: ConfigDict, *, data_dir: str | None = None, rows: Mapping[str, int] | None = None, step: str = 'train'
) -> World:
    """Reads a config.

    Args:
      config: of a run.
      data_dir: where real data sets are.
      rows: {vocabulary: rows of its tables}, in place of what the log has.
      step: 'train', 'predict', or 'package.module:name' of a function setup -> (state, batch) -> results, which gets no
        state of optimizers.

    Raises:
      ValueError: what `build` refuses, or a step that does not exist.
    """
    if step not in STEPS and ':' not in step:
        raise ValueError(f'--step={step}: give one of {sorted(STEPS)} or package.module:name of a function')
    rows = dict(rows or {})
    config = ConfigDict(config.to_dict())
    with tempfile.TemporaryDirectory() as folder:
        _stand_in(config, Path(folder), data_dir, rows)
        run = build(config, data_dir, (1, 1), rows)
        source = run.source('train', shuffle=True) if step == 'train' else run.source('test')
        batch = source[0]
    sent = {k: v for k, v in batch.items() if not k.startswith('host/')}
    shapes = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in sent.items()}
    return World(run.setup, shapes, STEPS.get(step) or resolve(step, 'step'), step)


def _stand_in(config: ConfigDict, folder: Path, data_dir: str | None, rows: Mapping[str, int]) -> None:
    """Gives the config stand-ins for files that it would make."""
    for name, described in (config.get('files', None) or {}).items():
        if described.make not in STAND_INS or config.get('model', {}).get(name):
            continue
        path = folder / f'{name}.npz'
        schema = log_of(config, data_dir).task_schema()
        STAND_INS[described.make](path, plain(described.get('arguments', {})), schema, rows)
        config.model[name] = str(path)


def _semantic_ids(
    path: Path, arguments: Mapping[str, Any], schema: Mapping[str, Column], rows: Mapping[str, int]
) -> None:
    """IDs that count up, as many and as long as k-means would make."""
    options = {**TOKEN_OPTIONS, **arguments}
    column = schema['item']
    items = rows.get(column.vocabulary or '', column.rows) - FIRST
    clusters, levels = options['clusters'], options['levels']
    codes = np.arange(items)[:, None] // clusters ** np.arange(levels)[::-1] % clusters
    ranks = (np.arange(items) // clusters**levels).astype(np.int32)
    room = max(options['room'] or 2, int(ranks.max(initial=0)) + 1)
    SemanticIds(codes.astype(np.int32), ranks, clusters, room).save(path)


STAND_INS: dict[str, Callable[[Path, Mapping[str, Any], Mapping[str, Column], Mapping[str, int]], None]] = {
    'jaxrec.models.onerec.tokenizing.tokens:make_ids': _semantic_ids
}


def abstract_batch(world: World, size: int, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """{key: shape [B, ...]} of a batch of another size, cut over a mesh whose devices divide it."""
    sharding = jax.NamedSharding(mesh, BATCH)
    return {
        key: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype, sharding=sharding) for key, x in world.batch.items()
    }


def step_state(world: World, setup: Setup, batch: Mapping[str, Any]) -> TrainState:
    """Describes the state that a step on a mesh takes; other steps than training get no state of optimizers."""
    state = abstract_state(setup, batch)
    if not world.trains:
        return dataclasses.replace(state, opt_state=(), row_opt_state={}, scratch={})
    strategies = setup.duplicate_strategies(jax.eval_shape(setup.task.ids, dict(batch)))
    scratch: dict[str, Any] = {
        name: jax.ShapeDtypeStruct(table.shape[:1], jnp.int32, sharding=table.sharding)
        for name, table in state.tables.items()
        if strategies.get(name) == 'scratch'
    }
    return dataclasses.replace(state, scratch=scratch)


def device_bytes(tree: Any) -> int:
    """Bytes that a tree of shapes takes on one device, without padding."""
    return sum(_shard_bytes(leaf) for leaf in jax.tree.leaves(tree))


def _shard_bytes(leaf: jax.ShapeDtypeStruct) -> int:
    shape = leaf.sharding.shard_shape(leaf.shape) if leaf.sharding is not None else leaf.shape
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return 8 * int(np.prod(shape, dtype=np.int64))
    return int(np.prod(shape, dtype=np.int64)) * leaf.dtype.itemsize
