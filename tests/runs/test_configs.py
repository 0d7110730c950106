"""Every config file builds: each row of each file is traced through a whole step, without computing."""

import importlib
import pathlib
from typing import Any

import jax
import pytest
from absl import app, flags
from ml_collections import ConfigDict, config_flags

from jaxrec.cli.flags import ANY_KEY, read_flags
from jaxrec.data.images.record_writer import write_folder
from jaxrec.data.simulators import sessions
from jaxrec.data.simulators.ctr import World, simulate
from jaxrec.models.onerec.comparison import own_run
from jaxrec.runs.build import build
from jaxrec.runs.comparison.cells import Cell
from jaxrec.training.state import abstract_state, new_scratch
from jaxrec.training.step import make_predict_step, make_train_step
from tests.conftest import REPOSITORY
from tests.data.extracts import amazon, avazu, kuairand, pic, sequences, taobao, vcoco
from tests.data.images.worlds import VOCABULARY, random_scene
from tests.data.readers.test_movielens import place, small_files
from tests.runs.worlds import LIFELONG, SESSIONS, WORLD

FILES = sorted(
    path.relative_to(REPOSITORY).with_suffix('').as_posix().replace('/', '.')
    for path in (REPOSITORY / 'configs').rglob('*.py')
    if 'get_config' in path.read_text()
)
# What replays a stream is built in test_replay.py, and the stages of OneRec in onerec/test_aligning.py.
STAGES = tuple(f'configs.onerec.{stage}' for stage in ('align', 'pipeline', 'reward'))
TRAINED = [file for file in FILES if not file.startswith(('configs.age', *STAGES))]
# The first file of a folder is built with every row, and this one's trunk is small.
TRAINED.sort(key=lambda file: file != 'configs.sms.scenes')


def runs() -> list[tuple[str, str, str]]:
    """(file, column or '', row) of the runs that the configs describe.

    Every row in the first file of a folder that has these rows; in the others, of those that a table has by
    default, one for each task and for what it wants of data and files, since the rest differ from them in the
    model alone.
    """
    found, met = [], set()
    for file in TRAINED:
        module, folder = importlib.import_module(file), file.rpartition('.')[0]
        shared = importlib.import_module(f'jaxrec.models.{folder.rpartition(".")[2]}.presets')
        # A log without histories has fewer rows, and its file names them.
        own = getattr(module, 'ROWS', shared.ROWS)
        rows, compared = (list(own), getattr(module, 'COMPARED', () if own is not shared.ROWS else shared.COMPARED))
        family = folder, own is shared.ROWS
        if compared and family in met:
            wants = lambda row: str([row.get(section) for section in ('task', 'data', 'files')])
            kinds = {wants(own[name]): name for name in compared[::-1]}
            rows = [name for name in compared if name in kinds.values()]
        takes_a_row = module.get_config.__code__.co_argcount > 0
        columns = [''] if takes_a_row else list(module.get_config().columns)
        only = {} if takes_a_row else module.get_config().get('only', {})
        found += [(file, column, row) for column in columns for row in rows if row in only.get(column, rows)]
        met.add(family)
    return found


# Of each file one row: the folder's own model, or a light one where that is large to trace. Files of a folder
# differ in data, so what is large is built of one.
QUICK = ('CAN-DNN', 'SIM-hard+time', 'SASRec', '50m', 'prior')
LARGE = (('configs.onerec.amazon', '', 'OneRec'), ('configs.sms.scenes', '', 'SMS'))


def some_slow() -> list[Any]:
    """The runs, those that `make slow` alone builds marked so."""
    quick = lambda run: run[2] in QUICK or run in LARGE
    return [pytest.param(run, marks=() if quick(run) else pytest.mark.slow, id='-'.join(run)) for run in runs()]


def config_of(file: str, column: str, row: str) -> ConfigDict:
    module = importlib.import_module(file)
    if not column:
        return module.get_config(row)
    table = module.get_config()
    # What follows the run of a row is built in onerec/test_cells.py.
    return own_run(Cell(pathlib.Path(), table.columns[column], table.rows[row], 0, {}).config())


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> pathlib.Path:
    """A data root with an extract of each published data set, as a person would place the files."""
    folder = tmp_path_factory.mktemp('logs')
    place(folder / 'data', small_files())
    for extract in (amazon, avazu, pic, taobao, vcoco):
        at = folder / 'data' / extract.__name__.rpartition('.')[2]
        at.mkdir(parents=True, exist_ok=True)
        extract.write(at)
    amazon.write(folder / 'data' / 'amazon', 'Beauty')
    kuairand.write(folder / 'data')
    sequences.write(folder / 'data')
    scenes = [random_scene(seed) for seed in range(16)]
    write_folder(folder / 'album', VOCABULARY, scenes, ['train'] * len(scenes))
    return folder


def shrink_images(config: ConfigDict, root: pathlib.Path) -> None:
    """The same of pictures: small ones, of an extract or drawn."""
    arguments, theirs = config.data.arguments, root / 'data' / 'vcoco'
    with config.ignore_type():  # some have two sides
        config.data.image_size = 64
    if 'own_images' in config.data.log:
        arguments.path = str(root / 'album')
    elif 'data_dir' in arguments:
        arguments.split = 'train'
    else:
        arguments.annotations = ConfigDict({'train': str(theirs / 'vcoco.json')})
        arguments.update({'masks': (str(theirs / 'instances.json'),), 'images': (str(theirs / 'images'),)})


