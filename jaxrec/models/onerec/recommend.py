"""Sessions of items for histories, from a trained model of sessions or of single items.

A model of sessions generates each by beams, and the best beams are its sessions. A model of single items ranks them,
and its sessions are the pages of that list: the first m items, the next m, and so on. Every model then gives the same
number of sessions of m different items.

Items that share an ID, without ranks, follow each other in a ranking; sessions that name their ID take turns with them.

B batch, S sessions a user, m items, K beams.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxrec.models.onerec.generate import catalogue, shared_generate
from jaxrec.models.onerec.task import CODES, SessionTask, with_special
from jaxrec.models.onerec.tokenizing.semantic_ids import SemanticIds
from jaxrec.models.onerec.tokenizing.tokens import IDS
from jaxrec.models.sequential.task import NextItemTask
from jaxrec.ops.generation.trie import Trie
from jaxrec.parallel import put_batch
from jaxrec.runs.build import Experiment
from jaxrec.training.state import TrainState
from jaxrec.training.step import make_predict_step


class Recommended(NamedTuple):
    """Sessions, best first.

    Scores are log-probabilities of sessions, or sums over items of log-probabilities or logits.
    """

    items: np.ndarray  # int32 [B, S, m], rows of the catalogue; -1 where there is no session
    scores: np.ndarray  # float32 [B, S]; -inf where there is no session
    written: np.ndarray  # int64 [B], items of all live beams
    illegal: np.ndarray  # int64 [B], those among them that are no items of the catalogue


Recommender = Callable[[Mapping[str, np.ndarray]], Recommended]


def make_recommender(
    run: Experiment, state: TrainState, *, sessions: int = 1, items: int = 5, beams: int = 32, trie: Trie | None = None,
    distinct: bool = True, free: bool = False,
) -> Recommender:  # fmt: skip
    """Builds what recommends sessions for histories.

    Args:
      run: of a `SessionTask` or a `NextItemTask`.
      state: from its checkpoint.
      sessions: S.
      items: m; of a model of sessions at most what it generates.
      beams: K, of models that generate semantic IDs; at least S, and of single items at least S m.
      trie: of the catalogue; None for the items that the model was trained with.
      distinct: no item occurs twice in a session.
      free: let beams generate any codes; what is no item is counted and skipped.

    Returns:
      A function of host batches with 'history/*' of one shape.

    Raises:
      ValueError: another task, too few beams or items, or a trie for a model that generates no IDs.
    """
    task = run.setup.task
    for name, value in (('sessions', sessions), ('items', items), ('beams', beams)):
        if value < 1:
            raise ValueError(f'{name} = {value}: give at least 1')
    if isinstance(task, SessionTask):
        return _generating(run, task, state, (sessions, items, beams), trie, distinct, free)
    if not isinstance(task, NextItemTask):
        raise ValueError(
            f'config.task makes a {type(task).__name__}, which names no items: give the workdir of a model '
            'of configs/onerec'
        )
    if trie is not None or free:
        raise ValueError('a model that scores all items writes no semantic IDs: leave tokens and free out')
    return _scoring(run, task, state, sessions, items)


def _generating(
    run: Experiment, task: SessionTask, state: TrainState, sizes: tuple[int, int, int], trie: Trie | None,
    distinct: bool, free: bool,
) -> Recommender:  # fmt: skip
    sessions, items, beams = sizes
    single = task.network.session == 1
    needed = sessions * items if single else sessions
    if beams < needed:
        raise ValueError(f'{beams} beams for {sessions} sessions of {items} items: give at least {needed}')
    trie = _trie_of(task, state, trie)
    groups = groups_of(trie)
    trie = jax.device_put(trie, jax.NamedSharding(run.setup.mesh, jax.P()))
    count = 1 if single else items
    generate = shared_generate(task.network, run.setup.mesh, beams, count, distinct, free)

    def answer(batch: Mapping[str, np.ndarray]) -> Recommended:
        size = len(batch['history/length'])
        asked = {key: batch[key] for key in batch if key.startswith('history/')}
        asked['valid'] = np.ones((size, 1), np.float32)  # so that devices need not divide B
        sent = put_batch(asked, run.setup.mesh)
        found = generate(state.params, state.model_state, sent, trie)
        written, scores = np.asarray(found.items)[:size], np.asarray(found.scores)[:size]
        alive = np.isfinite(scores)
        best, scores = _legal(written, scores, needed)
        illegal = ((written < 0) & alive[..., None]).sum((1, 2))
        if single:
            best, scores = _pages(*expand(best[..., 0], scores, groups), items)
        elif groups:
            best = take_turns(best, groups)
        return Recommended(best, scores, alive.sum(1) * count, illegal)

    return answer


def _trie_of(task: SessionTask, state: TrainState, trie: Trie | None) -> Trie:
    if trie is None:
        # The codes it was trained with: the files that a config names may hold others by now.
        return catalogue(np.asarray(state.model_state[CODES]), task.network.levels)
    if trie.sizes != task.network.levels:
        raise ValueError(
            f'the trie has levels of {trie.sizes} codes and the model {task.network.levels}: give tokens '
            'that extend those the model was trained with'
        )
    return trie


def _legal(items: np.ndarray, scores: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The best `number` of sessions [B, K, m] that are of items alone, and their scores."""
    legal = np.isfinite(scores) & (items >= 0).all(-1)
    order = np.argsort(~legal, 1, kind='stable')[:, :number]
    good = np.take_along_axis(legal, order, 1)
    best = np.where(good[..., None], np.take_along_axis(items, order[..., None], 1), -1)
    return best, np.where(good, np.take_along_axis(scores, order, 1), -np.inf)


