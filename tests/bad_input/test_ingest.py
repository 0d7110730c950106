"""Bad files, mappings and folders of `jaxrec ingest`: each error names the place and the remedy."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxrec.data.ingest import blocks, ingest, load_mapping, make_mapping
from jaxrec.data.ingest.mapping import parse_column

PLAIN: dict[str, Any] = {'user': 'u', 'item': 'i', 'time': {'column': 't', 'unit': 's'}}
GOOD = 'u,i,t\nann,x,1\nbob,y,2\n'


def file(content: str | bytes, name: str = 'a.csv', /, **mapping: Any) -> Callable[[Any], Any]:
    """Ingests one file with some keys of the mapping changed."""

    def call(folder: Any) -> Any:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return ingest([path], make_mapping(PLAIN | mapping), folder / 'log')

    return call


def parquet(columns: dict[str, Any], **mapping: Any) -> Callable[[Any], Any]:
    def call(folder: Any) -> Any:
        pq.write_table(pa.table(columns), folder / 'a.parquet')
        return ingest([folder / 'a.parquet'], make_mapping(PLAIN | mapping), folder / 'log')

    return call


def mapping(**changes: Any) -> Callable[[Any], Any]:
    return lambda folder: make_mapping(PLAIN | changes)


def text_mapping(text: str | bytes) -> Callable[[Any], Any]:
    def call(folder: Any) -> Any:
        (folder / 'mapping.json').write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_mapping(folder / 'mapping.json')

    return call


def inputs(*names: str) -> Callable[[Any], Any]:
    def call(folder: Any) -> Any:
        (folder / 'a.csv').write_text(GOOD)
        (folder / 'a.json').write_text('{}')
        return ingest([folder / name for name in names], make_mapping(PLAIN), folder / 'log')

    return call


def twice(folder: Any, **changes: Any) -> Any:
    """Extends a log by files that do not fit it."""
    (folder / 'a.csv').write_text(GOOD)
    base = ingest([folder / 'a.csv'], make_mapping(PLAIN), folder / 'base')
    return ingest([folder / 'a.csv'], make_mapping(PLAIN | changes), folder / 'log', extend=base.folder)


def into_something_else(folder: Any) -> Any:
    (folder / 'log').mkdir()
    (folder / 'log' / 'thesis.txt').write_text('years of work')
    return file(GOOD)(folder)


def side(text: str) -> Callable[[Any], Any]:
    def call(folder: Any) -> Any:
        (folder / 'items.csv').write_text(text)
        given = {'file': str(folder / 'items.csv'), 'columns': {'b': {'kind': 'categorical'}}}
        return file(GOOD, items=given)(folder)

    return call


HUGE = 'u,i,t\nann,"' + 'x' * 5000 + ',1\n' + 'bob,y,2\n' * 3000
# What is done, the place that the error must name, and the remedy.
FILES = {
    'an absent file': (inputs('b.csv'), 'b.csv does not exist', 'check the path'),
    'a pattern without files': (inputs('b-*.csv'), 'b-*.csv', 'matches no file'),
    'a file twice': (inputs('a.csv', 'a.csv'), 'a.csv is given twice', 'name it once'),
    'an unknown kind': (inputs('a.json'), 'a.json is of an unknown kind', 'give .csv'),
    'a folder': (lambda f: ingest([f], make_mapping(PLAIN), f / 'log'), 'is not a file', '*.csv'),
    'an empty file': (file(''), 'a.csv is empty (0 bytes)', 'remove it'),
    'a header alone': (file('u,i,t\n'), 'the files have no rows', 'check inputs'),
    'an empty first line': (file('\nu,i,t\na,x,1\n'), 'a.csv:1 is an empty line', 'must be the header'),
    'a missing column': (file('u,item,t\na,x,1\n'), "a.csv:1 has no column 'i'", 'correct the mapping'),
    'a misspelt column': (file(GOOD, user='U'), "no column 'U'", 'It has u, i, t'.lower()),
    'a column twice': (file('u,u,i,t\na,b,x,1\n'), "two columns 'u'", 'rename one'),
    'mixed delimiters': (
        file('u,i,t\nann,x,1\nbob;y;2\n'),
        "a.csv:3 is delimited by ';' where line 1 is delimited by ','",
        '--delimiter',
    ),
    'mixed delimiters behind an empty line': (file('u,i,t\n\nann,x,1\nbob;y;2\n'), 'a.csv:4', 'with one'),
    'another delimiter than given': (file(GOOD, format={'delimiter': ';'}), "has no column 'u'", 'give the delimiter'),
    'latin-1 without saying so': (
        file('u,i,t\nJos\xe9,x,1\n'.encode('latin-1')),
        "'user' is no UTF-8 text (a.csv:2)",
        'check the mapping',
    ),
    'a latin-1 header': (file('\xfc,i,t\na,x,1\n'.encode('latin-1')), 'a.csv:1 is not UTF-8', '--encoding'),
    'UTF-16 without saying so': (file(GOOD.encode('utf-16')), 'a.csv is UTF-16', '--encoding=utf-16'),
    'bytes of no character': (
        file(b'u,i,t\nann,x,1\nb\x81,y,2\n', format={'encoding': 'cp1252'}),
        'a.csv:3 holds bytes that are no',
        'right encoding',
    ),
    'an unclosed quote in a long file': (file(HUGE * 2), 'a row after record 2 does not end', 'close its quote'),
    'an unclosed quote': (
        file('u,i,t\nann,x,1\nbob,"y,2\ncid,z,3\n'),
        'a.csv:3 opens a quote that is not closed before the end of the file, 2 lines later',
        'close it',
    ),
    'a huge field alone': (
        file('u,i,t\nann,' + 'x' * 3000 + ',1\n'),
        "'item' longer than 128 characters (a.csv:2)",
        'check the mapping',
    ),
    'a header of one huge line': (file('u' * (1 << 21)), 'a.csv:1 is longer than', 'a header?'),
    'a Parquet file by another name': (file(b'PAR1....PAR1'), 'a Parquet file by its content', 'rename it'),
    'no Parquet file': (file(GOOD, 'a.parquet'), 'neither Parquet nor gzip', 'rename it'),
    'a cut Parquet file': (file(b'PAR1' + b'\0' * 40, 'a.parquet'), 'cannot be read as Parquet', 'write it again'),
    'no gzip file': (file(GOOD, 'a.csv.gz'), 'a.csv.gz is neither', 'rename it'),
    'a cut gzip file': (
        file(gzip.compress(GOOD.encode())[:-9], 'a.csv.gz'),
        'a.csv.gz cannot be decompressed',
        'get it again',
    ),
    'times in words': (file('u,i,t\nann,x,today\n'), 'unreadable time (a.csv:2)', 'check the mapping'),
    'times of another unit': (
        file(GOOD, time={'column': 't', 'unit': 'iso'}),
        'unreadable time (a.csv:2, a.csv:3)',
        'check the mapping',
    ),
    'times without a unit': (file(GOOD, time='t'), "a.csv: column 't' holds binary", 'say time.unit'),
    'dates with a unit': (
        parquet({'u': ['a'], 'i': ['x'], 't': np.asarray(['2017-11-25'], 'datetime64[s]')}),
        "a.parquet: column 't' holds timestamp[ms]",
        'take out time.unit',
    ),
    'fractions as ids': (
        parquet({'u': [1.5], 'i': ['x'], 't': [1]}),
        "a.parquet: column 'u' holds double, and 'user' wants texts or integers",
        'convert the column',
    ),
    'lists as ids': (parquet({'u': [['a']], 'i': ['x'], 't': [1]}), "column 'u' holds list", 'convert'),
    'a missing Parquet column': (parquet({'u': ['a'], 't': [1]}), "no column 'i'", 'correct the mapping'),
    'no list of all columns': (
        file('ann,x,1,9\n', format={'header': ['u', 'i', 't']}),
        'a.csv:1 has another number of columns',
        'list all columns',
    ),
    'a side file without the key': (side('sku,b\nx,red\n'), "items.csv:1 has no column 'i'", 'correct'),
    'a side file without rows': (side('i,b\n'), 'items.csv has no usable row', 'leave it out'),
    'a folder of something else': (into_something_else, 'log exists and is no', 'give another folder'),
    'another base': (
        lambda f: twice(f, item={'column': 'i', 'min_count': 2}),
        "min_count 1 for column 'item', the mapping has kind categorical, min_count 2",
        'give the mapping of that log',
    ),
    'a base of other types': (
        lambda f: twice(f, user={'column': 'u', 'type': 'integer'}),
        "'user' has type integer, it was string",
        'give it that type',
    ),
    'no base': (
        lambda f: ingest([_write(f)], make_mapping(PLAIN), f / 'log', extend=f / 'nothing'),
        'manifest.json is missing',
        'compile_log',
    ),
}


def _write(folder: Any) -> Any:
    (folder / 'a.csv').write_text(GOOD)
    return folder / 'a.csv'


MAPPINGS = {
    'an absent mapping': (lambda f: load_mapping(f / 'm.json'), 'm.json does not exist', '--user'),
    'no JSON': (text_mapping('{"user": "u",\n"item": }'), 'mapping.json:2 is no JSON', 'mend that line'),
    'a list': (text_mapping('["u"]'), 'mapping.json is a list', 'JSON object'),
    'a mapping in latin-1': (text_mapping(b'{"user": "\xfc"}'), 'is not UTF-8', 'save it as UTF-8'),
    'an unknown key': (mapping(itmes={}), "mapping.itmes is not a key of a mapping; did you mean 'items'?", 'allowed'),
    'no item': (mapping(item=None), "has no 'item'", '--item=column'),
    'neither user nor label': (mapping(user=None), "neither 'user' nor 'label'", '--user=column'),
    'attributes of nobody': (
        mapping(user=None, label='c', users={'columns': {'b': {'kind': 'numeric'}}}),
        "users in a mapping without 'user'",
        'list them under events',
    ),
    'an unknown unit': (mapping(time={'column': 't', 'unit': 'h'}), "time.unit is 'h'", 'use one of s, ms'),
    'an unknown kind': (mapping(events={'p': {'kind': 'text'}}), "events.p: column kind 'text'", 'use one of'),
    'no kind': (mapping(events={'p': {}}), 'events.p.kind is missing', 'say categorical'),
    'no separator': (mapping(events={'p': {'kind': 'multi'}}), 'events.p.separator is None', '"|"'),
    'an unknown option': (
        mapping(events={'p': {'kind': 'numeric', 'bucket': 3}}),
        "events.p.bucket is not a key of a mapping; did you mean 'buckets'?",
        'allowed',
    ),
    'half a row': (mapping(item={'column': 'i', 'min_count': 1.5}), 'item.min_count is 1.5', 'whole number'),
    'a floor for users': (mapping(user={'column': 'u', 'min_count': 2}), 'user.min_count', 'allowed'),
    'an unsafe name': (mapping(events={'a/b': {'kind': 'numeric'}}), "'a/b' cannot name a column", 'letters'),
    'a name of ours': (mapping(events={'time': {'kind': 'numeric'}}), "'time' cannot name", '"column"'),
    'one name twice': (
        mapping(events={'p': {'kind': 'numeric'}}, users={'columns': {'p': {'kind': 'numeric'}}}),
        "'p' occurs in events and in users",
        'rename one',
    ),
    'hashed items with attributes': (
        mapping(item={'column': 'i', 'buckets': 9}, items={'columns': {'b': {'kind': 'numeric'}}}),
        'item.buckets with attributes',
        'take out one',
    ),
    'a disagreeing vocabulary': (
        mapping(events={'p': {'kind': 'categorical', 'vocabulary': 'item', 'buckets': 4}}),
        "share vocabulary 'item'",
        'give them the same',
    ),
    'a long delimiter': (mapping(format={'delimiter': '::'}), "format.delimiter is '::'", 'one ASCII'),
    'an unknown encoding': (mapping(format={'encoding': 'utf-9'}), "format.encoding is 'utf-9'", 'latin-1'),
    'nothing positive': (mapping(label={'column': 'c', 'positive': []}), 'label.positive', '["buy"]'),
    'a file without columns': (mapping(items={'file': 'items.csv'}), 'items has no columns', 'name the'),
    'a key without a file': (
        mapping(items={'key': 'i', 'columns': {'b': {'kind': 'numeric'}}}),
        'items has no file',
        'say which file',
    ),
    'a flag without a kind': (lambda f: parse_column('tags', '--context=tags'), '--context=tags', 'column:kind'),
}


@pytest.mark.parametrize('name', [*FILES, *MAPPINGS])
def test_the_error_names_the_place_and_the_remedy(tmp_path, monkeypatch, name):
    monkeypatch.setattr(blocks, 'BLOCK_BYTES', 16_384)
    call, place, remedy = (FILES | MAPPINGS)[name]
    with pytest.raises(ValueError) as error:
        call(tmp_path)
    assert place in str(error.value) and remedy in str(error.value), error.value
    assert not (tmp_path / 'log' / 'manifest.json').exists()


def test_a_mapping_of_a_side_file_is_relative_to_it(tmp_path):
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'sub' / 'm.json').write_text(json.dumps(PLAIN | {'items': {'file': 'items.csv'}}))
    assert load_mapping(tmp_path / 'sub' / 'm.json')['items']['file'] == str(tmp_path / 'sub' / 'items.csv')
