import numpy as np
import pytest

from jaxrec.data.logs.column_writer import ColumnWriter
from jaxrec.data.logs.columns import ColumnStore, Ragged, concatenate, write_columns


def pieces(sizes):
    draw = np.random.default_rng(0)
    for size in sizes:
        yield {
            'a': draw.integers(0, 9, size).astype(np.int32),
            'b': Ragged.from_rows([list(range(n)) for n in draw.integers(0, 4, size)], np.int32),
            'c': draw.random(size),
        }


def test_pieces_give_the_files_of_the_whole(tmp_path):
    whole = {}
    with ColumnWriter(tmp_path / 'pieces', {'a': np.int32, 'b': None, 'c': np.float64}, {'b': np.int32}) as writer:
        for piece in pieces([3, 0, 200, 1]):
            writer.append(piece)
            whole = {n: concatenate(whole[n], c) if whole else c for n, c in piece.items()}
    write_columns(tmp_path / 'whole', whole)
    for path in (tmp_path / 'whole').iterdir():
        assert path.read_bytes() == (tmp_path / 'pieces' / path.name).read_bytes(), path.name
    assert len(ColumnStore(tmp_path / 'pieces')) == 204


def test_nothing_is_a_store_of_no_rows(tmp_path):
    with ColumnWriter(tmp_path, {'a': np.int32, 'b': None}, {'b': np.int32}):
        pass
    assert len(ColumnStore(tmp_path)['a']) == 0 and len(ColumnStore(tmp_path)['b'].offsets) == 1


def test_a_writer_that_failed_leaves_no_store(tmp_path):
    with pytest.raises(RuntimeError), ColumnWriter(tmp_path, {'a': np.int32}) as writer:
        writer.append({'a': np.zeros(3, np.int32)})
        raise RuntimeError
    with pytest.raises(ValueError, match=r'columns\.json is missing'):
        ColumnStore(tmp_path)


@pytest.mark.parametrize(
    'piece', [{'a': np.zeros(2)}, {'a': np.zeros(2), 'b': np.zeros(3)}, {'a': np.zeros(2), 'c': np.zeros(2)}]
)
def test_a_piece_that_does_not_fit_is_refused(tmp_path, piece):
    with (
        pytest.raises(ValueError, match=r'has the columns a, b, a piece came with .*give all of one length'),
        ColumnWriter(tmp_path, {'a': float, 'b': float}) as writer,
    ):
        writer.append(piece)


def test_an_unsafe_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match='cannot name a file'):
        ColumnWriter(tmp_path, {'../a': float})
