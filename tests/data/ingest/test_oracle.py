"""The log of an ingest is byte for byte the one that `compile_log` makes of the same rows."""

import pytest

from jaxrec.data.ingest import blocks, events, ingest, make_mapping, merge
from tests.data.ingest.worlds import MAPPING, assert_same_log, oracle, rows_of, write_csv, write_parquet


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Blocks, merges and ranges of a few rows, so that every seam is crossed."""
    monkeypatch.setattr(blocks, 'BLOCK_BYTES', 4096)
    monkeypatch.setattr(blocks, 'PARQUET_ROWS', 70)
    monkeypatch.setattr(merge, 'AT_ONCE', 50)
    monkeypatch.setattr(merge, '_TEXT_BLOCK', 16)
    monkeypatch.setattr(events, 'RANGE_ROWS', 100)


@pytest.mark.parametrize('seed', [0, 7])
def test_several_files_of_every_kind(tmp_path, seed):
    rows = rows_of(900, seed)
    files = [
        write_csv(tmp_path / 'a.csv', rows[:400]),
        write_csv(tmp_path / 'b.tsv', rows[400:500], '\t'),
        write_csv(tmp_path / 'c.csv.gz', rows[500:700], ';'),
        write_parquet(tmp_path / 'd.parquet', rows[700:]),
    ]
    wanted = oracle(tmp_path / 'wanted', rows, files, seed)
    found = ingest(files, make_mapping(MAPPING), tmp_path / 'found', seed=seed)
    assert_same_log(found.folder, wanted.folder)
    assert found.manifest['ingest']['rows_read'] == 900
    assert not (tmp_path / '.found.ingest').exists()
