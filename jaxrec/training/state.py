"""All that a training run carries from one step to the next.

V rows, D width.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxrec import embeddings as emb
from jaxrec.embeddings.optimizers import Slots
from jaxrec.parallel import host_mesh, shardings
from jaxrec.parallel.host_memory import use_huge_pages
from jaxrec.parallel.mesh import REPLICATED, Rules
from jaxrec.training.task import Batch, OnMesh, Pretrained, Task


@flax.struct.dataclass
class TrainState:
    """The state of a run.

    Attributes:
      step: int32 [], optimizer steps taken.
      params: the dense parameters.
      model_state: what is neither trained nor constant, such as batch statistics.
      tables: {table: float32 [V padded, D]}.
      opt_state: optax state of `params`.
      row_opt_state: {table: {slot: array}}.
      rng: typed key; step t uses `fold_in(rng, t)`.
      scratch: {table: int32 [V padded]}, work space whose content never matters; not saved.
    """

    step: jax.Array
    params: Any
    model_state: Any
    tables: dict[str, jax.Array]
    opt_state: Any
    row_opt_state: dict[str, Slots]
    rng: jax.Array
    scratch: dict[str, jax.Array]


class Setup(NamedTuple):
    """What a state is made for; the same for its birth, its restoring and its steps.

    Attributes:
      task: the task.
      optimizer: of the dense parameters.
      row_optimizer: of the tables that name none.
      mesh: where everything lives, (1, 1) for one device.
      rules: placement of everything but tables, before what the task itself asks for; the rest is repeated.
      clip_norm: the largest global norm over dense gradients and summed rows; None does not clip.
      exchange: how rows move between devices, as in `embeddings.lookup`.
      strategies: {table: strategy} to override how duplicates are summed.
      skip_not_finite: leave out the update of a step whose loss or gradient norm is not finite.
      tables_on: where tables live, 'device' or 'host', see `training.host_tables`.
    """

    task: Task
    optimizer: optax.GradientTransformation
    row_optimizer: emb.RowOptimizer
    mesh: Mesh
    rules: Rules = ()
    clip_norm: float | None = None
    exchange: str | None = None
    strategies: Mapping[str, str] = {}  # never written to
    skip_not_finite: bool = False
    tables_on: str = 'device'

    @property
    def placed_task(self) -> Task:
        """The task as steps on the mesh call it."""
        return self.task.on(self.mesh) if isinstance(self.task, OnMesh) else self.task

    @property
    def table_mesh(self) -> Mesh:
        """Where tables live, and all that is as long as they are."""
        return self.mesh if self.tables_on == 'device' else host_mesh()

    @property
    def placing(self) -> Rules:
        """All rules of the placement, of which the first that matches counts."""
        own = self.task.rules if isinstance(self.task, OnMesh) else ()
        return (*self.rules, *own, *REPLICATED)

    def require_tables_on_device(self, what: str) -> None:
        """Raises a ValueError about `what` looks rows up in its own program where tables are on the host."""
        if self.tables_on != 'device':
            raise ValueError(
                f"{what} looks rows up on the device, and train.tables_on is {self.tables_on!r}: set it to 'device'"
            )

    def duplicate_strategies(self, ids: Mapping[str, Any]) -> dict[str, str]:
        """How each table sums duplicates of {table: {feature: ids or shapes}}: 'dense', 'scratch' or 'sort'."""
        return emb.choose_strategies(self.task.tables, ids, self.table_mesh, self.exchange) | dict(self.strategies)


def pick(moves: jax.Array, new: Any, old: Any) -> Any:
    """The new tree where bool [] `moves` (see `embeddings.update.UpdateInfo`), else the old one, bit for bit."""
    return jax.tree.map(lambda new, old: jnp.where(moves, new, old), new, old)


def _dense(setup: Setup, seed: jax.Array, batch: Batch) -> dict[str, Any]:
    keys = jax.random.split(jax.random.key(seed), 3)
    params, model_state = setup.task.init(keys[0], batch)
    opt_state = setup.optimizer.init(params)
    return {'step': jnp.int32(0), 'params': params, 'model_state': model_state, 'opt_state': opt_state, 'rng': keys[2]}


def init_state(setup: Setup, batch: Batch, seed: int) -> TrainState:
    """Draws the state at step 0, every array made where it will be but those that a task reads from files."""
    task, mesh = setup.task, setup.mesh
    dense = lambda seed, batch: _dense(setup, seed, batch)
    place = shardings(jax.eval_shape(dense, seed, batch), mesh, setup.placing)
    drawn = jax.jit(dense, out_shardings=place)(seed, batch)
    if isinstance(task, Pretrained):
        own = ('params', 'model_state')
        given = task.pretrained(*(drawn[key] for key in own))
        drawn |= dict(zip(own, jax.device_put(given, tuple(place[key] for key in own)), strict=True))
    tables = emb.init_tables(task.tables, table_key(seed), setup.table_mesh)
    slots = emb.init_slots(task.tables, setup.row_optimizer, setup.table_mesh)
    use_huge_pages((tables, slots))
    return TrainState(**drawn, tables=tables, row_opt_state=slots, scratch=new_scratch(setup, batch))


def table_key(seed: int) -> jax.Array:
    """The key that a run of this seed draws its tables with."""
    return jax.random.split(jax.random.key(seed), 3)[1]


def abstract_state(setup: Setup, batch: Batch) -> TrainState:
    """Describes a state without scratch by `jax.ShapeDtypeStruct` with shardings, to restore straight into place."""
    mesh = setup.mesh
    fields = jax.eval_shape(lambda batch: _dense(setup, jnp.int32(0), batch), batch)
    place = shardings(fields, mesh, setup.placing)
    struct = lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
    tables, slots = abstract_rows(setup)
    return TrainState(**jax.tree.map(struct, fields, place), tables=tables, row_opt_state=slots, scratch={})


def abstract_rows(setup: Setup) -> tuple[dict[str, Any], dict[str, Any]]:
    """Describes the tables of a setup and the slots of their optimizers, and where they are.

    Returns:
      {table: shape [V padded, D]} and {table: {slot: shape [V padded] or [V padded, D]}}.
    """
    mesh, task = setup.table_mesh, setup.task
    devices, _ = emb.cut_rows(mesh)
    struct = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=emb.place_rows(mesh, x.shape))
    tables, slots = {}, {}
    for name, spec in task.tables.items():
        rows = emb.padded_rows(spec.rows, devices)
        tables[name] = struct(jax.ShapeDtypeStruct((rows, spec.dim), jnp.float32))
        optimizer = spec.optimizer or setup.row_optimizer
        made = jax.eval_shape(lambda o=optimizer, rows=rows, s=spec: o.init(rows, s.dim))
        slots[name] = jax.tree.map(struct, made)
    return tables, slots


def new_scratch(setup: Setup, batch: Batch) -> dict[str, jax.Array]:
    """Makes the work space of a state: {table: int32 [V padded]}."""
    task = setup.task
    strategies = setup.duplicate_strategies(task.ids(batch))
    scratch = emb.init_scratch(task.tables, strategies, setup.table_mesh)
    use_huge_pages(scratch)
    return scratch
