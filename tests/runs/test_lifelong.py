"""Lifelong histories and time gaps from a config to the batches of training, evaluation and new rows."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxrec.data.ingest import ingest, make_mapping
from jaxrec.data.ingest.rows import RowReader
from jaxrec.options import lay_over
from jaxrec.runs import predict as scoring
from jaxrec.runs.build import build
from tests.runs.custom_logs import MAPPING, config_of, write_day
from tests.runs.worlds import tiny, tiny_sim

HARD = {'length': 12, 'search': 'hard', 'keep': 3, 'column': 'brand'}
GAP = {'unit': 60, 'buckets': 12}


def test_a_config_says_what_batches_hold(tmp_path):
    config = tiny('DIN', tmp_path)
    config.data.history_length = 2
    config.data.lifelong = ConfigDict({'length': 6, 'sample': 3})
    config.data.time_gap = ConfigDict({'unit': 1, 'buckets': 8})
    run = build(config)
    train, test = run.source('train', shuffle=True)[0], run.source('test')[0]
    assert train['long/item'].shape == train['long/gap'].shape == (32, 3)
    assert test['long/item'].shape == test['long/gap'].shape == (64, 6)
    assert test['history/gap'].shape == (64, 2) and test['long/length'].max() == 6
    builder = scoring.request_builder(run, run.log)
    rows = test['host/event'][test['valid'] > 0]
    columns = {name: run.log.events[name][rows] for name in builder.row_columns}
    found = builder.build(columns, run.log.events['time'][rows])
    for name in ('history/gap', 'long/item', 'long/gap', 'long/length'):
        np.testing.assert_array_equal(found[name], test[name][: len(rows)], err_msg=name)


@pytest.mark.parametrize(
    ('row', 'section', 'changes', 'message'),
    [
        ('SIM-hard', 'lifelong', {'column': 'item'}, r"data\.lifelong\.column = 'item' .* model\.column = 'cat"),
        ('SIM-soft', 'lifelong', {'search': 'hard', 'keep': 5}, r'set data\.lifelong\.search = None, or model'),
        ('SIM-soft+time', 'time_gap', None, r'model\.time_gap .* give data\.time_gap'),
        ('DIN-full', 'lifelong', None, r'give data\.lifelong a window'),
    ],
)
def test_loader_and_model_that_are_told_different_things_do_not_build(row, section, changes, message, tmp_path_factory):
    config = tiny_sim(row, tmp_path_factory.getbasetemp() / 'told')
    lay_over(config.data, {section: changes})
    with pytest.raises(ValueError, match=message):
        build(config)


def test_pairs_have_the_same_ids_beside_a_lifelong_history(tmp_path):
    config = tiny('Cartesian', tmp_path)
    alone = build(config).source('train', shuffle=True)
    config.data.lifelong = ConfigDict({'length': 6, 'search': 'hard', 'column': 'category'})
    beside = build(config).source('train', shuffle=True)
    assert 'kept/item' in beside[0]
    np.testing.assert_array_equal(beside[0]['cartesian/itemxitem'], alone[0]['cartesian/itemxitem'])


@pytest.fixture(scope='module')
def days(tmp_path_factory):
    """A run on the log of one day, and the log of two days, which has new users and items."""
    root = tmp_path_factory.mktemp('own')
    files = [write_day(root / 'day1.csv', 1, 600, 10, 20), write_day(root / 'day2.csv', 2, 500, 12, 40)]
    first = ingest([files[0]], make_mapping(MAPPING), root / 'log1')
    second = ingest([files[1]], make_mapping(MAPPING), root / 'log2', extend=first.folder)
    config = config_of(first, 'DNN')
    config.data.lifelong, config.data.time_gap = ConfigDict(HARD), ConfigDict(GAP)
    return files, build(config), second


def read(files, mapping, log, builder):
    (rows,) = RowReader([files[1]], make_mapping(mapping), log, builder.row_columns).blocks()
    return rows


def test_new_rows_of_a_file(days):
    files, run, second = days
    builder = scoring.request_builder(run, second)
    rows = read(files, MAPPING, second, builder)
    batch = builder.build(rows.columns, rows.times)
    assert batch['kept/item'].shape == batch['kept/gap'].shape == (500, 1, 3)
    kept = np.arange(3) < batch['kept/length'][..., None]
    brands = np.broadcast_to(batch['candidate/brand'][..., None], kept.shape)
    assert kept.mean() > 0.5 and (batch['kept/brand'][kept] == brands[kept]).all()
    assert (batch['kept/gap'] > 0).tolist() == kept.tolist()


def test_ids_that_the_model_does_not_know_are_known_to_no_side(days):
    files, run, second = days
    builder = scoring.request_builder(run, second)
    rows = read(files, MAPPING, second, builder)
    batch, known = builder.build(rows.columns, rows.times), run.log.schema['item'].rows
    gaps = batch['kept/gap'].copy()
    assert batch['kept/item'].max() >= known and batch['history/item'].max() >= known
    newer = scoring.limit_ids(run, batch)
    assert newer['item'] == (rows.columns['item'] >= known).sum()  # candidates alone are counted
    assert batch['kept/item'].max() < known and batch['history/item'].max() < known
    np.testing.assert_array_equal(batch['kept/gap'], gaps)


def test_rows_without_times_are_refused(days):
    files, run, second = days
    builder = scoring.request_builder(run, second)
    rows = read(files, {name: value for name, value in MAPPING.items() if name != 'time'}, second, builder)
    with pytest.raises(ValueError, match=r'data\.time_gap counts back .* add the column of times to the rows'):
        builder.build(rows.columns, rows.times)
