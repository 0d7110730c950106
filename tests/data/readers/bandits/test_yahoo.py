"""The R6B reader on an extract in the published format, against a parser that was written without it."""

import gzip

import numpy as np
import pytest

from jaxrec.data.readers.bandits.yahoo import compile_yahoo, find_days
from jaxrec.data.sources.pool_source import PoolSource
from tests.data.extracts import yahoo as extract
from tests.oracles import yahoo as oracle


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    return extract.write(tmp_path_factory.mktemp('yahoo') / 'data' / 'R6B')


@pytest.fixture(scope='module')
def log(paths):
    return compile_yahoo(paths[0].parent.parent, paths[0].parent.parent.parent / 'log')


def row(column, n):
    return column.values[column.offsets[n] : column.offsets[n + 1]]


def same_visits(log, expected):
    assert len(log) == len(expected)
    item, features = log.vocabulary('item'), log.vocabulary('features')
    for n, visit in enumerate(expected):
        assert (log.events['time'][n], log.events['click'][n]) == (visit['time'], visit['click'])
        pool = item.decode(row(log.pools['candidates'], log.events['pool'][n])).tolist()
        assert len(pool) == len(visit['pool']) and set(pool) == visit['pool']
        assert pool[log.events['shown'][n]] == visit['shown']
        found = features.decode(row(log.events['features'], n)).tolist()
        assert len(found) == len(visit['features']) and set(found) == visit['features']
        assert log.events['propensity'][n] == 1 / len(pool)


def test_the_extract_has_the_counts_of_an_independent_script(paths, log):
    expected = oracle.counts(paths)
    assert expected['visits'] == 1400 and expected['changes'] > 30 and expected['largest'] >= 20
    assert expected['features_twice'] > 10 and expected['articles_twice'] > 10
    assert int(log.events['click'].sum()) == expected['clicks'] > 100
    assert log.schema['item'].rows - 2 == expected['articles']
    assert log.manifest['counts'] == {
        'events': 1400,
        'items': expected['articles'],
        'pools': expected['pools'],
        'largest_pool': expected['largest'],
    }
    assert log.manifest['notes'] == {
        'lines that name a feature twice': expected['features_twice'],
        'lines that name an article twice': expected['articles_twice'],
    }
    assert log.logging == 'uniform' and not log.manifest['dropped']
    assert np.bincount(log.events['day']).tolist() == [0, 0, 840, 560] and 'day' not in log.schema


def test_visits_decode_to_the_lines_of_the_files(paths, log):
    same_visits(log, list(oracle.visits(paths)))


def test_pools_change_in_the_middle_of_a_batch(log):
    batch = PoolSource(log.folder, features={'candidate': ['item'], 'user': ['features']}, batch_size=128)[0]
    items = {tuple(row) for row in batch['candidate/item'].tolist()}
    assert len(items) >= 3
    shown = batch['candidate/item'][np.arange(128), batch['shown']]
    np.testing.assert_array_equal(shown, log.events['item'][:128])


def test_blocks_of_any_size_give_the_same_log(paths, log, tmp_path, monkeypatch):
    for name in ('yahoo', 'open_bandit'):
        monkeypatch.setattr(f'jaxrec.data.readers.bandits.{name}.BLOCK_ROWS', 150)
    again = compile_yahoo(paths[0].parent, tmp_path / 'log')
    assert again.manifest['vocabularies'] == log.manifest['vocabularies']
    for name in ('time', 'item', 'pool', 'shown', 'click', 'day'):
        np.testing.assert_array_equal(again.events[name], log.events[name])
    np.testing.assert_array_equal(again.pools['candidates'].values, log.pools['candidates'].values)
    np.testing.assert_array_equal(again.events['features'].values, log.events['features'].values)


def test_lines_that_cannot_be_replayed_are_dropped_on_request(paths, tmp_path, caplog):
    spoiled = extract.write(tmp_path / 'data', extract.SPOILED)
    with pytest.raises(ValueError, match=r'20111002:11: .* is no visit'):
        compile_yahoo(tmp_path / 'data', tmp_path / 'log')
    log = compile_yahoo(tmp_path / 'data', tmp_path / 'log', irregular='drop')
    assert '12 of 1412 lines cannot be replayed: 5 malformed lines, 1 lines of another day' in caplog.text
    same_visits(log, list(oracle.visits(paths)))
    reasons = [reason for reason, _ in extract.SPOILED.values()]
    assert log.manifest['dropped'] == {reason: reasons.count(reason) for reason in set(reasons)}
    # Of twelve, five are well-formed: of another day, out of order, outside its pool, two features.
    assert sum(visit is None for visit in oracle.visits(spoiled)) == 7
    with pytest.raises(ValueError, match=r"20111002:11: .* give irregular='drop'"):  # from the prepared data
        compile_yahoo(tmp_path / 'data', tmp_path / 'other')


def test_some_days_alone(paths, tmp_path):
    log = compile_yahoo(paths[0].parent, tmp_path / 'log', days=(3,))
    same_visits(log, list(oracle.visits(paths[1:])))
    assert find_days(paths[0].parent, (3, 2)) == paths
    with pytest.raises(ValueError, match=r'20111004 \(or \.gz, \.zip\) is in none of .*R6B'):
        find_days(paths[0].parent, (2, 4))


def test_packed_and_plain_files_give_the_same_visits(paths, log, tmp_path):
    (tmp_path / paths[0].name).with_suffix(paths[0].suffix + '.gz').write_bytes(gzip.compress(paths[0].read_bytes()))
    (tmp_path / paths[1].name.removesuffix('.gz')).write_bytes(gzip.decompress(paths[1].read_bytes()))
    again = compile_yahoo(tmp_path, tmp_path / 'log')
    for name in ('time', 'item', 'pool', 'shown', 'click'):
        np.testing.assert_array_equal(again.events[name], log.events[name])


def test_a_compiled_log_is_opened_without_reading_the_files_again(paths, log, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr('jaxrec.data.readers.bandits.yahoo.read_blocks', lambda *_, **__: pytest.fail('read again'))
        again = compile_yahoo(paths[0].parent.parent, log.folder)
    assert again.manifest == log.manifest
    with pytest.raises(ValueError, match='will not be overwritten'):
        compile_yahoo(paths[0].parent.parent, log.folder, days=(2,))
