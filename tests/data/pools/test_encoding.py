"""The second pass over visits with pools writes what a loop over the raw ones says."""

import numpy as np
import pytest

from jaxrec.data.logs.columns import ColumnStore, Ragged
from jaxrec.data.logs.schema import ColumnSpec
from jaxrec.data.pools.encoding import write_visits
from jaxrec.data.pools.survey import survey

# Three visits of two pools, one of them listed in two orders; b has a number of its own in each visit.
POOLS = [['b', 'a'], ['c', 'b', 'd'], ['a', 'b']]
FIT = [[2.0, 1.0], [5.0, 4.0, 6.0], [7.0, 8.0]]
SHOWN = ['a', 'd', 'b']


def visits(**more):
    return {
        'time': np.arange(3),
        'item': np.asarray(SHOWN),
        'pool': Ragged.from_rows(POOLS, str),
        'click': np.asarray([0, 1, 0]),
        'fit': Ragged.from_rows(FIT, float),
        **more,
    }


def row(column, n):
    return column.values[column.offsets[n] : column.offsets[n + 1]]


def write(folder, uniform=False, **more):
    (folder / 'log').mkdir()
    blocks = [visits(**more)]
    found = survey(blocks, {}, {'fit': ColumnSpec('numeric')}, seed=0)
    described, left_out = write_visits(folder / 'log', blocks, found, uniform)
    stores = [ColumnStore(folder / 'log' / part) for part in ('events', 'pools')]
    return found.vocabularies['item'], *stores, described, left_out


def test_pools_lie_once_in_the_order_of_their_ids_and_numbers_follow_their_items(tmp_path):
    item, events, pools, described, left_out = write(tmp_path)
    assert len(pools['candidates'].lengths) == 2 and events['pool'][0] == events['pool'][2]
    for n in range(3):
        ids = row(pools['candidates'], events['pool'][n])
        names = item.decode(ids).tolist()
        assert (np.diff(ids) > 0).all() and sorted(names) == sorted(POOLS[n])
        assert names[events['shown'][n]] == SHOWN[n]
        fits = dict(zip(POOLS[n], FIT[n], strict=True))
        assert row(events['fit'], n).tolist() == [fits[name] for name in names]
    assert described['counts'] == {'items': 4, 'events': 3, 'pools': 2, 'largest_pool': 3}
    assert left_out == {}


@pytest.mark.parametrize(
    ('uniform', 'propensity', 'logging'),
    [
        (False, None, 'unknown'),
        (True, None, 'uniform'),
        (False, [1 / 2, 1 / 3, 1 / 2], 'uniform'),
        (False, [1 / 2, 1 / 4, 1 / 2], 'propensities'),
    ],
)
def test_how_items_were_logged(tmp_path, uniform, propensity, logging):
    more = {} if propensity is None else {'propensity': np.asarray(propensity)}
    _, events, _, described, _ = write(tmp_path, uniform, **more)
    assert described['logging'] == logging
    if logging == 'unknown':
        assert 'propensity' not in events.names
    else:
        np.testing.assert_array_equal(events['propensity'], propensity or [1 / 2, 1 / 3, 1 / 2])
