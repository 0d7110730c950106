"""The contract between a model and everything that trains, evaluates or serves it. B batch, C candidates, D width."""

from collections.abc import Mapping
from typing import Any, Protocol, Self, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh

from jaxrec.embeddings import Table
from jaxrec.parallel.mesh import Rules

Rows = Mapping[str, Mapping[str, jax.Array]]
Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]


class Evaluator(Protocol):
    """Accumulates one part of the data and reports metrics."""

    def add(self, batch: Mapping[str, np.ndarray], predictions: Mapping[str, np.ndarray]) -> None:
        """Takes in one host batch, `host/` keys included, and its predictions."""

    def merge(self, other: Self) -> Self:
        """Returns the evaluator of what both have taken in; either may be given up for it."""

    def compute(self) -> dict[str, float]:
        """Returns {metric: value} over everything taken in."""


class Task(Protocol):
    """A pure function of the embedding rows it needs, with what surrounds it.

    A frozen dataclass holding a Flax module and its config. A model without tables has `tables = {}` and `ids = {}`.

    Attributes:
      tables: {table: Table}.
    """

    @property
    def tables(self) -> Mapping[str, Table]:
        """The embedding tables the task reads."""

    def ids(self, batch: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Names the rows a batch needs: {table: {feature: int32 [B, ...]}}; works on numpy and jax arrays."""

    def given_ids(self, batch: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The ids as they stand in a batch, of which `ids` may choose: {table: {batch key: ids}}.

        Hosts check them before a step, and shapes are enough for the names.
        """

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """Draws (params, model_state) from a key and a batch whose values do not matter."""

    def loss(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        """Returns the scalar loss, weighted by `valid`, and ({metric: scalar}, new model_state)."""

    def predict(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Returns {name: array [B, ...]}; for CTR models 'logits' and 'probability' [B, C]."""

    def evaluator(self) -> Evaluator:
        """Returns a fresh accumulator for one evaluation."""


@runtime_checkable
class Pretrained(Protocol):
    """A task that may begin with more than it draws."""

    def pretrained(self, params: Any, model_state: Any) -> tuple[Any, Any]:
        """Puts what files hold in the place of what `init` drew, where a run begins; not where it goes on."""


@runtime_checkable
class Particular(Protocol):
    """A task that wants more of its batches than features say."""

    def check_data(self, data: Mapping[str, Any]) -> None:
        """Raises a ValueError where a config's section `data`, defaults filled in, makes other batches."""


@runtime_checkable
class Continued(Protocol):
    """A task whose parameters, of the same shapes, mean something else under other options."""

    def check_start(self, model: Mapping[str, Any]) -> None:
        """Raises a ValueError where a run with this config section `model` is none to start from."""


@runtime_checkable
class OnMesh(Protocol):
    """A task that has to know the mesh, since some of its parameters are cut over it.

    Attributes:
      rules: which, and how; they hold for the parameters and for what an optimizer keeps beside them.
    """

    @property
    def rules(self) -> Rules:
        """(regular expression, PartitionSpec) pairs, as for `parallel.shardings`."""

    def on(self, mesh: Mesh) -> Task:
        """The same task, for arrays that lie on a mesh; where parameters are drawn it makes no difference."""


class WithoutTables:
    """What a task says of its tables that has none: everything it reads is a parameter or in the batch."""

    @property
    def tables(self) -> Mapping[str, Table]:
        """None."""
        return {}

    def ids(self, batch: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """None."""
        del batch
        return {}

    def given_ids(self, batch: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """None."""
        del batch
        return {}
