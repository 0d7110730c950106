"""Evaluates generated sessions with the reward model and, on simulated data, with the true reward, and ranks items.

B requests, K sessions of each, m items.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

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
    return judge_sessions(write, source, bench, requests, chunk).summary(bench.weights)


class Judged(NamedTuple):
    """Generated sessions of R requests, best first, and their rewards.

    Attributes:
      requests: the host batch of the requests, {name: [R, ...]}.
      items: int [R, K, m], ids of the log; below 1 where there is no session.
      judged: float [R, K, 4], the probabilities of the reward model, in the order of `HEADS`.
      truth: float [R, K, 4], the expected labels, 0 where there is no session; None without simulated users.
    """

    requests: HostBatch
    items: np.ndarray
    judged: np.ndarray
    truth: np.ndarray | None

    def summary(self, weights: Mapping[str, float]) -> dict[str, float]:
        """What `summarise` returns of all sessions, with {head: weight} of the one number."""
        return summarise(self.judged, self.items.min(-1) > 0, weights, self.truth)


def judge_sessions(
    write: Callable[[Any], Written | Recommended], source: Any, bench: Bench, requests: int, chunk: int
) -> Judged:
    """Generates sessions for some requests and rewards each; the arguments are those of `judge_written`."""
    asked, written, judged, truth = [], [], [], []
    for batch, count in spread(source, requests, chunk):
        items = np.asarray(write(batch).items)[:chunk]
        probability, _ = bench.judge(batch['host/event'], items)
        here = slice(count)
        asked.append({name: column[here] for name, column in batch.items()})
        written.append(items[here])
        judged.append(probability[here])
        if bench.audience is not None:
            alive = items[here].min(-1) > 0
            users = np.repeat(batch['host/group'][here, None], items.shape[1], 1)
            true = np.zeros(probability[here].shape)
            true[alive] = bench.true_rewards(users[alive], items[here][alive])
            truth.append(true)
    return Judged(
        {name: np.concatenate([batch[name] for batch in asked]) for name in asked[0]},
        np.concatenate(written),
        np.concatenate(judged),
        np.concatenate(truth) if truth else None,
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
