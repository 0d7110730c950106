"""The rows of SIM's configs that are presets of the paper, and the commands that those configs document."""

import functools
import importlib
import re

import jax
import numpy as np
import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

from jaxrec.models.sim import presets as rows
from jaxrec.models.sim.presets import PRESETS
from jaxrec.parallel import put_batch
from jaxrec.runs.build import build
from jaxrec.training.state import abstract_state, init_state, new_scratch
from jaxrec.training.step import make_train_step
from tests.conftest import REPOSITORY
from tests.data.readers.test_movielens import place, small_files

PUBLIC = ('amazon_books', 'movielens', 'taobao')
PAPER = ('cikm20_hard', 'cikm20_hard_time', 'cikm20_soft', 'cikm20_soft_time')
FILES = sorted(path.stem for path in (REPOSITORY / 'configs' / 'sim').glob('*.py') if path.stem != 'rows')
COMMANDS = [
    command.strip()
    for name in FILES
    for command in (importlib.import_module(f'configs.sim.{name}').__doc__ or '').replace('\\\n', ' ').splitlines()
    if command.strip().startswith('jaxrec ')
]


def parse(command: str) -> ConfigDict:
    """The config of a command line, whose main and flags exist."""
    _, main, *given = command.split()
    # Read, not imported: two mains in one process define the same flags.
    sources = [
        (REPOSITORY / f'{name}.py').read_text()
        for name in (f'jaxrec/cli/{main}', 'jaxrec/cli/flags', 'jaxrec/cli/configs')
    ]
    known = re.findall(r"DEFINE_\w+\(\s*'(\w+)'", '\n'.join(sources))
    names = [re.match(r'--(\w+)', argument).group(1) for argument in given]
    assert set(names) <= set(known), command
    argv = [main, *(argument for argument, name in zip(given, names, strict=True) if name == 'config')]
    argv[1] = argv[1].replace('=', f'={REPOSITORY}/')
    values = flags.FlagValues()
    config_flags.DEFINE_config_file('config', lock_config=True, flag_values=values, sys_argv=argv)
    values(argv)
    return values.config


@pytest.mark.parametrize('command', COMMANDS)
def test_a_documented_command_is_understood(command):
    config = parse(command)
    for key, value in re.findall(r'--config\.(\S+)=(\S+)', command):
        assert str(functools.reduce(lambda section, name: section[name], key.split('.'), config)) == value


def test_commands_are_found_and_one_gives_an_optional_string():
    assert len(COMMANDS) >= 11
    assert any('--config.data.history_negatives=uniform' in command for command in COMMANDS)


def test_the_presets_of_the_paper_are_rows_of_public_data_alone():
    assert tuple(rows.PAPER_ROWS) == PAPER
    for of_tables in (rows.ROWS, rows.COMPARED, rows.SEARCHING, rows.SIMULATED_ROWS, rows.PUBLIC_ROWS):
        assert not set(PAPER) & set(of_tables)
    for file in PUBLIC:
        get_config = importlib.import_module(f'configs.sim.{file}').get_config
        for name in PAPER:
            config = get_config(name)
            assert config.model.to_dict() == {'preset': name}
            assert config.data.history_negatives == 'uniform'
            assert ('time_gap' in config.data) == name.endswith('_time')
            assert config.data.lifelong.search == ('hard' if 'hard' in name else None)
    first = importlib.import_module('configs.sim.amazon_books').get_config
    first(PAPER[0])
    assert first('SIM-soft').data.history_negatives is None  # nothing is shared by the rows of a file


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('movielens')
    place(folder / 'data', small_files())
    return folder


def build_row(name, root):
    """(run, host batch) of a row on an extract of MovieLens."""
    config = importlib.import_module('configs.sim.movielens').get_config(name)
    config.data.arguments.edition = 'latest-small-2018'
    config.data.cache = str(root / 'cache')
    config.data.history_length = 2
    config.data.lifelong.length = 3
    config.data.lifelong.sample = None
    config.train.batch_size = config.train.eval_batch_size = 16
    config.mesh = (1, 1)
    run = build(config, str(root / 'data'))
    return run, run.source('train', shuffle=True)[0]


@pytest.mark.parametrize('name', PAPER)
def test_a_row_of_the_paper_builds(name, root):
    run, batch = build_row(name, root)
    assert {table.dim for table in run.setup.task.tables.values()} == {PRESETS[name]['dim']}
    assert batch['label'].shape == (16, 1) and 'history_negative/item' in batch
    sent = put_batch(batch, run.setup.mesh)
    state = abstract_state(run.setup, sent).replace(scratch=jax.eval_shape(lambda: new_scratch(run.setup, sent)))
    _, metrics = jax.eval_shape(make_train_step(run.setup), state, sent)
    assert {'loss', 'auxiliary'} <= metrics.keys()


@pytest.mark.slow
@pytest.mark.parametrize('name', PAPER)
def test_a_row_of_the_paper_trains(name, root):
    run, batch = build_row(name, root)
    batch = put_batch(batch, run.setup.mesh)
    state = init_state(run.setup, batch, seed=0)
    step = make_train_step(run.setup)
    for _ in range(2):
        state, metrics = step(state, batch)
    assert all(np.isfinite(value) for value in jax.tree.leaves(metrics))
    assert metrics['auxiliary'] > 0  # DIEN's
    assert ('search' in metrics) == ('soft' in name)
    assert ('gaps' in state.params['interest']) == name.endswith('_time')
