"""From the columns of a block to ids, times and numbers, and the rows to be skipped, with the reason.

Complete columns are converted at once; only where that fails are the bad values looked for, by a pattern and then one
by one.

n rows of a block.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.ingest.fields import UNITS, Field
from jaxrec.data.logs.columns import offsets_of

MAX_CHARACTERS = 128  # vocabularies are arrays of fixed width: one long value would widen them all
LIST_SEPARATOR = '\x1f'  # between the values of a Parquet list
_INTEGER = r'^-?[0-9]{1,19}$'
_NUMBER = r'^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$'
_DAY = r'^[0-9]{4}-[01][0-9]-[0-3][0-9]([ T][0-2][0-9](:[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?)?)?'
_NAIVE, _ZONED = _DAY + '$', _DAY + r'(Z|[+-][0-9]{2}(:?[0-9]{2})?)$'


class Converted(NamedTuple):
    """A column of a block.

    `values` [n] are texts or int64 (ids, categories, multi), int64 microseconds (times) or float32 (labels, numbers);
    where bad, anything but null.
    """

    values: pa.Array
    bad: list[tuple[str, np.ndarray]]  # [(reason, bool [n])], rows to be skipped


def convert(field: Field, column: pa.Array) -> Converted:
    """Converts one column, as `read_blocks` gives it.

    Raises:
      ValueError: a Parquet column of a type that cannot become this field.
    """
    if field.role == 'time':
        return _time(field, column)
    if field.coded:
        return _integers(field, column) if field.type == 'integer' else _texts(field, column)
    return _numbers(field, column)


def check_type(field: Field, found: pa.DataType, place: str) -> None:
    """Refuses a Parquet column that cannot become a field; a ValueError names both types and the column's `place`."""
    found = found.value_type if pa.types.is_dictionary(found) else found
    is_ = pa.types
    text = is_.is_string(found) or is_.is_large_string(found) or is_.is_binary(found)
    if field.role == 'time':
        own = is_.is_timestamp(found) or is_.is_date(found)
        if own and field.unit not in (None, 'iso'):
            raise ValueError(f'{place} holds {found}, which has its own unit: take out time.unit')
        needs_unit = not own and field.unit is None
        fits, wanted = own or text or is_.is_integer(found) or is_.is_floating(found), 'times or numbers'
        if fits and needs_unit:
            raise ValueError(f'{place} holds {found}: say time.unit, one of {", ".join(UNITS)} (--time_unit)')
        if field.unit == 'iso' and not own and not text:
            raise ValueError(f'{place} holds {found}, not text: time.unit is s, ms or us (--time_unit)')
    elif field.coded:
        multi = field.spec is not None and field.spec.kind == 'multi'
        listed = _is_list(found)
        fits = text or (is_.is_integer(found) or is_.is_boolean(found) if not multi else listed)
        wanted = 'texts or lists of them' if multi else 'texts or integers'
    else:
        fits = text or is_.is_integer(found) or is_.is_floating(found) or is_.is_boolean(found)
        fits, wanted = fits or is_.is_decimal(found), 'numbers'
    if not fits:
        raise ValueError(f'{place} holds {found}, and {field.name!r} wants {wanted}: convert the column')


def _texts(field: Field, column: pa.Array) -> Converted:
    values, bad = _joined(field, column) if _is_list(column.type) else _decoded(field, column)
    values = values.fill_null('') if values.null_count else values
    if field.role in ('user', 'item'):
        bad.append((f'missing {field.role}', _numpy(pc.equal(values, ''))))
    elif field.fill is not None:
        values = pc.if_else(pc.equal(values, ''), str(field.fill), values)
    if field.separator is not None and not _is_list(column.type):
        values = pc.replace_substring(values, field.separator, LIST_SEPARATOR)
    bad.append((f'{field.name!r} longer than {MAX_CHARACTERS} characters', _too_long(values)))
    # Fixed-width texts cannot tell 'a' from 'a' and a NUL: such values would share an id.
    content = values.buffers()[2]
    if content is not None and b'\0' in content.to_pybytes():
        bad.append((f'a NUL character in {field.name!r}', _numpy(pc.match_substring(values, '\0'))))
    return Converted(values, [(reason, mask) for reason, mask in bad if mask.any()])


