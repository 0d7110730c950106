"""The unit of a column of times, guessed from its first values where nothing names it."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.ingest.blocks import read_blocks
from jaxrec.data.ingest.fields import Format
from jaxrec.data.ingest.files import find_files

LOOKED_AT = 1_000  # rows
# Numbers below the last bound of a unit are times since 1970 between 1973 and 5138 in it.
BOUNDS = (('s', 1e8, 1e11), ('ms', 1e11, 1e14), ('us', 1e14, 1e17))


def with_unit(mapping: Mapping[str, Any], inputs: Sequence[str]) -> dict[str, Any]:
    """Adds the unit of the time column to a mapping, as `describe_columns` returns it, that names none.

    The mapping is unchanged where there is no time, its unit is given, the column holds timestamps, or its values leave
    the unit open.

    Raises:
      ValueError: a file that cannot be read, or lacks the column.
    """
    time = mapping.get('time')
    if not time or (isinstance(time, Mapping) and time.get('unit')):
        return dict(mapping)
    column = time['column'] if isinstance(time, Mapping) else time
    path = find_files([str(pattern) for pattern in inputs])[0]
    block = next(iter(islice(read_blocks(path, [column], Format(**mapping.get('format', {}))), 1)))
    unit = _unit_of(block.columns[column])
    return {**mapping, 'time': {'column': column, **({'unit': unit} if unit else {})}}


def _unit_of(values: pa.Array) -> str | None:
    values = values.slice(0, LOOKED_AT)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        return None
    if pa.types.is_binary(values.type):
        values = values.cast(pa.string())
    if pa.types.is_string(values.type):
        values = values.filter(pc.not_equal(values, ''))
        try:
            values = values.cast(pa.float64())
        except pa.ArrowInvalid:
            return 'iso'
    low, high = pc.min(values).as_py(), pc.max(values).as_py()
    if low is None:
        return None
    return next((unit for unit, least, most in BOUNDS if least <= low and high < most), None)
