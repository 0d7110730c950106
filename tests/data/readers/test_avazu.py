"""The Avazu reader on an extract in the published format, against counts that were made without it."""

import datetime
import gzip

import numpy as np
import pytest

from jaxrec.data.readers.avazu import FIELDS, compile_avazu
from jaxrec.data.sources.click_source import ClickSource
from tests.data.extracts import avazu as extract
from tests.oracles import avazu as oracle

SPLIT = {'kind': 'days', 'held_out': 1, 'validation': 0.5, 'seed': 0}


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    return extract.write(tmp_path_factory.mktemp('avazu') / 'data' / 'avazu')


@pytest.fixture(scope='module')
def log(path):
    return compile_avazu(path.parent.parent, path.parent.parent.parent / 'log')


def test_the_extract_has_the_counts_of_an_independent_script(path, log):
    expected = oracle.counts(path)
    assert expected['lines'] == 1200 == len(log) and len(expected['days']) == 10
    assert int(log.events['click'].sum()) == expected['clicks']
    assert {name: log.schema[name].rows - 2 for name in FIELDS} == expected['values']
    assert np.bincount(log.events['day'])[1:].tolist() == expected['days']
    assert len(log.schema) == 23 and log.schema['hour'].rows == 24 + 2 and log.schema['weekday'].rows == 7 + 2
    assert not log.manifest['dropped'] and not log.manifest['notes']


def test_values_decode_to_the_text_of_the_file(path, log):
    lines = list(oracle.rows(path))
    for name in FIELDS:
        decoded = log.vocabulary(name).decode(log.events[name]).tolist()
        assert decoded == [row[name] for row in lines], name
    assert '00000000' in log.vocabulary('site_id').keys and '-1' in log.vocabulary('C20').keys
    for n in (0, 600, 1199):
        instant = datetime.datetime.fromtimestamp(int(log.events['time'][n]), datetime.UTC)
        assert instant.strftime('%y%m%d%H') == lines[n]['hour']
        assert log.vocabulary('hour').decode(log.events['hour'][[n]])[0] == instant.hour
        assert log.vocabulary('weekday').decode(log.events['weekday'][[n]])[0] == instant.weekday()


def test_the_tenth_day_is_held_out(path, log):
    expected = oracle.counts(path)['days']
    examples = {
        part: ClickSource(
            log.folder,
            features={'candidate': FIELDS},
            label={'kind': 'impressions'},
            split=SPLIT,
            part=part,
            batch_size=16,
        ).examples
        for part in ('train', 'validation', 'test')
    }
    half = expected[9] // 2
    assert examples == {'train': sum(expected[:9]), 'validation': half, 'test': expected[9] - half}


def test_rare_values_and_hashed_fields(path, tmp_path):
    log = compile_avazu(path, tmp_path / 'log', min_count=3, buckets={'device_ip': 50})
    expected = oracle.counts(path, min_count=3)['values']
    assert expected['device_ip'] < oracle.counts(path)['values']['device_ip'] / 2
    sizes = {name: log.schema[name].rows - 2 for name in FIELDS}
    assert sizes == expected | {'device_ip': 50}
    assert (log.events['device_ip'] >= 2).all()


@pytest.mark.parametrize('name', ['train', 'train.csv', 'train.csv.gz'])
def test_other_packings_and_blocks_give_the_same_log(path, log, tmp_path, monkeypatch, name):
    monkeypatch.setattr('jaxrec.data.readers.csv_blocks.BLOCK_BYTES', 10_000)
    content = path.read_bytes() if name.endswith('.gz') else gzip.decompress(path.read_bytes())
    (tmp_path / name).write_bytes(content)
    again = compile_avazu(tmp_path, tmp_path / 'log')
    assert again.manifest['vocabularies'] == log.manifest['vocabularies']
    for column in log.events.names:
        np.testing.assert_array_equal(again.events[column], log.events[column])


def test_a_compiled_log_is_opened_without_reading_the_file_again(path, log, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr('jaxrec.data.readers.avazu.read_table', lambda *_: pytest.fail('read again'))
        again = compile_avazu(path.parent.parent, log.folder)
    assert again.manifest == log.manifest
    with pytest.raises(ValueError, match='of other content or settings, it will not be overwritten'):
        compile_avazu(path.parent.parent, log.folder, min_count=2)


def test_a_changed_file_is_read_again(path, log, tmp_path):
    changed = gzip.decompress(path.read_bytes()).replace(b',-1,', b',-2,')
    (tmp_path / 'train').write_bytes(changed)
    with pytest.raises(ValueError, match='will not be overwritten'):
        compile_avazu(tmp_path, log.folder)
    assert '-2' in compile_avazu(tmp_path, tmp_path / 'log').vocabulary('C20').keys
