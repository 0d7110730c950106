"""Evaluators of parts of the data, sent as bytes and merged, say what one over all of it says.

B batch, K named items, L levels, C candidates.
"""

import pickle

import numpy as np
import pytest

from jaxrec.evaluation.ctr import CtrEvaluator
from jaxrec.evaluation.ranking import RankingEvaluator
from jaxrec.models.onerec.reward.shown import HEADS, RewardEvaluator
from jaxrec.models.onerec.token_evaluator import NextItemEvaluator, SessionEvaluator
from jaxrec.models.sms.prior import PerfectMasks

B, K, L, C = 24, 10, 3, 2


def clicks(rng):
    batch = {'label': rng.integers(0, 2, (B, C)), 'valid': rng.integers(0, 2, (B, C))}
    batch |= {'host/group': rng.integers(0, 4, B) + 2**40, 'host/event': rng.integers(0, 2**40, (B, C))}
    return batch, {'probability': rng.random((B, C)).astype(np.float32)}


def ranks(rng):
    batch = {'target/item': rng.integers(0, 40, (B, 1)), 'valid': rng.integers(0, 2, (B, 1))}
    found = {'rank': rng.integers(1, 20, B).astype(float), 'items': rng.integers(-1, 40, (B, K))}
    return batch, found | {'token_log_prob': -rng.random((B, 1, L)), 'real': rng.integers(0, 2, (B, 1))}


def rewards(rng):
    batch = {f'label/{head}': rng.integers(0, 2, (B, C)).astype(np.float32) for head in HEADS}
    batch |= {'valid': np.ones((B, C)), 'candidate/item': np.ones((B, C, 2))}
    return batch, {'probability': rng.random((B, C, len(HEADS))).astype(np.float32)}


class Seen:
    """Judges nothing but how many masks it was shown."""

    def __init__(self, masks=0):
        self.masks = masks

    def add(self, batch, predictions):
        self.masks += int(predictions['entity/mask'].sum())

    def merge(self, other):
        return Seen(self.masks + other.masks)

    def compute(self):
        return {'masks': float(self.masks)}


def scenes(rng):
    mask = np.packbits(rng.integers(0, 2, (2, 3, 4, 8), np.uint8), axis=-1)
    return {'host/mask': mask, 'host/part': np.zeros((2, 4, 8), np.uint8)}, {}


@pytest.mark.parametrize(
    ('make', 'draw'),
    [
        (CtrEvaluator, clicks),
        (lambda: RankingEvaluator(cuts=(1, 5), catalogue=40), ranks),
        (SessionEvaluator, ranks),
        (lambda: NextItemEvaluator(40), ranks),
        (RewardEvaluator, rewards),
        (lambda: PerfectMasks(Seen()), scenes),
    ],
    ids=['clicks', 'ranks', 'sessions', 'next_item', 'rewards', 'masks'],
)
def test_parts_merge_into_the_whole(make, draw):
    whole, parts, nothing = make(), [make(), make()], make()
    for seed in range(4):
        batch, found = draw(np.random.default_rng(seed))
        whole.add(batch, found)
        parts[seed // 2].add(batch, found)
    sent = pickle.loads(pickle.dumps(parts[1]))
    merged = parts[0].merge(sent).merge(nothing)
    wanted, found = whole.compute(), merged.compute()
    assert found.keys() == wanted.keys() and len(found) >= 1
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, err_msg=name)
    assert nothing.merge(parts[0]).compute() == parts[0].compute()


def test_rankings_by_other_rules_do_not_merge():
    one = RankingEvaluator(cuts=(1, 5))
    for other in (RankingEvaluator(), RankingEvaluator((1, 5), 9)):
        with pytest.raises(ValueError, match='judge by different rules: make both with the same arguments'):
            one.merge(other)