def shrink(config: ConfigDict, root: pathlib.Path) -> ConfigDict:
    """The same config on a log of a second's worth; features, label, split and model stay as they are."""
    arguments = config.data.arguments
    if config.data.get('source', ''):  # of sessions or next items
        known = {key: value for key, value in SESSIONS.items() if key != 'seed'}
        own = {'path': str(sessions.simulate(root / 'sessions', **SESSIONS).folder)}
        if 'data_dir' not in arguments:  # else the log is read from an extract
            arguments.update(known if 'users' in arguments else own)
        if config.files is not None and 'column' not in config.files.ids.arguments:
            ids = config.files.ids.arguments
            ids.update({'clusters': 4, 'behaviour': 8} | ({'text_width': 4} if ids.get('content') else {}))
            if 'beside' in ids:
                ids.beside = ('letter_sid', 'plain_sid')
        if 'edition' in arguments:  # of 24 users few sessions are of high quality
            arguments.least = 1
            config.data.users = (0.0, 1.0)
    elif 'scenes' in config.data.log:
        arguments.update({'train': 32, 'validation': 16, 'test': 16})
    elif 'image_size' in config.data:
        shrink_images(config, root)
    elif 'users' in arguments:
        # A row that trains on a sixth of the users still needs a batch of them.
        world = {**LIFELONG, 'users': 120} if 'lifelong' in config.data.log else WORLD
        arguments.update({key: value for key, value in world.items() if key != 'seed'})
    elif 'path' in arguments:
        arguments.path = str(simulate(root / 'own', **WORLD).folder)
    elif 'edition' in arguments:
        arguments.edition = 'latest-small-2018'
    config.data.cache = str(root / 'cache')
    config.train.batch_size = 16  # the fewest examples that a row trains on are 29
    config.train.eval_batch_size = 16
    config.mesh = (1, 1)
    return config


def test_all_configs_are_found():
    assert len(FILES) >= 13 and len(runs()) >= 90


@pytest.mark.parametrize('run', some_slow())
def test_a_config_builds(run, root):
    experiment = build(shrink(config_of(*run), root), str(root / 'data'))
    setup, example = experiment.setup, experiment.example(experiment.source('train', shuffle=True))
    state = abstract_state(setup, example).replace(scratch=jax.eval_shape(lambda: new_scratch(setup, example)))
    new, metrics = jax.eval_shape(make_train_step(setup), state, example)
    shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert shapes(new) == shapes(state)
    assert {'loss', 'grad_norm'} <= metrics.keys()
    predictions = jax.eval_shape(lambda s, b: make_predict_step(setup)(s, b), state, example)
    candidates = experiment.config.data.get('candidates', 1)
    if 'label' in example:
        assert predictions['probability'].shape == example['label'].shape == (16, candidates)
    else:
        named = [key for key in ('rank', 'token_log_prob', 'triplet/score') if key in predictions]
        assert {len(predictions[key]) for key in named} == {16}
    assert experiment.loop_options(experiment.source('train', shuffle=True)).steps > 0


def keys(config: ConfigDict) -> set[str]:
    """The keys of a config and of all its sections."""
    found = set(config)
    return found.union(*(keys(value) for value in config.values() if isinstance(value, ConfigDict)))


@pytest.mark.parametrize('run', runs(), ids='-'.join)
def test_every_key_but_items_is_reached_by_a_dot(run):
    """A ConfigDict's own attributes hide keys of their names; `jaxrec train` says what to write then."""
    assert keys(config_of(*run)) & set(dir(ConfigDict)) <= {'items'}


def parse(*arguments: str) -> ConfigDict:
    """The config that a main would read from its command line."""
    argv = ['train', f'--config={REPOSITORY}/configs/can/simulated.py:LR', *arguments]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file('config', **ANY_KEY, flag_values=values, sys_argv=argv)
    values(argv)
    return values.config


def test_a_key_or_a_section_is_given_on_the_command_line(tmp_path):
    config = parse(
        '--config.train.epochs=3',
        "--config.data.arguments={'users': 30, 'items': 50, 'seed': 1}",
        f'--config.data.cache={tmp_path}',
        '--config.train.batch_size=32',
    )
    assert config.train.epochs == 3
    log = build(config).log
    assert len(log) == 30 * World.impressions and log.schema['user'].rows == 32
    assert log.schema['item'].rows <= 52  # of the 50 items, those that were shown
    with pytest.raises(flags.IllegalFlagValueError):
        parse('--config.data.arguments.items=50')


@pytest.mark.parametrize('file', FILES)
def test_a_config_says_how_to_run_it(file):
    assert 'jaxrec ' in (importlib.import_module(file).__doc__ or '')


def test_an_option_that_the_file_leaves_out_is_given_too():
    config = parse('--config.train.tables_on=host', '--config.train.clip_norm=2', '--config.data.min_history=3')
    assert config.train.tables_on == 'host' and config.train.clip_norm == 2 and config.data.min_history == 3
    with pytest.raises(ValueError, match=r"train\.epoch is not an option; did you mean 'epochs'"):
        build(parse('--config.train.epoch=3'))


def test_a_section_that_does_not_exist_is_told_in_a_line(monkeypatch, capsys):
    monkeypatch.setattr(app, 'parse_flags_with_usage', lambda argv: parse(*argv[1:]))
    with pytest.raises(SystemExit) as left:
        read_flags(['train', '--config.trian.epochs=3'])
    assert left.value.code == 2
    assert 'error: a flag --config.<section>.<key> cannot be set: ' in capsys.readouterr().err