def groups_of(trie: Trie) -> dict[int, np.ndarray]:
    """The items that share an ID, by the first of each group: {item: int32 [two or more]}, ascending."""
    first, items = np.asarray(trie.first), np.asarray(trie.items)
    leaves = np.flatnonzero(np.diff(first) > 1)
    return {int(items[first[leaf]]): items[first[leaf] : first[leaf + 1]] for leaf in leaves}


def expand(items: np.ndarray, scores: np.ndarray, groups: Mapping[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Puts all items of a group where a ranking, items int [B, K], -1 where there is none, names its first.

    Returns:
      The first K items of the longer rankings, and their scores, those of a group alike.
    """
    if not groups:
        return items, scores
    longer, of_longer = np.full_like(items, -1), np.full_like(scores, -np.inf)
    for row, (named, of_named) in enumerate(zip(items, scores, strict=True)):
        alive = named >= 0
        members = [groups.get(int(item), np.array([item])) for item in named[alive]]
        sizes = np.array([len(group) for group in members], np.int64)
        places = np.repeat(np.arange(len(members)), sizes)[: len(named)]
        longer[row, : len(places)] = np.concatenate([*members, named[:0]])[: len(named)]
        of_longer[row, : len(places)] = of_named[alive][places]
    return longer, of_longer


def take_turns(items: np.ndarray, groups: Mapping[int, np.ndarray]) -> np.ndarray:
    """Returns sessions [B, S, m] whose n-th mention of a group, in a user's sessions, is its n-th item, in circles."""
    turned = items.copy()
    for row, flat in zip(turned.reshape(len(items), -1), items.reshape(len(items), -1), strict=True):
        for first in set(flat.tolist()) & groups.keys():
            places = np.flatnonzero(flat == first)
            row[places] = np.resize(groups[first], len(places))
    return turned


def _scoring(run: Experiment, task: NextItemTask, state: TrainState, sessions: int, items: int) -> Recommender:
    wide = dataclasses.replace(task, best=sessions * items)
    predict = make_predict_step(run.setup._replace(task=wide))

    def answer(batch: Mapping[str, np.ndarray]) -> Recommended:
        size = len(batch['history/length'])
        no_target = {'target/item': np.zeros((size, 1), np.int32), 'valid': np.ones((size, 1), np.float32)}
        found = predict(state, put_batch({**batch, **no_target}, run.setup.mesh))
        best, scores = np.asarray(found['items'])[:size], np.asarray(found['scores'])[:size]
        if best.shape[1] < sessions * items:
            raise ValueError(f'{sessions} sessions of {items} items from {best.shape[1]} items: ask for fewer')
        written = np.full(size, best.shape[1])
        return Recommended(*_pages(best, scores, items), written, np.zeros(size, np.int64))

    return answer


def _pages(items: np.ndarray, scores: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts ranked items [B, S m] and their scores into complete sessions [B, S, m] and [B, S]."""
    pages = items.reshape(len(items), -1, size)
    totals = scores.reshape(pages.shape).sum(-1)
    whole = np.asarray((pages >= 0).all(-1))
    return np.where(whole[..., None], pages, -1), np.where(whole, totals, -np.inf).astype(np.float32)


def check_extended(tokens: Path, codes: jax.Array, workdir: Path) -> None:
    """Refuses tokens that give the model's items other codes, int32 [V, L], than it was trained with."""
    ids = SemanticIds.load(tokens / IDS)
    extended = with_special(ids.ids if ids.ids.shape[1] == codes.shape[1] else ids.codes)
    if not np.array_equal(extended[: len(codes)], codes):
        raise ValueError(
            f'--tokens={tokens} do not extend the tokens that {workdir} was trained with: give those of '
            'tokenize --extend from the same ones'
        )
