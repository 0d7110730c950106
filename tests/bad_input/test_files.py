"""Damaged, missing and foreign files."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.columns import ColumnStore, write_columns
from jaxrec.data.simulators.ctr import simulate
from jaxrec.data.sources.from_config import open_log
from jaxrec.runs.workdir import read_config
from jaxrec.training.writers import read_metrics
from tests.bad_input.worlds import Case, assert_refused, edit_json, save


def spoil(path: str, change: Callable[[str], str], call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Rewrites a text file of the workdir before the call."""

    def spoiled(world: Any) -> Any:
        file = world.workdir / path
        file.write_text(change(file.read_text()))
        return call(world)

    return spoiled


def cut_column(world: Any) -> Any:
    file = world.log / 'events' / 'item.npy'
    file.write_bytes(file.read_bytes()[:-8])
    return BehaviourLog(world.log)


def drop_file(name: str) -> Callable[[Any], Any]:
    def call(world: Any) -> Any:
        (world.log / name).unlink()
        return BehaviourLog(world.log)

    return call


def old_version(world: Any) -> Any:
    edit_json(world.log / 'manifest.json', version=0)
    return BehaviourLog(world.log)


def open_(**described: Any) -> Callable[[Any], Any]:
    return lambda world: open_log(described, world.log)


CASES: dict[str, Case] = {
    'cut column': (cut_column, r'events/item\.npy has \d+ bytes instead of \d+', r'delete the folder and compile'),
    'no manifest': (drop_file('manifest.json'), r'manifest\.json is missing', r'use `compile_log`'),
    'no column': (drop_file('events/click.npy'), r'events/click\.npy is missing', r'compile it again'),
    'another version': (old_version, r'manifest\.json is .*version 0, this library reads', r'compile the log again'),
    'log of another world': (
        lambda world: simulate(world.log, users=9, items=50, categories=5, seed=1),
        r'log holds a log of other content',
        r'delete it or give another folder',
    ),
    'damaged metrics': (
        spoil(
            'metrics.jsonl', lambda text: text.replace('{', '', 1), lambda w: read_metrics(w.workdir / 'metrics.jsonl')
        ),
        r'metrics\.jsonl:1 is not a JSON line',
        r'remove the line, or start a new workdir',
    ),
    'no config': (
        lambda world: read_config(str(world.log / 'config.json')),
        r'config\.json is missing',
        r'jaxrec train',
    ),
    'arguments that do not fit': (
        open_(log='jaxrec.data.readers.movielens:compile_movielens', arguments={'folder_name': 'x'}),
        r'arguments do not fit .*compile_movielens',
        r'it takes data_dir',
    ),
}

# Damage to the folder of a compiled log, the file that the error names, and the remedy.
FILES: dict[str, Case] = {
    'no manifest': (lambda f: (f / 'manifest.json').unlink(), 'manifest.json', 'compile_log'),
    'cut manifest': (
        lambda f: (f / 'manifest.json').write_text((f / 'manifest.json').read_text()[:50]),
        'manifest.json',
        'compile the log again',
    ),
    'other format': (
        lambda f: edit_json(f / 'manifest.json', format='click_log'),
        'manifest.json is click_log',
        'compile the log again',
    ),
    'other version': (lambda f: edit_json(f / 'manifest.json', version=99), 'version 99', 'compile the log again'),
    'manifest without schema': (
        lambda f: (f / 'manifest.json').write_text('{"format": "jaxrec.behaviour_log", "version": 1}'),
        'lacks counts, fingerprint, schema',
        'compile the log again',
    ),
    'other number of events': (
        lambda f: edit_json(f / 'manifest.json', counts={'events': 7}),
        'events has 600 rows',
        'compile the log again',
    ),
    'no description': (lambda f: (f / 'items' / 'columns.json').unlink(), 'items/columns.json', 'compile it again'),
    'broken description': (
        lambda f: (f / 'items' / 'columns.json').write_text('{'),
        'items/columns.json is damaged',
        'compile it again',
    ),
    'missing column': (
        lambda f: (f / 'events' / 'item.npy').unlink(),
        'events/item.npy is missing',
        'compile it again',
    ),
    'truncated column': (
        lambda f: (f / 'events' / 'item.npy').write_bytes((f / 'events' / 'item.npy').read_bytes()[:-4]),
        'events/item.npy has 2524 bytes instead of 2528',
        'compile it again',
    ),
    'not an array': (
        lambda f: (f / 'events' / 'item.npy').write_text('user,item\n'),
        'events/item.npy is not a readable .npy file',
        'compile it again',
    ),
    'other dtype': (
        lambda f: save(f / 'events' / 'time.npy', lambda a: a.astype(np.float64)),
        'events/time.npy holds <f8',
        'compile it again',
    ),
    'other length': (
        lambda f: save(f / 'events' / 'time.npy', lambda a: a[:-1]),
        r'events/time.npy holds <i8 \[599\]',
        'compile it again',
    ),
    'cut offsets': (
        lambda f: save(f / 'items' / 'genres.offsets.npy', lambda a: a[:-1]),
        'items/genres.offsets.npy holds',
        'compile it again',
    ),
    'id above the vocabulary': (
        lambda f: save(f / 'events' / 'item.npy', lambda a: np.where(a == a.max(), 99, a).astype(np.int32)),
        "events/item holds ids 2..99 but vocabulary 'item' has rows 0..41",
        'compile the log again',
    ),
    'negative id': (
        lambda f: save(f / 'items' / 'genres.values.npy', lambda a: -a),
        "items/genres holds ids -4..-2 but vocabulary 'genres'",
        'compile the log again',
    ),
}


@pytest.mark.parametrize('name', CASES)
def test_bad_files_of_a_run(world, name):
    assert_refused(CASES[name], world)


@pytest.mark.parametrize('name', FILES)
def test_damaged_files(log, name):
    damage, place, remedy = FILES[name]
    damage(log.folder)
    assert_refused((BehaviourLog, place, remedy), log.folder)


@pytest.mark.parametrize(
    ('damage', 'place'),
    [
        (lambda f: (f / 'vocab' / 'item.npy').unlink(), 'vocab/item.npy'),
        (lambda f: save(f / 'vocab' / 'item.npy', lambda a: a[:-1]), 'vocab/item.npy has 39 values'),
        (lambda f: (f / 'vocab' / 'item.json').write_text('{}'), "vocabulary 'item' cannot be read"),
    ],
)
def test_damaged_vocabularies(log, damage, place):
    damage(log.folder)
    assert_refused((log.vocabulary, place, 'compile it again'), 'item')


@pytest.mark.parametrize('damage', [lambda p: p.unlink(), lambda p: save(p, lambda a: a[:-1])])
def test_damaged_user_offsets(log, damage):
    damage(log.folder / 'events' / 'user.offsets.npy')
    with pytest.raises(ValueError, match=r'user.offsets.npy .*compile the log again'):
        BehaviourLog(log.folder).user_offsets  # noqa: B018 - read for its error


def test_stores_refuse_columns_of_unequal_length(tmp_path):
    with pytest.raises(ValueError, match='unequal lengths'):
        write_columns(tmp_path, {'a': np.zeros(3), 'b': np.zeros(4)})
    with pytest.raises(ValueError, match=r'columns.json is missing'):
        ColumnStore(tmp_path)
