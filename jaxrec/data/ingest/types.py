"""Integers or texts: which of them ids and categories are, before the first row is read."""

import dataclasses
from collections.abc import Sequence

import pyarrow as pa

from jaxrec.data.ingest.blocks import open_parquet
from jaxrec.data.ingest.chunks import Part
from jaxrec.data.ingest.convert import check_type
from jaxrec.data.ingest.fields import Field
from jaxrec.data.ingest.files import kind_of
from jaxrec.data.logs.log import Log


def resolve_types(parts: Sequence[Part], base: Log | None = None) -> tuple[list[Part], dict[str, str]]:
    """Fills in the types of fields, 'string' or 'integer', from the heads of the files; returns them by column too.

    A type that the mapping names is taken; else that of the log that is extended, `base`; else integers where all files
    are Parquet with an integer column, and texts otherwise.

    Raises:
      ValueError: naming file and column, for one that is missing or of a type that does not fit.
    """
    found: dict[str, list[str]] = {}
    for part in parts:
        columns = [field.column for field in part.fields]
        part.check_columns(columns)
        if kind_of(part.path) == 'csv':
            for field in part.fields:
                check_type(field, pa.binary(), f'{part.path}: column {field.column!r}')
                found.setdefault(field.name, []).append('string')
            continue
        with open_parquet(part.path) as file:
            schema = file.schema_arrow
        for field in part.fields:
            kind = schema.field(field.column).type
            check_type(field, kind, f'{part.path}: column {field.column!r}')
            whole = pa.types.is_integer(kind) or pa.types.is_boolean(kind)
            found.setdefault(field.name, []).append('integer' if whole else 'string')
    types = {}
    for field in (field for part in parts for field in part.fields if field.coded):
        held = None if base is None else _type_in(base, field)
        uniform = 'integer' if set(found[field.name]) == {'integer'} else 'string'
        types[field.name] = field.type or held or uniform
        if held is not None and held != types[field.name]:
            raise ValueError(
                f'{field.name!r} has type {types[field.name]}, it was {held} in '
                f'{base.folder if base else None}: give it that type'
            )
    typed = lambda fields: tuple(dataclasses.replace(f, type=types.get(f.name)) for f in fields)
    return [part._replace(fields=typed(part.fields)) for part in parts], types


def _type_in(base: Log, field: Field) -> str | None:
    """The type that a column has in a log; None where the log does not know."""
    known = base.manifest.get('ingest', {}).get('types', {})
    column = base.schema.get(field.name)
    if field.name in known or column is None or column.vocabulary is None:
        return known.get(field.name)
    vocabulary = base.vocabulary(column.vocabulary)
    if vocabulary.buckets is not None or not len(vocabulary.keys):
        return None
    return 'string' if vocabulary.keys.dtype.kind == 'U' else 'integer'
