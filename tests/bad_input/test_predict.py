"""Bad rows, checkpoints, logs and scorers of `predict` and `export`: place and remedy are named."""

import json
import pathlib
import shutil
import types
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jaxrec.data.ingest import ingest, make_mapping
from jaxrec.data.ingest.rows import RowReader
from jaxrec.data.simulators.ctr import simulate
from jaxrec.data.sources.splits import make_split
from jaxrec.runs import fit as running
from jaxrec.runs import predict as scoring
from jaxrec.runs import restore as restoring
from jaxrec.runs.build import build
from jaxrec.runs.row_files import RowWriter
from jaxrec.runs.workdir import read_config
from jaxrec.training.export import export_scorer, load_scorer
from tests.runs.custom_logs import MAPPING, config_of, write_day
from tests.runs.worlds import WORLD

ROWS = 'uid,sku,ts,place,price\nu1,i1,260000,p1,2\n'


class World:
    """A run of LR on a log of one's own and its scorer; a case may damage its copy."""

    def __init__(self, root: pathlib.Path):
        day = write_day(root / 'day1.csv', 1, 300, 10, 20)
        self.log = ingest([day], make_mapping(MAPPING), root / 'log')
        self.kept = root / 'run'
        self.run = build(config_of(self.log, 'LR'))
        running.fit(self.run, self.kept)
        state, _ = restoring.restore_model(self.run, self.kept)
        self.batch = self.run.source('test')[0]
        self.state, self.scorer = state, root / 'scorer.jaxexport'
        export_scorer(self.scorer, self.run.setup, state, self.batch)

    def at(self, folder: pathlib.Path) -> Any:
        copy = types.SimpleNamespace(**vars(self), folder=folder, workdir=folder / 'run')
        shutil.copytree(self.kept, copy.workdir)
        copy.scorer = pathlib.Path(shutil.copy(self.scorer, folder))
        return copy


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    return World(tmp_path_factory.mktemp('world'))


def rows(text: str, strict: bool = False, keep: Any = None, **mapping: Any) -> Callable[[Any], Any]:
    """Reads rows to be scored."""

    def call(world: Any) -> Any:
        path = world.folder / 'new.csv'
        path.write_text(text)
        builder = scoring.request_builder(world.run, world.log)
        given = make_mapping(MAPPING | mapping) if mapping else scoring.row_mapping(world.log, None)
        reader = RowReader([path], given, world.log, builder.row_columns, keep)
        return list(reader.blocks(strict))

    return call


def write(name: str, *batches: Any) -> Callable[[Any], Any]:
    def call(world: Any) -> Any:
        with RowWriter(world.folder / name) as writer:
            for batch in batches:
                writer.write(batch)

    return call


def call(**changes: Any) -> Callable[[Any], Any]:
    """Calls the scorer with some inputs changed; None leaves one out."""

    def score(world: Any) -> Any:
        batch = {key: value for key, value in world.batch.items() if key not in changes}
        batch |= {k: change(world.batch[k]) for k, change in changes.items() if change is not None}
        return load_scorer(world.scorer)(batch)

    return score


def other_log(world: Any) -> Any:
    day = write_day(world.folder / 'other.csv', 9, 50, 10, 20)
    log = ingest([day], make_mapping(MAPPING), world.folder / 'other')
    return scoring.history_log(world.run, str(log.folder))


def log_without_columns(world: Any) -> Any:
    log = simulate(world.folder / 'simulated', **WORLD)
    return scoring.history_log(world.run, str(log.folder))


def by_names_alone(world: Any) -> Any:
    return scoring.row_mapping(simulate(world.folder / 'simulated', **WORLD), None)


def start(change: Callable[[Any], None]) -> Callable[[Any], Any]:
    """Starts a run from the world's after something was done to it."""

    def warm(world: Any) -> Any:
        config = config_of(world.log, 'LR', init_from=str(world.workdir))
        change(types.SimpleNamespace(**vars(world), config=config))
        return running.fit(build(config), world.folder / 'next')

    return warm


def other_model(world: Any) -> None:
    world.config.task, world.config.model = ('jaxrec.models.baselines.dnn:make_task', {'dim': 4, 'widths': (8,)})


def later_log(world: Any) -> None:
    """The run's own log is the longer one: it cannot start a run on the shorter."""
    day = write_day(world.folder / 'day2.csv', 2, 200, 30, 40)
    log = ingest([day], make_mapping(MAPPING), world.folder / 'log2', extend=world.log.folder)
    path = world.workdir / 'config.json'
    config = json.loads(path.read_text())
    config['data']['arguments']['path'] = str(log.folder)
    path.write_text(json.dumps(config))


def cut(world: Any) -> Any:
    world.scorer.write_bytes(world.scorer.read_bytes()[:-200])
    return load_scorer(world.scorer)


