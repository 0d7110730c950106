"""The first pass over visits with pools counts what a loop counts, whatever the blocks."""

from collections import Counter

import numpy as np
import pytest

from jaxrec.data.logs.columns import Ragged
from jaxrec.data.pools.survey import Pools, numbered, survey
from tests.data.worlds import POOL_COLUMNS, raw_articles, raw_visits


def part_of(raw, rows):
    return {name: c.take(rows) if isinstance(c, Ragged) else c[rows] for name, c in raw.items()}


def row(column, n):
    return column.values[column.offsets[n] : column.offsets[n + 1]].tolist()


def counts_of(vocabulary):
    ids = vocabulary.encode(vocabulary.keys)
    return dict(zip(vocabulary.keys.tolist(), vocabulary.counts[ids].tolist(), strict=True))


@pytest.mark.parametrize('cuts', [(), (1, 150), (299,)])
def test_an_item_counts_once_for_each_visit_that_could_show_it_or_had_met_it(cuts):
    raw = raw_visits()
    blocks = [part_of(raw, rows) for rows in np.split(np.arange(300), cuts)]
    found = survey(blocks, raw_articles(), POOL_COLUMNS, seed=0)
    item = found.vocabularies['item']
    in_pools = Counter(name for n in range(300) for name in row(raw['pool'], n))
    met = Counter(name for n in range(300) for name in row(raw['history'], n))
    assert counts_of(item) == in_pools + met
    assert counts_of(found.vocabularies['device']) == Counter(raw['device'].tolist())


def test_it_says_what_the_columns_are_and_which_items_never_occur():
    found = survey([raw_visits()], raw_articles(), POOL_COLUMNS, seed=0)
    known = set(found.vocabularies['item'].keys.tolist())
    assert found.pairs == ('affinity',) and found.has_propensity
    assert found.specs['history'].vocabulary == 'item' and found.specs['item'].kind == 'categorical'
    assert set(found.items['item'].tolist()) == known & set(raw_articles()['item'].tolist())
    assert found.left_out == len(raw_articles()['item']) - len(found.items['item']) >= 1
    changed = raw_visits()
    changed['click'][7] = 1 - changed['click'][7]
    assert survey([changed], raw_articles(), POOL_COLUMNS, seed=0).digest != found.digest


def test_visits_are_numbered_through_and_pools_of_no_visit_are_left_out():
    rows = Ragged.from_rows([['a'], ['b', 'c'], ['d']], str)
    blocks = [{'pool': Pools(np.asarray(codes, int), rows)} for codes in ((2, 1, 2), (), (0,))]
    found = list(numbered(blocks))
    assert [first for first, _ in found] == [0, 3]
    pools = [[row(b['pool'].rows, code) for code in b['pool'].codes] for _, b in found]
    assert pools == [[['d'], ['b', 'c'], ['d']], [['a']]]
    assert [len(b['pool'].rows.lengths) for _, b in found] == [2, 1]
