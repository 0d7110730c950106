"""Rows of tables in files: exact on any mesh, in pieces, and refused where something is missing."""

import asyncio
import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxrec import embeddings as emb
from jaxrec.parallel import make_mesh
from jaxrec.training.checkpoints import parts, row_files
from jaxrec.training.checkpoints.parts import require_written
from jaxrec.training.checkpoints.row_files import RowFiles, read_rows, write_rows

ROWS, DIM = 19, 3  # no mesh of several devices divides the rows


@dataclasses.dataclass
class Promised:
    """What Orbax hands to `save`."""

    path: Path

    async def await_creation(self):
        self.path.mkdir()
        return self.path


def cut(shape, mesh, value=None, dtype='float32'):
    """An array or its shape, padded to the mesh and cut over it."""
    devices, by_row = emb.cut_rows(mesh)
    whole = (emb.padded_rows(ROWS, devices), *shape)
    if value is None:
        return jax.ShapeDtypeStruct(whole, dtype, sharding=by_row)
    padded = np.full(whole, 7, dtype)  # padding that must not be written
    padded[:ROWS] = value
    return jax.device_put(padded, by_row)


def tree(mesh, values=None):
    leaf = lambda name, *shape: cut(shape, mesh, None if values is None else values[name])
    return {'item/a': {'sum': leaf('sum'), 'mean': leaf('mean', DIM)}, 'user': {'sum': leaf('user')}}


VALUES = {
    'sum': np.arange(ROWS, dtype=np.float32),
    'mean': np.random.default_rng(0).normal(size=(ROWS, DIM)).astype(np.float32),
    'user': -np.arange(ROWS, dtype=np.float32),
}


def run(awaited):
    async def both():
        await (await awaited)

    asyncio.run(both())


@pytest.mark.parametrize('piece', [1, 40, 1 << 26])
@pytest.mark.parametrize(('written', 'read'), [((8, 1), (1, 1)), ((1, 1), (4, 2)), ((2, 2), (8, 1))])
def test_rows_come_back_on_any_mesh_whatever_the_pieces(tmp_path, monkeypatch, piece, written, read):
    monkeypatch.setattr(row_files, 'PIECE', piece)
    rows = {'item/a': ROWS, 'user': ROWS}
    run(RowFiles(tree(make_mesh(written), VALUES), rows).save(Promised(tmp_path / 'slots')))
    sizes = [np.load(path).nbytes for path in (tmp_path / 'slots').rglob('*.npy')]
    assert max(sizes) <= max(piece, 4 * DIM)  # a row at least
    files = RowFiles(wanted := tree(make_mesh(read)), rows)
    run(files.load(tmp_path / 'slots'))
    assert jax.tree.structure(files.tree) == jax.tree.structure(wanted)
    got = {'sum': files.tree['item/a']['sum'], 'mean': files.tree['item/a']['mean'], 'user': files.tree['user']['sum']}
    for name, array in got.items():
        np.testing.assert_array_equal(np.asarray(array)[:ROWS], VALUES[name])
        assert not np.asarray(array)[ROWS:].any() and array.shape[0] % (read[0] * read[1]) == 0
    place = jax.tree.map(lambda x: x.sharding, files.tree)
    assert place == jax.tree.map(lambda x: x.sharding, wanted)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(row_files, 'PIECE', 4 * DIM * 5)
    write_rows(tmp_path / 'item', cut((DIM,), make_mesh((1, 1)), VALUES['mean']), ROWS)
    assert sorted(path.name for path in (tmp_path / 'item').iterdir()) == [f'{n:015d}.npy' for n in (0, 5, 10, 15)]
    return tmp_path / 'item'


def read(folder, shape=(DIM,), dtype='float32'):
    return read_rows(folder, cut(shape, make_mesh((1, 1)), dtype=dtype), ROWS)


def test_more_rows_are_asked_for_than_were_saved(folder):
    """A grown table: what lies past the old rows is zero."""
    wanted = jax.ShapeDtypeStruct((32, DIM), 'float32', sharding=emb.cut_rows(make_mesh((8, 1)))[1])
    got = np.asarray(read_rows(folder, wanted, ROWS))
    np.testing.assert_array_equal(got[:ROWS], VALUES['mean'])
    assert not got[ROWS:].any()


@pytest.mark.parametrize('number', [0, 5, 15])
def test_a_missing_file_is_refused(folder, number):
    (folder / f'{number:015d}.npy').unlink()
    with pytest.raises(ValueError, match=r'lost its first rows|holds float32'):
        read(folder)


def test_a_cut_file_is_refused(folder):
    path = folder / f'{10:015d}.npy'
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises((ValueError, OSError)):
        read(folder)


@pytest.mark.parametrize(('shape', 'dtype'), [((DIM + 1,), 'float32'), ((DIM,), 'int32'), ((), 'float32')])
def test_rows_of_another_kind_are_refused(folder, shape, dtype):
    with pytest.raises(ValueError, match=r'000\.npy holds float32 \(5, 3\), and .* belongs there: rows 0 to 4'):
        read(folder, shape, dtype)


def fail(*arguments):
    raise OSError(28, 'No space left on device')


@pytest.mark.parametrize('failing', ['this', 'another', 'none'])
def test_rows_that_one_process_cannot_write_take_the_checkpoint_back(tmp_path, monkeypatch, failing):
    """With others waiting in Orbax the error is kept, and raised by all once they are through."""
    files = RowFiles(tree(make_mesh((1, 1)), VALUES), {'item/a': ROWS, 'user': ROWS})
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    if failing == 'this':
        monkeypatch.setattr(row_files, 'write_rows', fail)
    run(files.save(Promised(tmp_path / '3')))
    theirs = '[Errno 28] No space left on device' if failing == 'another' else ''
    monkeypatch.setattr(parts, 'gather', lambda mine: [mine, theirs])
    if failing == 'none':
        require_written(tmp_path / '3', {'model': {}, 'tables': files})
        assert (tmp_path / '3' / 'user').is_dir()
        return
    with pytest.raises(OSError, match='No space left on device'):
        require_written(tmp_path / '3', {'model': {}, 'tables': files})
    assert not (tmp_path / '3').exists()


def test_alone_a_process_raises_what_it_meets(tmp_path, monkeypatch):
    monkeypatch.setattr(row_files, 'write_rows', fail)
    files = RowFiles(tree(make_mesh((1, 1)), VALUES), {'item/a': ROWS, 'user': ROWS})
    with pytest.raises(OSError, match='No space left on device'):
        run(files.save(Promised(tmp_path / '3')))
