"""Tiny logs and policies for the tests of replay and off-policy estimates."""

from typing import NamedTuple

import jax
import numpy as np


class Logged:
    """Visits in arrays: 5 candidates each, item c of user u clicked at a rate of a random table.

    The logger draws uniformly, or by a softmax of a random table where `uneven` is above 0.
    """

    def __init__(self, visits, batch_size=256, uneven=0.0, seed=0, users=4, items=5):
        draw = np.random.default_rng(seed)
        self.batch_size, self.count = batch_size, visits
        self.user = draw.integers(0, users, visits)
        self.rates = draw.uniform(0.02, 0.4, (users, items))
        weight = np.exp(uneven * draw.normal(size=(users, items)))
        self.chance = (weight / weight.sum(1, keepdims=True))[self.user]
        self.shown = (self.chance.cumsum(1) < draw.uniform(size=(visits, 1))).sum(1)
        at = np.arange(visits)
        self.propensity = self.chance[at, self.shown]
        self.click = (draw.uniform(size=visits) < self.rates[self.user, self.shown]).astype(np.float32)

    def __len__(self):
        return -(-self.count // self.batch_size)

    def __getitem__(self, index):
        first = index * self.batch_size
        rows = np.arange(first, min(first + self.batch_size, self.count))
        items = np.tile(np.arange(2, 7, dtype=np.int32), (len(rows), 1))
        return {
            'user/user': self.user[rows],
            'candidate/item': items,
            'pool': items > 0,
            'shown': self.shown[rows].astype(np.int32),
            'click': self.click[rows],
            'propensity': self.propensity[rows].astype(np.float32),
            'host/propensity': self.propensity[rows],
            'host/time': rows.astype(np.float64),
            'host/event': rows,
        }

    def impressions(self, rows):
        item = (self.shown[rows] + 2).astype(np.int32)
        return {'candidate/item': item[:, None], 'label': self.click[rows][:, None]}

    def truth(self, rows):
        return self.rates[self.user[rows]]


class Random:
    """Scores by the key alone."""

    def score(self, state, requests, rng):
        return jax.random.uniform(rng, requests['pool'].shape)

    def learn(self, state, matched):
        return state


class Greedy:
    """Smoothed click rate of each item; of equal ones the smaller id. `anew` forgets what it knew."""

    def __init__(self, anew=False):
        self.anew, self.taught = anew, 0

    def start(self, rows):
        return {'shows': np.zeros(rows), 'clicks': np.zeros(rows)}

    def score(self, state, requests, rng):
        items = requests['candidate/item']
        return (state['clicks'][items] + 1) / (state['shows'][items] + 2)

    def learn(self, state, matched):
        items, label = matched['candidate/item'][:, 0], matched['label'][:, 0]
        old = self.start(len(state['shows'])) if self.anew else state
        shows, clicks = old['shows'].copy(), old['clicks'].copy()
        np.add.at(shows, items, 1)
        np.add.at(clicks, items, label)
        self.taught += 1
        return {'shows': shows, 'clicks': clicks}


class Fixed:
    """Always the same table of user by slot."""

    def __init__(self, table):
        self.table = table

    def score(self, state, requests, rng):
        return self.table[requests['user/user']]

    def learn(self, state, matched):
        return state


class Ranked(NamedTuple):
    score: np.ndarray
    probability: np.ndarray


class Explaining(Fixed):
    """A fixed table, and another one of predicted click rates."""

    def __init__(self, table, predicted):
        super().__init__(table)
        self.predicted = predicted

    def rank(self, state, requests, rng):
        user = requests['user/user']
        return Ranked(self.table[user], self.predicted[user])
