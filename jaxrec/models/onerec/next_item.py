"""The generative network as a model of the next item: generated items are ranked, as in the benchmarks.

The loss is that of sessions of one item. An item that no beam names is not reached; with as many beams as the largest
cut of a metric, little is lost against scoring all items.

B batch, K beams, V items, L levels.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.configurable import configurable
from jaxrec.data.sources.next_item_source import require_one_target
from jaxrec.evaluation.ranking import CUTS
from jaxrec.models.onerec import task as sessions
from jaxrec.models.onerec.generate import catalogue, make_generate
from jaxrec.models.onerec.options import Network
from jaxrec.models.onerec.task import SessionTask
from jaxrec.models.onerec.token_evaluator import NextItemEvaluator
from jaxrec.ops.generation.trie import Trie
from jaxrec.training.task import Batch, Rows

BEAMS = 20
TRIE = 'trie'  # of a state


@dataclasses.dataclass(frozen=True, eq=False)
class RankedTask(SessionTask):
    """Next-item prediction by beams; implements `training.task.Task` without tables.

    Sessions have one item. A state begins with the arrays of the trie, and beams are searched among those of the state,
    so that no compiled search holds them; the trie's sizes are the task's.
    """

    trie: Trie  # the catalogue of the codes, on the host
    beams: int = BEAMS  # K

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """As `SessionTask.init`; the state holds the trie's arrays too."""
        params, state = super().init(rng, batch)
        return params, {**state, TRIE: jax.tree.map(jnp.asarray, trie_arrays(self.trie))}

    def predict(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Scores the target, and ranks the items that beams name; items of the history stay in.

        Items and codes are those of the state, whatever file of IDs the task was made with.

        Returns:
          'token_log_prob' float32 [B, 1, L]; 'items' int32 [B, K], the best first, -1 where a beam is dead; 'scores'
          float32 [B, K]; and 'rank' float32 [B], the target's place from 1, inf where no beam names it. All ranks are
          NaN, which evaluators refuse, if the state's codes have a wider node than the search looks at.
        """
        found = super().predict(params, model_state, rows, batch, rng)
        write = make_generate(self, beams=self.beams, items=1)
        trie = dataclasses.replace(self.trie, **model_state[TRIE])
        written = write(params, model_state, batch, trie)
        items = written.items[..., 0]  # [B, K]
        hit = (items == batch['target/item']) & jnp.isfinite(written.scores)
        rank = jnp.where(hit.any(1), hit.argmax(1) + 1.0, jnp.inf)
        widths = zip(trie.starts, trie.widest, strict=True)
        seen = jnp.stack([jnp.diff(starts).max() <= widest for starts, widest in widths]).all()
        return found | {'items': items, 'scores': written.scores, 'rank': jnp.where(seen, rank, jnp.nan)}

    def check_data(self, data: Mapping[str, Any]) -> None:
        """Refuses a data section whose batches hold several next items of a history."""
        require_one_target(data)

    def evaluator(self) -> NextItemEvaluator:
        """Returns a new evaluator."""
        return NextItemEvaluator(int((self.codes >= 0).all(1).sum()))


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> RankedTask:
    """Builds the task.

    Args:
      config: as for `jaxrec.models.onerec.task.make_task`, and `beams` (default 20); every item needs an ID of its own,
        so `ranks` stays True.
      schema: the log's {column: Column}.

    Raises:
      ValueError: as that function, fewer than 10 beams, sessions of several items, or shared IDs.
    """
    rest = {key: config[key] for key in config if key != 'beams'}
    beams = config.get('beams', BEAMS)
    if isinstance(beams, bool) or not isinstance(beams, int) or beams < max(CUTS):
        raise ValueError(f'model.beams = {beams!r}: give at least {max(CUTS)}, since recall@{max(CUTS)} is told')
    made = sessions.make_task({'session': 1, **rest}, schema)
    if made.network.session != 1:
        raise ValueError(f'model.session = {made.network.session}: the next item is a session of 1')
    if not rest.get('ranks', True):  # ranks make IDs differ
        real = made.codes[(made.codes >= 0).all(1)]
        if shared := len(real) - len(np.unique(real, axis=0)):
            raise ValueError(
                f'model.ids: {shared} items share the ID of another, so that beams do not rank them: leave '
                'model.ranks at True'
            )
    return ranked(made.network, made.codes, beams)


def ranked(network: Network, codes: np.ndarray, beams: int = BEAMS) -> RankedTask:
    """Builds the task from codes int32 [V, L], all different but for -1."""
    trie = jax.tree.map(np.asarray, catalogue(codes, network.levels))
    return RankedTask(network, codes, trie, beams)


def trie_arrays(trie: Trie) -> dict[str, Any]:
    """The arrays of a trie, without its static sizes."""
    return {name: getattr(trie, name) for name in ('starts', 'codes', 'first', 'items')}