def other_format(world: Any) -> Any:
    with zipfile.ZipFile(world.scorer, 'w') as file:
        file.writestr('manifest.json', '{"format": "onnx", "version": 3}')
    return load_scorer(world.scorer)


def eight_devices(world: Any) -> Any:
    config = world.run.config.copy_and_resolve_references()
    config.mesh = (8, 1)
    return export_scorer(world.folder / 's', build(config).setup, world.state, world.batch)


CASES = {
    'no column of the user': (rows('sku,ts,place,price\n'), "new.csv:1 has no column 'uid'", 'correct the mapping'),
    'no column that the model reads': (rows('uid,sku,ts,price\n'), "no column 'place'", 'correct'),
    'no such column to keep': (rows(ROWS, keep=['id']), "new.csv:1 has no column 'id'", 'it has uid'),
    'a mapping without a feature': (
        rows(ROWS, events={'price': {'kind': 'numeric'}}),
        "the model reads column 'place', which the mapping does not name",
        'add it',
    ),
    'bad rows under strict': (
        rows(ROWS + 'u1,i1,soon,p1,2\n', strict=True),
        'new.csv:3: unreadable time',
        'leave out --strict',
    ),
    'mixed delimiters': (rows(ROWS + 'u1;i1;3;p1;2\n'), 'new.csv:3 is delimited by', '--delimiter'),
    'an empty file': (rows(''), 'new.csv is empty', 'remove it'),
    'a log without a mapping': (by_names_alone, 'was not made by ingest', 'give --mapping'),
    'another log': (other_log, 'does not extend that of', '--extend='),
    'a log without the columns': (log_without_columns, "has no column 'brand'", '--extend='),
    'a split by ingests of a log of one': (
        lambda w: make_split({'kind': 'latest_generation'})(w.log, None),
        'extends no other log',
        'ingest the new files with --extend',
    ),
    'no log': (lambda w: scoring.history_log(w.run, str(w.folder)), 'is no log', '`jaxrec ingest`'),
    'no workdir': (lambda w: read_config(str(w.folder / 'config.json')), 'config.json is missing', 'a workdir'),
    'no checkpoint': (
        lambda w: restoring.restore_model(w.run, w.folder / 'nothing'),
        'holds no checkpoint',
        'Train first',
    ),
    'no such step': (
        lambda w: restoring.restore_model(w.run, w.workdir, 999),
        'no checkpoint of step 999',
        'name one of them',
    ),
    'an unknown output': (write('scores.txt'), 'scores.txt', 'ends in .csv, .parquet or .jsonl'),
    'an output without a folder': (write('no/scores.csv'), 'does not exist', 'make it first'),
    'nothing to write': (write('scores.csv'), 'there is no row to write', 'check input'),
    'a warm start from nothing': (
        start(lambda w: shutil.rmtree(w.workdir)),
        'config.json is missing',
        'give a workdir',
    ),
    'a warm start of another model': (start(other_model), 'is of another model', 'Use the config'),
    'a warm start on a shorter log': (start(later_log), 'does not extend that of', 'train anew'),
    'a missing input': (call(**{'candidate/item': None}), "lacks input 'candidate/item'", 'the scorer reads'),
    'another width': (
        call(**{'candidate/item': lambda a: np.repeat(a, 2, 1)}),
        "input 'candidate/item' is int32 [64, 2], the scorer reads int32 ['b', 1]",
        'cast, pad or cut',
    ),
    'another dtype': (call(**{'candidate/item': lambda a: a.astype(np.int64)}), 'is int64 [64, 1]', 'cast'),
    'an id out of range': (call(**{'candidate/item': lambda a: a + 1000}), 'outside [0, 22)', 'to 1'),
    'unequal lengths': (call(**{'candidate/item': lambda a: a[:3]}), 'unequal lengths', "'candidate/item': 3"),
    'an absent scorer': (lambda w: load_scorer(w.folder / 'x'), 'x does not exist', '`jaxrec export`'),
    'a cut scorer': (cut, 'is no scorer or a damaged one', 'export it again'),
    'a scorer of another kind': (other_format, 'is onnx version 3', 'export it again'),
    'a scorer on many devices': (eight_devices, 'this mesh has 8', 'mesh (1, 1)'),
}


@pytest.mark.parametrize('name', CASES)
def test_the_error_names_the_place_and_the_remedy(trained, tmp_path, name):
    do, place, remedy = CASES[name]
    with pytest.raises(ValueError) as error:
        do(trained.at(tmp_path))
    assert place in str(error.value) and remedy in str(error.value), error.value


def test_an_output_of_a_failed_run_is_not_left_behind(tmp_path):
    with pytest.raises(ValueError, match='later'), RowWriter(tmp_path / 'a.csv') as writer:
        writer.write(pa.RecordBatch.from_pydict({'a': [1]}))
        raise ValueError('later')
    assert list(tmp_path.iterdir()) == []
