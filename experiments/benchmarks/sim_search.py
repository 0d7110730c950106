"""Which search for the behaviours of the highest inner products is the fastest, in the shapes of a service.

C candidates, L history, K kept, D width of a behaviour.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.ops.histories.search import inner_scores, top_search
from jaxrec.ops.histories.top_k import inner_search
from jaxrec.parallel.peak_memory import peak_mb
from jaxrec.runs.timing import Timed, measure, record

CANDIDATES, LENGTH, KEEP, WIDTH = 400, 54_000, 50, 32
ITEMS = 8000  # that the behaviours are of: who returns to an item gives it equal scores
RECALL = 0.95  # what the approximate search is asked for

Search = Callable[[jax.Array, list[jax.Array], jax.Array], jax.Array]
SEARCHES: dict[str, Search] = {
    'inner_search': lambda query, parts, length: inner_search(query, parts, length, KEEP).index,
    'approx_max_k': lambda query, parts, length: jax.lax.approx_max_k(
        inner_scores(query, parts), KEEP, recall_target=RECALL
    )[1],
    'top_k': lambda query, parts, length: jax.lax.top_k(inner_scores(query, parts), KEEP)[1],
    'top_search': lambda query, parts, length: top_search(inner_scores(query, parts), length, KEEP).index,
}


def run(name: str) -> Iterator[dict[str, Any]]:
    """Time each search of one request; `recall` is the share of what it kept that is among the K best."""
    draw, idle = np.random.default_rng(0), peak_mb()
    items = draw.normal(size=(ITEMS, WIDTH)).astype(np.float32)
    behaviours = items[draw.integers(0, ITEMS, LENGTH)]
    parts = [jnp.asarray(part[None]) for part in np.split(behaviours, 2, -1)]
    query = draw.normal(size=(CANDIDATES, WIDTH)).astype(np.float32)
    length = jnp.asarray([LENGTH])
    scores = query @ behaviours.T
    least = np.partition(scores, LENGTH - KEEP, -1)[:, LENGTH - KEEP, None]
    for search, function in SEARCHES.items():
        timed, index = _time(jax.jit(function), query[None], parts, length)
        kept = np.take_along_axis(scores, index[0], -1)
        recall = float((kept >= least - 1e-4).mean())
        shapes = f'C{CANDIDATES} L{LENGTH} K{KEEP} D{WIDTH}'
        yield record(name, shapes, 0, timed, 1, idle, search=search, recall=round(recall, 4))


def _time(search: Search, *arguments: Any) -> tuple[Timed, np.ndarray]:
    """Times a search, and returns what it kept too."""
    latest: dict[str, jax.Array] = {}
    timed = measure(lambda: latest.update(index=search(*arguments)), lambda: jax.block_until_ready(latest), warm=1)
    return timed, np.asarray(latest['index'])
