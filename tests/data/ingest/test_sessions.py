"""Sessions of a user's files: rows of shown items become requests, and bad lines are counted and named."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxrec.data.ingest.mapping import make_mapping
from jaxrec.data.ingest.sessions import ingest_sessions
from jaxrec.data.sessions.log import SessionLog

MAPPING = {
    'user': 'uid',
    'item': 'video',
    'time': {'column': 'ts', 'unit': 'ms'},
    'events': {
        'session': {'kind': 'categorical', 'column': 'request'},
        'watch_time': {'kind': 'numeric', 'column': 'played'},
        'view': {'kind': 'numeric'},
        'like': {'kind': 'numeric', 'fill': 0},
    },
}
ITEMS = {
    'file': 'videos.csv',
    'key': 'video',
    'columns': {'category': {'kind': 'categorical'}, 'tags': {'kind': 'multi', 'separator': '|'}},
}
HEADER = 'uid,request,video,ts,played,view,like'
LINES = [
    'ann,r2,v3,9000,4.5,1,',
    'bob,r1,v1,5000,0,0,1',
    'ann,r1,v2,2000,7,1,0',
    'ann,r2,v1,8000,1,0,1',
    'bob,r1,v4,4000,2,0,0',
    'ann,r1,v2,2000,8,1,1',
    'bob,r1,v2,5000,3,1,0',
]
# (user, time, items, watch times, likes), sessions in the order of their times
EXPECTED = [
    ('ann', 2, ['v2', 'v2'], [7, 8], [0, 1]),
    ('ann', 8, ['v1', 'v3'], [1, 4.5], [1, 0]),
    ('bob', 4, ['v4', 'v1', 'v2'], [2, 0, 3], [0, 1, 0]),
]
BAD = {
    'ann,r2,v3,9000,-1,1,0': 'watch_time is negative',
    'ann,r2,v3,9000,1,0.5,0': 'view is neither 0 nor 1',
    'ann,r2,v3,9000,1,1,2': 'like is neither 0 nor 1',
    'ann,r2,,9000,1,1,0': 'missing item',
    'ann,r2,v3,soon,1,1,0': 'unreadable time',
    'ann,r2,v3,9000,,1,0': "missing number in 'watch_time'",
    'ann,r2,v3,9000,1,1': 'wrong number of columns',
}


def written(folder, lines=LINES, header=HEADER, name='shown.csv'):
    path = folder / name
    path.write_text('\n'.join([header, *lines]) + '\n')
    return path


def videos(folder, lines=('v1,a,x|y', 'v2,b,', 'v3,a,y', 'v4,c,x', 'v9,c,z')):
    return MAPPING | {'items': ITEMS | {'file': str(written(folder, lines, 'video,category,tags', 'videos.csv'))}}


def read_back(log):
    found = []
    for n in range(len(log)):
        at = slice(log.offsets[n], log.offsets[n + 1])
        found.append(
            (
                log.vocabulary('user').decode(log.events['user'][[n]])[0],
                log.events['time'][n],
                log.vocabulary('item').decode(log.of_shown('item')[at]).tolist(),
                log.of_shown('watch_time')[at].tolist(),
                log.of_shown('like')[at].tolist(),
            )
        )
    return sorted(found)


def test_rows_become_sessions(tmp_path):
    log = ingest_sessions([written(tmp_path)], make_mapping(MAPPING), tmp_path / 'log')
    assert read_back(log) == EXPECTED and log.events['time'].dtype == np.int64
    assert log.shown == ('watch_time', 'view', 'like') and log.manifest['dropped'] == {}
    assert log.manifest['provenance'] == 'real' and log.manifest['sources'][0]['name'] == 'shown.csv'
    again = ingest_sessions([tmp_path / 'shown.csv'], make_mapping(MAPPING), tmp_path / 'log')
    assert again.manifest == log.manifest and read_back(SessionLog(tmp_path / 'log')) == EXPECTED


def test_positions_break_ties_and_items_bring_attributes(tmp_path):
    lines = [f'{line},{9 - n}' for n, line in enumerate(LINES)]
    given = videos(tmp_path)
    given['events'] = given['events'] | {'position': {'kind': 'numeric'}}
    log = ingest_sessions([written(tmp_path, lines, HEADER + ',position')], make_mapping(given), tmp_path / 'log')
    assert [items for _, _, items, _, _ in read_back(log)] == [['v2', 'v2'], ['v1', 'v3'], ['v2', 'v4', 'v1']]
    names = log.vocabulary('item')
    assert sorted(names.keys.tolist()) == ['v1', 'v2', 'v3', 'v4', 'v9']
    category = log.vocabulary('category').decode(log.items['category'][names.encode(np.asarray(['v3', 'v9']))])
    assert category.tolist() == ['a', 'c'] and log.items['tags'].lengths[names.encode(np.asarray(['v1']))] == [2]


def test_sessions_that_come_back_are_told(tmp_path, caplog):
    ingest_sessions([written(tmp_path)], make_mapping(MAPPING), tmp_path / 'log')
    assert 'go on after' not in caplog.text
    again = [*LINES, 'ann,r1,v4,99000,1,1,0', 'cem,r1,v4,1000,1,1,0', 'cem,r2,v4,1000,1,1,0']
    ingest_sessions([written(tmp_path, again)], make_mapping(MAPPING), tmp_path / 'again')
    assert '1 of 5 sessions go on after their user\'s next one has begun. Does "session" come' in caplog.text


def test_parquet_gives_the_same_sessions(tmp_path):
    rows = [line.split(',') for line in LINES]
    kinds = [str, str, str, int, float, int, lambda text: int(text or 0)]
    columns = [[kind(row[n]) for row in rows] for n, kind in enumerate(kinds)]
    pq.write_table(pa.table(dict(zip(HEADER.split(','), columns, strict=True))), tmp_path / 'shown.parquet')
    log = ingest_sessions([tmp_path / 'shown.parquet'], make_mapping(MAPPING), tmp_path / 'log')
    assert read_back(log) == EXPECTED


def test_bad_lines_are_counted_and_named(tmp_path, caplog):
    path = written(tmp_path, [LINES[0], *BAD, *LINES[1:], *list(BAD)[:1]])
    log = ingest_sessions([path], make_mapping(MAPPING), tmp_path / 'log')
    assert read_back(log) == EXPECTED
    counts = dict.fromkeys(BAD.values(), 1) | {'watch_time is negative': 2}
    assert log.manifest['dropped'] == counts
    for number, reason in enumerate(BAD.values(), 3):
        assert f'{reason} (shown.csv:{number}' in caplog.text
    with pytest.raises(ValueError, match=r'1 x .* \(shown\.csv:\d+.*strict: mend or remove such rows'):
        ingest_sessions([path], make_mapping(MAPPING), tmp_path / 'strict', strict=True)


def test_rows_of_unknown_items_are_counted(tmp_path):
    given = make_mapping(videos(tmp_path, ('v1,a,', 'v2,b,', 'v3,c,', 'v3,d,')))
    path = written(tmp_path)
    log = ingest_sessions([path], given, tmp_path / 'log')
    assert log.manifest['dropped'] == {
        'items of the items file given again': 1,
        'rows whose item the items file lacks': 1,
    }
    assert read_back(log)[2][2] == ['v1', 'v2']
    item = log.vocabulary('item').encode(np.asarray(['v3']))
    assert log.vocabulary('category').decode(log.items['category'][item]).tolist() == ['c']
    with pytest.raises(ValueError, match='1 x items of the items file given again; strict: mend the files'):
        ingest_sessions([path], given, tmp_path / 'strict', strict=True)
    with pytest.raises(ValueError, match='the items file has no row of any shown item: check its key'):
        ingest_sessions([path], make_mapping(videos(tmp_path, ('w1,a,',))), tmp_path / 'none')


def changed(**events):
    return MAPPING | {'events': MAPPING['events'] | events}


def without(name):
    events = {key: column for key, column in MAPPING['events'].items() if key != name}
    return {key: column for key, column in MAPPING.items() if key != name} | {'events': events}


@pytest.mark.parametrize(
    ('mapping', 'message'),
    [
        (without('session'), r"the mapping has no 'session': a row of a session file has"),
        (without('time'), r"the mapping has no 'time': a row of a session file has"),
        (MAPPING | {'item': {'column': 'video', 'min_count': 2}}, r"'item' of the mapping has min_count"),
        (changed(played={'kind': 'categorical'}), r'events\.played of the mapping is categorical: what is told'),
        (
            MAPPING | {'users': {'columns': {'like': {'kind': 'numeric'}}}, 'events': without('like')['events']},
            r'takes attributes of items from a file of their own, and none of users',
        ),
        (changed(shared={'kind': 'numeric'}), r"shown\.csv.*'shared'"),
    ],
)
def test_mappings_that_do_not_fit_are_refused(tmp_path, mapping, message):
    with pytest.raises(ValueError, match=message):
        ingest_sessions([written(tmp_path)], make_mapping(mapping), tmp_path / 'log')


def test_a_file_without_a_good_row_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'the log would be empty \(1 x watch_time is negative \(shown\.csv:2\)\)'):
        ingest_sessions([written(tmp_path, list(BAD)[:1])], make_mapping(MAPPING), tmp_path / 'log')
