"""The KuaiRand reader on an extract in the published format, against sessions that were made without it."""

import shutil

import numpy as np
import pytest

from jaxrec.data.readers.kuairand import _lined_up, compile_kuairand, number_sessions
from jaxrec.data.readers.kuairand_files import EDITIONS
from jaxrec.data.sessions.filter import SessionFilter
from jaxrec.data.sessions.log import SessionLog
from jaxrec.data.sources.session_source import SessionSource
from tests.data.extracts import kuairand as extract
from tests.oracles import kuairand as oracle


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return extract.write(tmp_path_factory.mktemp('kuairand') / 'data')


@pytest.fixture(scope='module')
def log(folder):
    return compile_kuairand(folder.parent.parent, folder.parent.parent.parent / 'log')


def read_back(log):
    """Every session as the oracle has it."""
    item, user, tab = (log.vocabulary(name).keys for name in ('item', 'user', 'tab'))
    found = []
    for n in range(len(log)):
        at = slice(log.offsets[n], log.offsets[n + 1])
        columns = [log.of_shown(name)[at] for name in ('watch_time', 'view', 'like', 'follow', 'share')]
        shown = zip(item[log.of_shown('item')[at] - 2], *columns, strict=True)
        of = lambda name, keys, n=n: int(keys[log.events[name][n] - 2])
        shown = [(int(video), round(float(seconds), 3), *map(int, rest)) for video, seconds, *rest in shown]
        found.append((of('user', user), of('tab', tab), float(log.events['time'][n]), shown))
    return sorted(found)


def test_the_extract_has_the_counts_of_an_independent_script(folder, log):
    expected = oracle.counts(folder)
    assert all(expected.values()) and expected['rows'] > 1_000
    counts = log.manifest['counts']
    assert {name: counts[name] for name in ('events', 'shown', 'users', 'items', 'items_never_shown')} == {
        'events': expected['sessions'],
        'shown': expected['rows'],
        'users': expected['users'],
        'items': expected['videos'],
        'items_never_shown': 0,
    }
    assert log.manifest['dropped'] == {
        'rows shown at random': expected['random'],
        'rows without a time': expected['timeless'],
        'rows with a negative watch time': expected['negative'],
        'rows with a label other than 0 and 1': expected['labels'],
        'repetitions of a row': expected['repeated'],
    }
    assert log.manifest['notes'] == {
        'rows played for longer than the video lasts': expected['longer'],
        'users without features': expected['unknown_users'],
        'videos without features': expected['undescribed'],
        'further features of a video': 1,
        'videos without tags': expected['untagged'],
        'videos without a duration': expected['endless'],
    }


@pytest.mark.parametrize('options', [{}, {'gap': 50.0, 'longest': 4}, {'least': 20}])
def test_sessions_are_those_of_an_independent_script(folder, tmp_path, options):
    log = compile_kuairand(folder, tmp_path / 'log', **options)
    expected = oracle.sessions(folder, **options)
    assert read_back(log) == sorted(expected)
    assert log.manifest['counts']['longest_session'] == max(len(shown) for *_, shown in expected)
    if 'least' in options:
        lost = oracle.counts(folder)['rows'] - log.manifest['counts']['shown']
        assert log.manifest['dropped']['rows of videos shown fewer than 20 times'] == lost > 0


def test_videos_and_users_have_their_features(folder, log):
    described, keys = oracle.videos(folder), log.vocabulary('item').keys.tolist()
    decode = lambda name: log.vocabulary(name).decode(log.items[name][2:]).tolist()
    rows = [described.get(key, {}) for key in keys]
    assert decode('author') == [row.get('author_id', 'unknown') for row in rows]
    assert decode('upload_type') == [row.get('upload_type', 'unknown') for row in rows]
    tags = [row.get('tag', '').replace(' ', '') for row in rows]
    assert decode('category') == [tag.split(',')[0] or 'unknown' for tag in tags]
    seconds = [float(row.get('video_duration') or 0) / 1_000 for row in rows]
    np.testing.assert_allclose(log.items['duration'][2:], seconds)
    several = log.items['tags']
    names = log.vocabulary('tags')
    for row, tag in enumerate(tags, 2):
        ids = several.values[several.offsets[row] : several.offsets[row + 1]]
        assert names.decode(ids).tolist() == (tag.split(',') if tag else [])
    user = log.vocabulary('user').keys[log.events['user'] - 2]
    degree = log.vocabulary('user_active_degree').decode(log.events['user_active_degree'])
    want = {7: 'unknown'} | {u: 'full_active' if u % 3 else 'UNKNOWN' for u in range(24) if u != 7}
    assert degree.tolist() == [want[u] for u in user.tolist()]
    ranges = log.vocabulary('follow_user_num_range').keys.tolist()
    assert sorted(ranges) == ['(0,10]', 'unknown']


