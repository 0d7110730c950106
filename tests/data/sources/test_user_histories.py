"""Histories of any user at any time are those that the sources cut."""

import numpy as np
import pytest

from jaxrec.data.logs.behaviour_log import compile_log
from jaxrec.data.sources.from_config import make_source
from jaxrec.data.sources.user_histories import UserHistories, training_interactions
from tests.data.worlds import small_clicks, small_log, small_sessions

FEATURES = {'user': (), 'candidate': ('item',), 'history': ('item', 'category')}
SPLIT = {'kind': 'per_user_time', 'validation': 0.2, 'test': 0.2}
RATING = {'kind': 'rating', 'column': 'rating', 'threshold': 4.0}


@pytest.fixture(scope='module')
def logs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('histories')
    return {'sessions': small_sessions(folder / 's'), 'behaviours': small_log(folder / 'b')}


@pytest.mark.parametrize(('kind', 'label'), [('sessions', {}), ('behaviours', RATING), ('behaviours', {})])
def test_a_request_of_the_log_has_the_history_of_its_source(logs, kind, label):
    log = logs[kind]
    names = [name for name in FEATURES['history'] if name == 'item' or name in log.items]
    source = make_source(
        log, 'next_item', features=FEATURES | {'history': names}, label=label, split=SPLIT, part='test',
        batch_size=16, history_length=3, shuffle=False, remainder='drop',
    )  # fmt: skip
    batch = source[0]
    users, times = batch['host/group'].astype(np.int32), log.events['time'][batch['host/event']]
    histories = UserHistories(log, label, names, 3)
    got, before = histories.cut(users, times)
    assert {'history/length', 'history/item'} <= got.keys()
    for name, column in got.items():
        np.testing.assert_array_equal(column, batch[name])
        assert column.dtype == batch[name].dtype
    np.testing.assert_array_equal(np.minimum(before, 3), batch['history/length'])
    assert before.max() > 3
    _, every = histories.cut(users)
    assert (every > before).all()  # what is asked for is positive itself


@pytest.mark.parametrize('share', [None, (0.3, 0.9)])
@pytest.mark.parametrize('kind', ['sessions', 'behaviours'])
def test_training_interactions_are_the_targets_of_training(logs, kind, share):
    log, label = logs[kind], {} if kind == 'sessions' else RATING
    source = make_source(
        log, 'next_item', features={'user': (), 'candidate': ('item',), 'history': ()}, label=label,
        split=SPLIT, part='train', batch_size=7, history_length=3, min_history=0, shuffle=False,
        remainder='pad', users=share or (0.0, 1.0),
    )  # fmt: skip
    batches = [source[i] for i in range(len(source))]
    real = np.concatenate([batch['valid'][:, 0] > 0 for batch in batches])
    users, items = training_interactions(log, label, SPLIT, share)
    np.testing.assert_array_equal(np.concatenate([b['host/group'] for b in batches])[real], users)
    np.testing.assert_array_equal(np.concatenate([b['target/item'][:, 0] for b in batches])[real], items)
    assert len(users) > 20


def test_logs_without_histories_or_times_are_refused(tmp_path):
    with pytest.raises(ValueError, match='is a click log, which has no histories of items: give a session'):
        UserHistories(small_clicks(tmp_path / 'c'), {}, (), 3)
    log = compile_log(tmp_path / 'l', {'user': np.array([1, 1, 2]), 'item': np.array([5, 6, 5])})
    histories = UserHistories(log, {}, ('item',), 2)
    got, before = histories.cut(np.array([2, 3]))
    np.testing.assert_array_equal(before, np.diff(log.user_offsets)[2:4])
    assert sorted(got['history/length']) == [1, 2]
    with pytest.raises(ValueError, match='has no times: leave those of the requests out'):
        histories.cut(np.array([2]), np.array([7]))
