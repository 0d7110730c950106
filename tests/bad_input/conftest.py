"""A trained run and a compiled log, fresh for every case."""

import pytest

from tests.bad_input.worlds import World
from tests.data.worlds import small_log


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
    return World(tmp_path_factory.mktemp('world'))


@pytest.fixture
def world(trained, tmp_path, monkeypatch):
    """A copy of the run, on a machine that has no data sets."""
    monkeypatch.delenv('JAXREC_DATA', raising=False)
    return trained.at(tmp_path)


@pytest.fixture
def log(tmp_path):
    return small_log(tmp_path / 'log')
