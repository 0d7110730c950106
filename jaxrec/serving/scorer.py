"""Scores of requests by a restored model and a behaviour index. B requests, C candidates, G runs of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxrec import embeddings as emb
from jaxrec.data.features.lifelong import PLACE
from jaxrec.serving.assembly import Request, RequestAssembler, Sizes
from jaxrec.training.state import Setup, TrainState


class RequestScorer:
    """Scores batches of requests.

    Attributes:
      traces: how often the prediction was traced, once for each combination of sizes.
    """

    def __init__(self, setup: Setup, state: TrainState, assembler: RequestAssembler):
        """Prepares the prediction of a setup's task on one device, with the weights of a state.

        Raises:
          ValueError: more than one device.
        """
        if setup.mesh.size > 1:
            raise ValueError(
                f'a service runs on one device and this mesh has {setup.mesh.size}: restore the checkpoint '
                'on mesh (1, 1), any checkpoint allows it'
            )
        self.assembler, self.traces = assembler, 0
        self._weights = state.params, state.model_state, state.tables
        task = setup.task

        def predict(params: Any, model_state: Any, tables: Any, batch: Mapping[str, Any]) -> jax.Array:
            self.traces += 1
            rows = emb.lookup(task.tables, tables, task.ids(batch))
            return task.predict(params, model_state, rows, batch)['probability']

        self._predict = jax.jit(predict)

    def __call__(self, requests: Sequence[Request]) -> list[np.ndarray]:
        """Scores as many requests as the assembler accepts in a batch: float32 [c] each."""
        scores = np.asarray(self._predict(*self._weights, self.assembler.build(requests)))
        return [scores[n, : len(request.items)] for n, request in enumerate(requests)]

    def warm(self) -> int:
        """Compiles the prediction for every combination of sizes, and returns how many there are."""
        sizes = self.assembler.sizes
        for b in sizes.requests:
            for c in sizes.candidates:
                request = Request(0, np.zeros(c, np.int32))
                batch = self.assembler.build([request] * b)
                for resized in self._groups(batch, sizes, c):
                    jax.block_until_ready(self._predict(*self._weights, resized))
        return self.traces

    def _groups(self, batch: dict[str, np.ndarray], sizes: Sizes, c: int) -> list[dict[str, np.ndarray]]:
        """The batch with every number of runs that one of C candidates may have."""
        if PLACE not in batch:
            return [batch]
        counts = [*(size for size in sizes.groups if size < c), c]
        with_rows = lambda array, g: np.zeros((len(array), g, *array.shape[2:]), array.dtype)
        grouped = lambda key: key.startswith('kept/') and key != PLACE
        return [{key: with_rows(x, g) if grouped(key) else x for key, x in batch.items()} for g in counts]