def test_columns_stand_in_the_order_of_their_table():
    names = [f'column{n}' for n in range(9)]
    texts = (np.array([0, 1]), np.array(['a', 'b']))
    table = {names[0]: texts, 'user_id': np.array([3, 5]), **dict.fromkeys(names[1:], texts)}
    lined, where, _ = _lined_up(table, 'user_id', np.array([5, 4]))
    assert list(lined) == names and where.tolist() == [1, -1]


def test_sessions_reach_the_sources(log):
    quality = {'watched': 3, 'quantile': 0.5}
    source = SessionSource(
        log.folder, features={'user': ['tab'], 'candidate': ['item', 'category'], 'history': ['item']},
        split={'kind': 'per_user_time'}, part='train', batch_size=8, history_length=5, items=4,
        quality=quality, shuffle=False, remainder='pad',
    )  # fmt: skip
    kept = source.selection.kept
    assert 0 < kept.sum() < len(log) and source[0]['target/category'].shape == (8, 4)
    want = SessionFilter(watched=3).select(log, np.ones(len(log), bool)).counts
    assert want['at least 3 watched'] == sum(sum(view for _, _, view, *_ in shown) >= 3 for *_, shown in read_back(log))


def test_sessions_by_hand():
    user = np.array([1, 1, 1, 1, 1, 2, 2, 2])
    tab = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    time = np.array([0, 1_000, 61_001, 61_001, 62_000, 62_000, 62_000, 62_000])
    np.testing.assert_array_equal(number_sessions(user, tab, time, 60.0, 2), [0, 0, 1, 2, 2, 3, 3, 4])
    np.testing.assert_array_equal(number_sessions(user, tab, time, 61.0, 9), [0, 0, 0, 1, 1, 2, 2, 2])


def test_the_log_is_opened_again(folder, log):
    stamp = (log.folder / 'manifest.json').stat().st_mtime_ns
    again = compile_kuairand(folder, log.folder)
    assert (log.folder / 'manifest.json').stat().st_mtime_ns == stamp and isinstance(again, SessionLog)


LOG, VIDEOS, USERS = 'log_standard_4_22_to_5_08_1k.csv', 'video_features_basic_1k.csv', 'user_features_1k.csv'
CHANGES = [
    (LOG, lambda t: t.replace('long_view', 'long'), r'5_08_1k\.csv:1: header .* instead of'),
    (LOG, lambda t: t.replace('\n', '\n1,2,3\n', 1), r'5_08_1k\.csv:2: 3 fields instead of 19'),
    (LOG, lambda t: t.replace('\n', '\nx' + ',1' * 18 + '\n', 1), r'5_08_1k\.csv:2: user_id cannot be read'),
    (VIDEOS, lambda t: t.replace(',tag\n', ',tags\n'), r"basic_1k\.csv:1: no column 'tag' in"),
    (VIDEOS, lambda t: t.replace('\n3,', '\n3,4,', 1), r'basic_1k\.csv:5: 13 fields, video_id'),
    (VIDEOS, lambda t: t.replace('"12,65"', '"12,65', 1), r'basic_1k\.csv:\d+: '),
    (USERS, lambda t: t.replace('\n3,', '\nthree,', 1), r"features_1k\.csv:5: 31 fields, user_id \['three'\]"),
    (USERS, lambda t: '', r'features_1k\.csv is empty: fetch KuaiRand'),
]


@pytest.mark.parametrize(('file', 'change', 'message'), CHANGES)
def test_malformed_files_are_named(folder, tmp_path, file, change, message):
    shutil.copytree(folder, tmp_path / 'data')
    path = tmp_path / 'data' / file
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=message):
        compile_kuairand(tmp_path, tmp_path / 'log')


def test_missing_files_and_wrong_arguments_are_named(folder, tmp_path):
    with pytest.raises(ValueError, match=r'4_08_to_4_21_pure\.csv \(or \.gz, \.zip\) is in none of .*KuaiRand-Pure'):
        compile_kuairand(folder, tmp_path / 'log', 'pure')
    with pytest.raises(ValueError, match=r"edition '2k' is unknown: use one of pure, 1k, 27k"):
        compile_kuairand(folder, tmp_path / 'log', '2k')
    with pytest.raises(ValueError, match=r'gap=0, longest=10, least=1: seconds above 0'):
        compile_kuairand(folder, tmp_path / 'log', gap=0)
    with pytest.raises(ValueError, match=r'has no usable row \(.*fewer than 999 times'):
        compile_kuairand(folder, tmp_path / 'log', least=999)
    assert EDITIONS['27k'].logs()[1] == 'log_standard_4_08_to_4_21_27k_part2.csv'
