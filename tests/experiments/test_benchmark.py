"""Benchmarks run on small shapes and print the promised keys; how fast they are is nobody's test."""

import json

import pytest

from experiments import benchmark
from experiments.benchmarks import can, ingest, loader, tables, timing

KEYS = {
    'task',
    'shapes',
    'params',
    'step_ms',
    'examples_per_s',
    'peak_rss_mb',
    'windows',
    'min_ms',
    'max_ms',
    'device',
    'versions',
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(timing, 'WINDOWS', 5)
    monkeypatch.setattr(timing, 'WINDOW_S', 0.01)
    for module, name, value in (
        (can, 'BATCH', 16), (can, 'LENGTH', 4), (can, 'ITEMS', 50), (can, 'CATEGORIES', 9),
        (tables, 'BATCH', 16), (tables, 'IDS', 3), (loader, 'BATCH', 32), (loader, 'LENGTH', 5),
        (loader, 'WORLD', {'users': 40, 'items': 50, 'impressions': 20, 'categories': 5}),
        (loader, 'LIFELONG_WORLD', {'users': 40, 'items': 50, 'impressions': 40, 'categories': 5}),
        (loader, 'SHORT', 3), (loader, 'LONG', 7), (loader, 'KEPT', 2),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize(
    'run',
    [
        lambda: can.train('can_train'),
        lambda: can.train('can_train_lazy_adam', 'lazy_adam'),
        lambda: can.train('can_dien_train', base='dien'),
        lambda: can.infer('can_infer'),
        lambda: can.infer('can_din_infer', base='din'),
        lambda: loader.run('loader_ctr'),
        lambda: loader.lifelong('loader_hard'),
        lambda: loader.lifelong('loader_long', None),
        lambda: tables.train('tables_train', 200, 4, strategy='scratch'),
    ],
)
def test_a_record_has_the_keys_and_sane_figures(run, capsys):
    timing.emit(run())
    line = json.loads(capsys.readouterr().out)
    assert KEYS <= line.keys()
    assert 0 < line['min_ms'] <= line['step_ms'] <= line['max_ms'] and line['windows'] == 5


def test_the_record_of_an_ingest_is_of_the_command(capsys):
    timing.emit(ingest.run('ingest', rows=2_000, runs=1))
    line = json.loads(capsys.readouterr().out)
    assert KEYS <= line.keys() and line['windows'] == 1 and line['peak_rss_mb'] > 50
    assert line['examples_per_s'] == pytest.approx(2_000_000 / line['step_ms'], rel=1e-3)


def test_temporaries_do_not_grow_with_the_table():
    lines = [tables.train('tables_train', rows, 4, strategy='scratch') for rows in (200, 20_000)]
    assert lines[0]['temp_mb'] == lines[1]['temp_mb'] and lines[0]['strategy'] == 'scratch'
    assert tables.train('tables_train', 100, 4)['strategy'] == 'dense'


def test_the_promised_names_exist():
    wanted = {
        'can_train',
        'can_din_train',
        'can_dien_train',
        'can_infer',
        'can_din_infer',
        'tables_train_100k',
        'tables_train_1m',
        'tables_train_10m',
        'tables_train_100m_d16',
        'loader_ctr',
        'loader_hard',
        'loader_long',
        'ingest_1m',
        'ingest_10m',
    }
    assert wanted <= benchmark.BENCHMARKS.keys()
