"""Tables cut by row, ids gathered: the same as one device on every mesh, with the intended collectives."""

import jax
import pytest
from jax.sharding import AxisType

from jaxrec.parallel import make_mesh
from tests.embeddings import steps

SHARD = (12_501, 8)  # of `item`: 100,003 rows are padded to 8 x 12,501


def gathered(hlo):
    """The result types of all all-gathers."""
    return [
        line.split(' = ')[1].split('all-gather')[0]
        for line in hlo.splitlines()
        if ' all-gather' in line and ' = ' in line
    ]


def assert_cut_and_never_gathered(got, rotation):
    """Every device holds its shard, no collective returns a table, and nothing of a shard's size is made."""
    assert got.shards == {'item': {SHARD}, 'category': {(8, 3)}, 'user': {(2, 4)}}
    for kind in gathered(got.hlo):
        # 64, 16 and 100,008 rows are the padded tables; what may be gathered is 120 ids or gradients.
        assert not any(size in kind for size in ('[100008', '[64,3]', '[16,4]')), kind
    if steps.ROTATIONS[rotation]['item'] != 'dense':
        assert got.temporaries < SHARD[0] * SHARD[1] * 4


@pytest.mark.parametrize(('shape', 'rotation', 'batch'), [((8, 1), 0, 24), ((4, 2), 1, 21), ((2, 4), 2, 24)])
def test_gathering_ids_follows_the_oracle(shape, rotation, batch):
    got = steps.run(rotation, make_mesh(shape), 'gather_ids', batch)
    steps.assert_as_the_oracle(got, batch)
    assert_cut_and_never_gathered(got, rotation)
    assert 'reduce-scatter' in got.hlo and gathered(got.hlo) and 'all-to-all' not in got.hlo


def test_an_explicit_mesh_gives_the_same():
    mesh = make_mesh((4, 2), axis_type=AxisType.Explicit)
    with jax.set_mesh(mesh):
        got = steps.run(1, mesh, 'gather_ids')
    steps.assert_as_the_oracle(got)
    assert_cut_and_never_gathered(got, 1)
