"""Evaluates generated sessions with the reward model and, on simulated data, with the true reward, and ranks items.

B requests, K sessions of each, m items.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxrec.data.sources.batch_source import Batch as HostBatch
from jaxrec.data.sources.session_source import SessionSource
from jaxrec.evaluation.ranking import RankingEvaluator
from jaxrec.models.onerec.generate import Written
from jaxrec.models.onerec.recommend import Recommended
from jaxrec.models.onerec.reward.open_scorer import Bench
from jaxrec.models.onerec.reward.values import summarise
from jaxrec.runs.build import Experiment
from jaxrec.runs.sources import cut_source

CUT = 10  # of the ranking of single items


def all_requests(run: Experiment, part: str) -> SessionSource:
    """The requests of a part, whatever users did with what was shown: those shown as many items as a session has.

    `run` is of a generator, which learns from sessions of high quality alone.
    """
    data = {**run.data, 'quality': None, 'choose': 'first'}
    source = cut_source(run.config, run.log, data, run.train, part)
    assert isinstance(source, SessionSource)
    return source


def judge_written(
    write: Callable[[Any], Written | Recommended], source: Any, bench: Bench, requests: int, chunk: int
) -> dict[str, float]:
    """Generates sessions for some requests, and evaluates them by `summarise`.

    Args:
      write: host batch of histories -> sessions.
      source: a `SessionSource`; the requests are evenly spread over its examples. Chosen by the shown session's labels,
        they would show the value of a generator to users in the mood.
      bench: what evaluates.
      requests: how many, at most all.
      chunk: generated for at a time.

    Raises:
      ValueError: no session was generated.
    """
    judged, truth, lives = [], [], []
    for batch, count in spread(source, requests, chunk):
        items = np.asarray(write(batch).items)[:chunk]
        probability, _ = bench.judge(batch['host/event'], items)
        here = slice(count)
        alive = items[here].min(-1) > 0
        judged.append(probability[here])
        lives.append(alive)
        if bench.audience is not None:
            users = np.repeat(batch['host/group'][here, None], items.shape[1], 1)
            true = np.zeros(probability[here].shape)
            true[alive] = bench.true_rewards(users[alive], items[here][alive])
            truth.append(true)
    return summarise(
        np.concatenate(judged), np.concatenate(lives), bench.weights, np.concatenate(truth) if truth else None
    )


def rank_named(
    name: Callable[[Any], Written | Recommended], source: SessionSource, requests: int, chunk: int
) -> dict[str, float]:
    """Ranks the first item of the target among those that a model names first: 'recall@10' and 'ndcg@10'.

    Args:
      name: host batch of histories -> sessions of one item, or of which the first item counts, best first.
      source: a `SessionSource` whose targets begin with what the user liked.
      requests, chunk: as of `judge_written`.
    """
    evaluator = RankingEvaluator(cuts=(CUT,))
    for batch, count in spread(source, requests, chunk):
        items = np.asarray(name(batch).items)[:count, :, 0]
        target = batch['target/item'][:count, :1]
        hit = items == target
        rank = np.where(hit.any(1), hit.argmax(1) + 1.0, np.inf)
        evaluator.add({'target/item': target, 'valid': np.ones(target.shape)}, {'rank': rank, 'items': items})
    found = evaluator.compute()
    return {key: found[key] for key in (f'recall@{CUT}', f'ndcg@{CUT}')}


def spread(source: SessionSource, requests: int, chunk: int) -> Iterator[tuple[HostBatch, int]]:
    """Yields batches of `chunk` requests, evenly spread over a source's examples, and how many are not padding."""
    places = np.unique(np.linspace(0, source.examples - 1, min(requests, source.examples)).astype(np.int64))
    for first in range(0, len(places), chunk):
        index = places[first : first + chunk]
        yield source.at(np.concatenate([index, np.repeat(index[:1], chunk - len(index))])), len(index)