def split_lists(texts: pa.Array) -> pa.ListArray:
    """Cuts converted texts of a multi-valued column into their values, [n] lists of strings, none empty."""
    lists = pc.split_pattern(texts, LIST_SEPARATOR)
    values, parents = lists.flatten(), pc.list_parent_indices(lists)
    full = pc.not_equal(values, '')
    lengths = np.bincount(np.asarray(parents.filter(full)), minlength=len(texts))
    return pa.ListArray.from_arrays(pa.array(offsets_of(lengths), pa.int32()), values.filter(full))


def _is_list(found: pa.DataType) -> bool:
    return pa.types.is_list(found) or pa.types.is_large_list(found)


def _joined(field: Field, column: pa.Array) -> tuple[pa.Array, list[tuple[str, np.ndarray]]]:
    texts = pc.binary_join(column.cast(pa.list_(pa.string())), LIST_SEPARATOR)
    holes = _numpy(pc.and_(pc.is_null(texts), pc.is_valid(column)))
    return texts, [(f'a missing value in the list of {field.name!r}', holes)]


def _too_long(values: pa.Array) -> np.ndarray:
    """Marks texts that hold a value of more than `MAX_CHARACTERS` characters: bool [n]."""
    suspects = _numpy(pc.greater(pc.binary_length(values), MAX_CHARACTERS))
    for row in np.flatnonzero(suspects):
        pieces = values[row].as_py().split(LIST_SEPARATOR)
        suspects[row] = max(map(len, pieces)) > MAX_CHARACTERS
    return suspects


def _decoded(field: Field, column: pa.Array) -> tuple[pa.Array, list[tuple[str, np.ndarray]]]:
    """Texts [n], '' where bytes are no UTF-8; those rows are bad."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not pa.types.is_binary(column.type):
        return pc.cast(column, pa.string()), []
    try:
        return pc.cast(column, pa.string()), []
    except pa.ArrowInvalid:
        broken = np.asarray([not _is_utf8(value) for value in column.to_pylist()])
        values = pc.if_else(pa.array(broken), pa.scalar(b'', pa.binary()), column)
        return pc.cast(values, pa.string()), [(f'{field.name!r} is no UTF-8 text', broken)]


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _integers(field: Field, column: pa.Array) -> Converted:
    if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        missing = _numpy(pc.is_null(column))
        try:
            values = pc.cast(column, pa.int64())
        except pa.ArrowInvalid:
            raise ValueError(
                f'column {field.column!r} holds integers beyond int64: give {field.name!r} the type string'
            ) from None
        return _filled(field, values, missing, np.zeros(len(column), bool), 'integer')
    texts, bad = _decoded(field, column)
    missing = _numpy(pc.equal(texts.fill_null(''), ''))
    values, broken = _parse(texts, pa.int64(), _INTEGER)
    values, found = _filled(field, values, missing, broken, 'integer')
    return Converted(values, bad + found)


def _numbers(field: Field, column: pa.Array) -> Converted:
    none = np.zeros(len(column), bool)
    if field.positive is not None:
        texts, bad = _decoded(field, column)
        missing = _numpy(pc.equal(texts.fill_null(''), ''))
        values = pc.cast(pc.is_in(texts, pa.array(field.positive)), pa.float32())
        values, found = _filled(field, values, missing, none, 'value')
        return Converted(values, bad + found)
    if pa.types.is_binary(column.type) or pa.types.is_string(column.type):
        texts, bad = _decoded(field, column)
        missing = _numpy(pc.equal(texts.fill_null(''), ''))
        values, broken = _parse(texts, pa.float64(), _NUMBER)
    else:
        bad, missing, broken = [], _numpy(pc.is_null(column)), none
        # Arrow casts integers to floats only where they are exact; numbers need not be.
        values = pa.array(np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), 0.0)))
    narrow = np.asarray(values).astype(np.float32)
    broken = broken | (~np.isfinite(narrow) & ~missing)
    values, found = _filled(field, pa.array(np.where(broken, np.float32(0), narrow)), missing, broken, 'number')
    return Converted(values, bad + found)


def _filled(field: Field, values: pa.Array, missing: np.ndarray, broken: np.ndarray, what: str) -> Converted:
    """Puts the fill in place of missing values, or lists them as bad beside the broken ones."""
    name = field.role if field.role in ('user', 'item') else f'{what} in {field.name!r}'
    bad = [(f'unreadable {name}', broken & ~missing)]
    if field.fill is None:
        bad.append((f'missing {name}', missing))
        values = pc.fill_null(values, 0)
    elif missing.any():
        values = pc.if_else(pa.array(missing), pa.scalar(field.fill, values.type), values)
    return Converted(values, [(reason, mask) for reason, mask in bad if mask.any()])


def _time(field: Field, column: pa.Array) -> Converted:
    none, bad = np.zeros(len(column), bool), list[tuple[str, np.ndarray]]()
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        missing, broken = _numpy(pc.is_null(column)), none
        values = column.cast(pa.timestamp('us', getattr(column.type, 'tz', None)), safe=False).cast(pa.int64())
        micros = np.asarray(pc.fill_null(values, 0))
    elif field.unit == 'iso':
        texts, bad = _decoded(field, column)
        missing = _numpy(pc.equal(texts.fill_null(''), ''))
        micros, broken = _iso(texts)
    else:
        micros, missing, broken, bad = _count(field, column)
    early = (micros < 0) & ~broken & ~missing
    bad += [('missing time', missing), ('unreadable time', broken & ~missing), ('time before 1970', early)]
    values = pa.array(np.where(broken | missing, 0, micros))
    return Converted(values, [(reason, mask) for reason, mask in bad if mask.any()])


def _iso(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Microseconds int64 [n] of ISO 8601 texts, without a zone in UTC, and which could not be read."""
    kind = pa.timestamp('us')
    try:
        return np.asarray(pc.cast(texts, kind).cast(pa.int64())), np.zeros(len(texts), bool)
    except (pa.ArrowInvalid, ValueError):  # zones, nulls or broken values among them
        micros, broken = _parse(texts, kind, _NAIVE)
        zoned, without = _parse(texts, pa.timestamp('us', 'UTC'), _ZONED)
    naive, other = (np.asarray(pc.fill_null(pc.cast(x, pa.int64()), 0)) for x in (micros, zoned))
    return np.where(broken, other, naive), broken & without


