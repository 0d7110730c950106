"""Every config file builds: each row of each file is traced through a whole step, without computing."""

import importlib
import pathlib

import jax
import pytest
from ml_collections import ConfigDict

from experiments.building import build, plain
from jaxrec.data.simulators.ctr import simulate
from jaxrec.training.state import abstract_state, new_scratch
from jaxrec.training.step import make_predict_step, make_train_step
from tests.conftest import REPOSITORY
from tests.data.readers.test_movielens import place, small_files
from tests.experiments.worlds import WORLD

FILES = sorted(
    path.relative_to(REPOSITORY).with_suffix('').as_posix().replace('/', '.')
    for path in (REPOSITORY / 'configs').rglob('*.py')
    if 'def get_config' in path.read_text()
)


def runs() -> list[tuple[str, str, str]]:
    """(file, column or '', row) of every run that the configs describe."""
    found = []
    for file in FILES:
        module = importlib.import_module(file)
        rows = importlib.import_module(f'{file.rpartition(".")[0]}.rows').ROWS
        takes_a_row = module.get_config.__code__.co_argcount > 0
        columns = [''] if takes_a_row else list(module.get_config().columns)
        found += [(file, column, row) for column in columns for row in rows]
    return found


def config_of(file: str, column: str, row: str) -> ConfigDict:
    module = importlib.import_module(file)
    if not column:
        return module.get_config(row)
    table = module.get_config()
    return ConfigDict(plain(table.columns[column]) | plain(table.rows[row]) | {'seed': 0})


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp('logs')
    place(folder / 'data', small_files())
    return folder


def shrink(config: ConfigDict, root: pathlib.Path) -> ConfigDict:
    """The same config on a log of a second's worth; features, label, split and model stay as they are."""
    arguments = config.data.arguments
    if 'users' in arguments:
        arguments.update({key: value for key, value in WORLD.items() if key != 'seed'})
    elif 'path' in arguments:
        arguments.path = str(simulate(root / 'own', **WORLD).folder)
    else:
        arguments.edition = 'latest-small-2018'
    config.data.cache = str(root / 'cache')
    config.train.batch_size = 32
    config.train.eval_batch_size = 32
    config.mesh = (1, 1)
    return config


def test_all_configs_are_found():
    assert len(FILES) >= 4 and len(runs()) >= 20


@pytest.mark.parametrize('run', runs(), ids='-'.join)
def test_a_config_builds(run, root):
    experiment = build(shrink(config_of(*run), root), str(root / 'data'))
    setup, example = experiment.setup, experiment.example(experiment.source('train', shuffle=True))
    state = abstract_state(setup, example).replace(
        scratch=jax.eval_shape(lambda: new_scratch(setup, example))
    )
    new, metrics = jax.eval_shape(make_train_step(setup), state, example)
    shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert shapes(new) == shapes(state)
    assert {'loss', 'grad_norm'} <= metrics.keys()
    predictions = jax.eval_shape(lambda s, b: make_predict_step(setup)(s, b), state, example)
    assert predictions['probability'].shape == example['label'].shape == (32, 1)
    assert experiment.loop_options(experiment.source('train', shuffle=True)).steps > 0


@pytest.mark.parametrize('file', FILES)
def test_a_config_says_how_to_run_it(file):
    assert 'python -m experiments.' in (importlib.import_module(file).__doc__ or '')
