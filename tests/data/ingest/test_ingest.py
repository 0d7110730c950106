"""What an ingest takes and leaves: encodings, times, types, rows left out by line, a kill, click logs."""

import fcntl
import gzip
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxrec.data.ingest import blocks, chunks, ingest, make_mapping
from jaxrec.data.logs import vocabulary
from jaxrec.data.logs.click_log import ClickLog, compile_clicks
from jaxrec.data.logs.schema import ColumnSpec
from tests.conftest import REPOSITORY
from tests.data.ingest.worlds import MAPPING, assert_same_log, oracle, rows_of, write_csv

PLAIN = {'user': 'u', 'item': 'i', 'time': {'column': 't', 'unit': 's'}}


def take(tmp_path, content, mapping=PLAIN, name='a.csv', **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return ingest([path], make_mapping(mapping), tmp_path / 'log', **options)


def users(log):
    return log.vocabulary('user').decode(log.events['user']).tolist()


@pytest.mark.parametrize(
    ('encode', 'format_'),
    [
        (lambda text: text.encode(), {}),
        (lambda text: b'\xef\xbb\xbf' + text.encode(), {}),
        (lambda text: text.encode('latin-1'), {'encoding': 'latin-1'}),
        (lambda text: text.encode('utf-16'), {'encoding': 'utf-16'}),
        (lambda text: text.replace('\n', '\r\n').encode(), {}),
        (lambda text: text.replace(',', ';').encode(), {}),
        (lambda text: text.replace(',', '\t').encode(), {'delimiter': '\t'}),
        (lambda text: gzip.compress(text.encode()), {}),
        (lambda text: text.removeprefix('u,i,t\n').encode(), {'header': ['u', 'i', 't']}),
        (lambda text: text.rstrip('\n').encode(), {}),
    ],
)
def test_encodings_delimiters_and_headers(tmp_path, encode, format_):
    content = encode('u,i,t\nJosé,x,3\nann,x,2\nJosé,y,1\n')
    name = 'a.csv.gz' if content[:2] == b'\x1f\x8b' else 'a.csv'
    log = take(tmp_path, content, PLAIN | {'format': format_}, name)
    assert sorted(users(log)) == ['José', 'José', 'ann']
    assert log.events['time'].dtype == np.int64 and sorted(log.events['time'].tolist()) == [1, 2, 3]


def test_two_unclosed_quotes_close_each_other_and_are_told_from_short_rows(tmp_path):
    log = take(tmp_path, 'u,i,t\n"ann,x,1\nbob",y\ncid,z,3\n', name='b.csv')
    assert users(log) == ['cid'] and log.manifest['ingest']['extra_lines'] == 1
    assert log.manifest['ingest']['left_out'] == {
        'wrong number of columns over several lines (an unclosed quote?)': {'rows': 1, 'first': ['b.csv:2']}
    }


def test_quotes_line_breaks_and_empty_lines(tmp_path):
    log = take(tmp_path, 'u,i,t\n"a\nb",x,1\n\n"say ""hi""",x,2\n5" disk,x,3\n\n')
    assert sorted(users(log)) == ['5" disk', 'a\nb', 'say "hi"']
    assert log.manifest['ingest']['left_out'] == {}


BAD_ROWS = b"""u,i,t,r,w
ann,x,10,4,a
bob,y,11
,x,12,4,a
cid,,12,4,a
cid,x,soon,4,a
cid,x,-5,4,a
cid,x,14,much,a
"two
lines",x,15,5,a
cid,x,16,,a

\xff\xfe,x,17,4,a
cid,x,18,4,b\0d
cid,x,,4,a
cid,x,19,inf,a
eve,x,20,4,a
"""


def test_bad_rows_are_counted_by_reason_with_their_lines(tmp_path):
    columns = {'r': {'kind': 'numeric'}, 'w': {'kind': 'categorical'}}
    log = take(tmp_path, BAD_ROWS, PLAIN | {'events': columns})
    found = {reason: (f['rows'], f['first']) for reason, f in log.manifest['ingest']['left_out'].items()}
    assert found == {
        'wrong number of columns': (1, ['a.csv:3']),
        'missing user': (1, ['a.csv:4']),
        'missing item': (1, ['a.csv:5']),
        'unreadable time': (1, ['a.csv:6']),
        'time before 1970': (1, ['a.csv:7']),
        "unreadable number in 'r'": (2, ['a.csv:8', 'a.csv:16']),
        "missing number in 'r'": (1, ['a.csv:11']),
        "'user' is no UTF-8 text": (1, ['a.csv:13']),
        "a NUL character in 'w'": (1, ['a.csv:14']),
        'missing time': (1, ['a.csv:15']),
    }
    assert log.manifest['dropped'] == {reason: count for reason, (count, _) in found.items()}
    assert log.manifest['ingest']['rows_read'] == 14 and sorted(users(log)) == ['ann', 'eve', 'two\nlines']


def test_missing_values_are_filled_where_the_mapping_says_so(tmp_path):
    columns = {'r': {'kind': 'numeric', 'fill': -1}, 'w': {'kind': 'categorical', 'fill': 'none'}}
    log = take(tmp_path, 'u,i,t,r,w\na,x,1,,\nb,x,2,3,v\n', PLAIN | {'events': columns})
    assert sorted(log.events['r'].tolist()) == [-1, 3]
    assert sorted(log.vocabulary('w').keys.tolist()) == ['none', 'v']


@pytest.mark.parametrize(
    ('texts', 'unit', 'seconds'),
    [
        (['100', '200'], 's', [100, 200]),
        (['100.5', '200'], 's', [100.5, 200.0]),
        (['100000', '200000'], 'ms', [100, 200]),
        (['100001', '200000'], 'ms', [100.001, 200.0]),
        (['1970-01-01T00:01:40Z', '1970-01-01 01:03:20+01:00'], 'iso', [100, 200]),
        (['1970-01-01 00:01:40', '1970-01-02'], 'iso', [100, 86_400]),
        (['1970-01-01 00:01:40.25', '1970-01-01T00:03:20'], 'iso', [100.25, 200.0]),
    ],
)
def test_times_become_seconds_whole_where_they_can(tmp_path, texts, unit, seconds):
    rows = ''.join(f'a,x,{text}\n' for text in texts)
    log = take(tmp_path, 'u,i,t\n' + rows, PLAIN | {'time': {'column': 't', 'unit': unit}})
    assert log.events['time'].tolist() == seconds
    assert log.events['time'].dtype == (np.int64 if all(isinstance(s, int) for s in seconds) else np.float64)


def test_parquet_types_are_taken_as_they_are(tmp_path):
    table = pa.table(
        {
            'u': pa.array([7, 8, None, 7]),
            'i': pa.array(['x', 'y', 'x', 'x']).dictionary_encode(),
            't': pa.array([1_000, 2_000, 3_000, 4_000], pa.timestamp('ms')),
            'click': pa.array([True, False, True, None]),
            'tags': pa.array([['a|b', 'c'], [], ['c'], ['c']]),
        }
    )
    pq.write_table(table, tmp_path / 'a.parquet')
    mapping = {'user': 'u', 'item': 'i', 'time': 't', 'label': 'click'}
    mapping['events'] = {'tags': {'kind': 'multi', 'separator': '|'}}
    log = ingest([tmp_path / 'a.parquet'], make_mapping(mapping), tmp_path / 'log')
    assert log.vocabulary('user').keys.dtype == np.int64 and sorted(users(log)) == [7, 8]
    assert sorted(log.vocabulary('tags').keys.tolist()) == ['a|b', 'c']
    assert log.events['time'].tolist() in ([1, 2], [2, 1]) and log.events['click'].dtype == np.float32
    assert log.manifest['ingest']['left_out'] == {
        'missing user': {'rows': 1, 'first': ['a.parquet: row 3']},
        "missing number in 'click'": {'rows': 1, 'first': ['a.parquet: row 4']},
    }


def test_equal_hashes_do_not_merge_values(tmp_path, monkeypatch):
    monkeypatch.setattr(vocabulary, 'hash64', lambda values, seed=0: np.zeros(len(values), np.uint64))
    rows = rows_of(200)
    path = write_csv(tmp_path / 'a.csv', rows)
    found = ingest([path], make_mapping(MAPPING), tmp_path / 'found')
    assert len(set(found.vocabulary('user').keys.tolist())) == len({row['uid'] for row in rows})
    assert_same_log(found.folder, oracle(tmp_path / 'wanted', rows, [path]).folder)


def test_the_last_attribute_counts_and_changes_are_noted(tmp_path):
    mapping = PLAIN | {'items': {'columns': {'b': {'kind': 'categorical'}, 'n': {'kind': 'numeric'}}}}
    log = take(tmp_path, 'u,i,t,b,n\na,x,1,red,1\na,y,2,red,5\na,x,3,blue,1\n', mapping)
    x = log.vocabulary('item').encode(np.asarray(['x']))
    assert log.vocabulary('b').decode(log.items['b'][x]) == ['blue']
    assert log.manifest['notes'] == {'items whose b changes, the last one counts': 1}


def test_attributes_of_a_file_of_their_own(tmp_path):
    (tmp_path / 'items.csv').write_text('sku;b\nx;red\nz;green\nx;blue\n')
    mapping = PLAIN | {
        'items': {'file': str(tmp_path / 'items.csv'), 'key': 'sku', 'columns': {'b': {'kind': 'categorical'}}}
    }
    log = take(tmp_path, 'u,i,t\na,x,1\na,y,2\n', mapping)
    ids = log.vocabulary('item').encode(np.asarray(['x', 'y']))
    assert log.items['b'][ids].tolist() == [2, 1] and log.vocabulary('b').keys.tolist() == ['blue']
    assert log.manifest['counts']['items_without_attributes'] == 1
    assert log.manifest['dropped'] == {'items that occur in no event': 1}
    assert log.manifest['notes'] == {
        'items whose b changes, the last one counts': 1,
        'items listed again, the last row counts': 1,
    }
    assert [source['name'] for source in log.manifest['sources']] == ['a.csv', 'items.csv']


def test_without_users_the_log_is_a_click_log(tmp_path):
    text = 'site,size,seen,t\nA,1.5,1,30\nB,2,0,10\nA,3,1,20\n'
    mapping = {
        'label': 'seen',
        'time': {'column': 't', 'unit': 's'},
        'events': {'site': {'kind': 'categorical'}, 'size': {'kind': 'numeric'}},
    }
    log = take(tmp_path, text, mapping)
    assert isinstance(log, ClickLog)
    wanted = compile_clicks(
        tmp_path / 'wanted',
        {
            'time': np.asarray([30, 10, 20]),
            'click': np.asarray([1, 0, 1], np.float32),
            'site': np.asarray(['A', 'B', 'A']),
            'size': np.asarray([1.5, 2, 3], np.float32),
        },
        columns={'site': ColumnSpec('categorical'), 'size': ColumnSpec('numeric')},
        sources=[tmp_path / 'a.csv'],
    )
    assert_same_log(log.folder, wanted.folder)
    (tmp_path / 'b.csv').write_text('site,size,seen,t\nC,1,0,5\n')
    longer = ingest([tmp_path / 'b.csv'], make_mapping(mapping), tmp_path / 'longer', extend=log.folder)
    assert longer.vocabulary('site').decode(longer.events['site']).tolist() == ['A', 'B', 'A', 'C']
    assert longer.events['generation'].tolist() == [0, 0, 0, 1]


def test_the_same_ingest_returns_the_log_and_another_is_refused(tmp_path):
    first = take(tmp_path, 'u,i,t\na,x,1\n')
    again = take(tmp_path, 'u,i,t\na,x,1\n')
    assert again.manifest == first.manifest
    with pytest.raises(ValueError, match='holds a log of other content or settings'):
        take(tmp_path, 'u,i,t\na,x,1\nb,x,2\n')


KILLED = """
import os, sys
from jaxrec.data.ingest import blocks, chunks, ingest, load_mapping, make_mapping
blocks.BLOCK_BYTES = 4096
write, count = chunks._write_chunk, [0]
def slow(*arguments):
    write(*arguments)
    count[0] += 1
    if count[0] == 3:
        print('ready', flush=True)
        sys.stdin.read()
chunks._write_chunk = slow
ingest([sys.argv[1]], make_mapping(load_mapping(sys.argv[2])), sys.argv[3])
"""


def test_a_killed_ingest_goes_on_where_it_was(tmp_path, monkeypatch):
    rows = rows_of(600)
    path = write_csv(tmp_path / 'a.csv', rows)
    (tmp_path / 'mapping.json').write_text(json.dumps(MAPPING))
    process = subprocess.Popen(
        [sys.executable, '-c', KILLED, path, tmp_path / 'mapping.json', tmp_path / 'found'],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == b'ready\n'
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    work = tmp_path / '.found.ingest'
    made = sorted(work.glob('*.arrow'))
    assert len(made) == 3 and not (tmp_path / 'found').exists()
    old = time.time() - 1000
    for file in made:
        os.utime(file, (old, old))
    seen = []
    monkeypatch.setattr(blocks, 'BLOCK_BYTES', 4096)
    monkeypatch.setattr(chunks, 'os', type('os', (), {'replace': lambda a, b: (seen.append(b.name), os.replace(a, b))}))
    found = ingest([path], make_mapping(MAPPING), tmp_path / 'found')
    assert seen and not {file.name for file in made} & set(seen)
    assert_same_log(found.folder, oracle(tmp_path / 'wanted', rows, [path]).folder)
    assert not work.exists()


def test_an_unfinished_ingest_of_other_settings_is_not_gone_on_with(tmp_path):
    work = tmp_path / '.log.ingest'
    work.mkdir()
    (work / 'job').write_text('another')
    (work / 'events-00000-000000.arrow').write_text('not a chunk')
    assert users(take(tmp_path, 'u,i,t\na,x,1\n')) == ['a']


def test_two_ingests_into_one_folder_do_not_meet(tmp_path):
    work = tmp_path / '.log.ingest'
    work.mkdir()
    with (work / 'lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match=r'another process is ingesting into .*log: wait until it ends'):
            take(tmp_path, 'u,i,t\na,x,1\n')
    assert users(take(tmp_path, 'u,i,t\na,x,1\n')) == ['a']


def test_strict_names_the_line(tmp_path):
    with pytest.raises(ValueError, match=r'a\.csv: 1 x missing item \(a\.csv:3\); strict'):
        take(tmp_path, 'u,i,t\na,x,1\nb,,2\n', strict=True)
