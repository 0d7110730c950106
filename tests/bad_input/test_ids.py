"""Ids that no row answers to, on the host and in a log."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from jaxrec.data.logs.vocabulary import Vocabulary, hash64
from jaxrec.embeddings import Table, as_specs, check_ids
from jaxrec.parallel import put_batch
from tests.bad_input.worlds import Case, assert_refused, batch, other_columns


def ids(value: Any, dtype: type = np.int32, table: str = 'item') -> Callable[[Any], Any]:
    specs = as_specs([Table('item', 51, 4)])
    return lambda world: check_ids(specs, {table: {'candidate/item': np.asarray([[2], [value]], dtype)}})


CASES: dict[str, Case] = {
    'negative': (
        ids(-1),
        r"'candidate/item' of table 'item' holds id -1, outside \[0, 51\)",
        r'map unknown values to 1',
    ),
    'too large': (ids(51), r"table 'item' holds id 51, outside \[0, 51\)", r'build the table with more rows'),
    'floats': (ids(3, np.float32), r"'candidate/item' of table 'item' has dtype float32", r'ids are integers'),
    'unknown table': (ids(3, table='brand'), r"ids of table 'brand'", r"the task has only \['item'\]"),
    '64 bits on a device': (
        batch(put_batch, candidate__item=lambda a: a.astype(np.int64)),
        r"key 'candidate/item' is int64",
        r"keep it under 'host/' or make it int32",
    ),
    'in a log beyond its vocabulary': (
        other_columns('item', lambda a: np.where(a == a.max(), 999, a).astype(np.int32)),
        r"events/item holds ids 2\.\.999 but vocabulary 'item'",
        r'compile the log again',
    ),
    'more rows than int32 names': (lambda world: Table('t', 2**31, 4), r"table 't': rows=2147483648", r'give 2 to'),
    'two tables of one name': (
        lambda world: as_specs([Table('t', 9, 4), Table('t', 9, 5)]),
        r"two tables are called 't'",
        r'rename it',
    ),
}

VOCABULARIES: dict[str, Case] = {
    'decoding padding': (lambda log: log.vocabulary('item').decode(np.asarray([2, 0])), 'id 0', 'mask them first'),
    'decoding past the end': (lambda log: log.vocabulary('item').decode(np.asarray([42])), 'id 42', '2..41'),
    'decoding buckets': (
        lambda log: Vocabulary.hashed(5).decode(np.asarray([2])),
        '5 hash buckets',
        'cannot be decoded',
    ),
    'words among integers': (
        lambda log: log.vocabulary('item').encode(np.asarray(['a'])),
        '<U1 were looked up in a vocabulary of int64',
        'convert them first',
    ),
    'identifiers beyond int64': (
        lambda log: Vocabulary.build(np.asarray([2**63], np.uint64)),
        '9223372036854775808 does not fit',
        'as strings',
    ),
    'hashing floats': (lambda log: hash64(np.zeros(2)), 'float64', 'integers or strings'),
}


@pytest.mark.parametrize('name', CASES)
def test_bad_ids(world, name):
    assert_refused(CASES[name], world)


@pytest.mark.parametrize('name', VOCABULARIES)
def test_bad_look_ups(log, name):
    assert_refused(VOCABULARIES[name], log)