def _count(field: Field, column: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[tuple[str, np.ndarray]]]:
    """Times that are counted in a unit: microseconds, missing, broken, and what else is bad."""
    scale, bad = UNITS[field.unit or 's'], list[tuple[str, np.ndarray]]()
    if pa.types.is_binary(column.type) or pa.types.is_string(column.type):
        texts, bad = _decoded(field, column)
        missing = _numpy(pc.equal(texts.fill_null(''), ''))
        whole, broken = _parse(texts, pa.int64(), _INTEGER)
        if (broken & ~missing).any():  # fractions of a second
            values, broken = _parse(texts, pa.float64(), _NUMBER)
        else:
            values = whole
    else:
        missing, broken, values = _numpy(pc.is_null(column)), np.zeros(len(column), bool), column
    numbers = np.asarray(pc.fill_null(values, 0))
    broken = broken | ~(np.abs(numbers.astype(np.float64)) * scale < 2.0**63)
    safe = np.where(broken, 0, numbers)
    micros = np.rint(safe * scale) if safe.dtype.kind == 'f' else safe.astype(np.int64) * scale
    return micros.astype(np.int64), missing, broken, bad


def _parse(texts: pa.Array, kind: pa.DataType, pattern: str) -> tuple[pa.Array, np.ndarray]:
    """Parses texts to a type: values [n], null where broken, and which are broken (missing ones too)."""
    if not texts.null_count:
        try:
            return pc.cast(texts, kind), np.zeros(len(texts), bool)
        except pa.ArrowInvalid:
            pass
    good = _numpy(pc.fill_null(pc.match_substring_regex(texts, pattern), False))
    distinct = pc.unique(texts.filter(pa.array(good)))
    try:
        parsed = pc.cast(distinct, kind)
    except pa.ArrowInvalid:
        parsed = pa.array([_one(text, kind) for text in distinct], kind)
    values = pc.take(parsed, pc.index_in(texts, distinct))
    return values, _numpy(pc.is_null(values))


def _one(text: pa.Scalar, kind: pa.DataType) -> pa.Scalar | None:
    try:
        return text.cast(kind)
    except pa.ArrowInvalid:
        return None


def _numpy(mask: pa.Array) -> np.ndarray:
    return np.asarray(mask.fill_null(False) if mask.null_count else mask)
