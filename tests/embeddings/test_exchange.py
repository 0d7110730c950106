"""Tables cut by row, unique ids sent to their owners: the same as one device, however skewed the ids are."""

import jax
import pytest
from jax.sharding import AxisType

from jaxrec.embeddings.exchange import capacity
from jaxrec.parallel import make_mesh
from tests.embeddings import steps
from tests.embeddings.test_sharding import assert_cut_and_never_gathered


def assert_rounds(got):
    """Where device 0 owns all items, up to 15 of each device's go into buffers of 8; spread, all fit."""
    assert got.infos[steps.SPREAD - 1].rounds == 1
    assert got.infos[steps.SKEWED - 1].rounds >= 2


@pytest.mark.parametrize(('shape', 'rotation', 'batch'), [((8, 1), 0, 24), ((4, 2), 1, 24), ((2, 4), 2, 21)])
def test_all_to_all_follows_the_oracle(shape, rotation, batch):
    got = steps.run(rotation, make_mesh(shape), 'all_to_all', batch)
    steps.assert_as_the_oracle(got, batch)
    assert_cut_and_never_gathered(got, rotation)
    assert_rounds(got)
    assert 'all-to-all' in got.hlo
    if batch % 8 == 0:  # an undivided batch is cut back to its size, which gathers rows read
        assert 'all-gather' not in got.hlo and 'reduce-scatter' not in got.hlo


@pytest.mark.slow
def test_an_explicit_mesh_gives_the_same():
    mesh = make_mesh((4, 2), axis_type=AxisType.Explicit)
    with jax.set_mesh(mesh):
        got = steps.run(1, mesh, 'all_to_all')
    steps.assert_as_the_oracle(got)
    assert_rounds(got)


def test_buffers_have_room_above_an_even_spread():
    assert capacity(ids=8000, devices=8) == 1250
    assert capacity(ids=8000, devices=8, factor=2.0) == 2000
    assert capacity(ids=40, devices=8) == 8  # never less than 8 ...
    assert capacity(ids=5, devices=8) == 5  # ... nor more than there are
    assert capacity(ids=0, devices=8) == 1
