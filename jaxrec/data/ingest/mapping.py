"""Which column of a user's files is what: the mapping from a CSV or Parquet file to a behaviour log.

A mapping is a dict, usually read from JSON:

    {"user": "uid", "item": {"column": "sku", "min_count": 2}, "time": {"column": "ts", "unit": "ms"},
     "label": {"column": "type", "name": "bought", "positive": ["buy"]},
     "events": {"price": {"kind": "numeric"}},
     "items": {"file": "items.csv", "key": "sku", "columns": {"genres": {"kind": "multi", "separator": "|"}}},
     "users": {"columns": {"city": {"kind": "categorical"}}},
     "format": {"delimiter": ";", "encoding": "latin-1"}}

Attributes without a `file` of their own are read from the event files. Without a user there are no
histories: such a mapping describes a click log of impressions, whose label is always called `click`.
"""

import dataclasses
import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxrec.data.ingest.fields import TYPES, UNITS, Field, Format, LogMapping, Side
from jaxrec.data.logs.columns import is_name
from jaxrec.data.logs.schema import ColumnSpec

RESERVED = ('user', 'item', 'time', 'generation')
_TOP = ('user', 'item', 'time', 'label', 'events', 'items', 'users', 'format')
_FEATURE = ('column', 'kind', 'type', 'separator', 'fill', 'min_count', 'buckets', 'vocabulary', 'width')


def load_mapping(path: str | Path) -> dict[str, Any]:
    """Reads a mapping, unchecked, from a JSON file; paths of side files are taken from its folder.

    Raises:
      ValueError: the file is missing or no JSON object.
    """
    path = Path(path)
    try:
        mapping = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise ValueError(f'mapping {path} does not exist: write one, or map columns with --user, --item, ...') from None
    except UnicodeDecodeError as error:
        raise ValueError(f'mapping {path} is not UTF-8 text ({error.reason}): save it as UTF-8') from None
    except json.JSONDecodeError as error:
        raise ValueError(f'mapping {path}:{error.lineno} is no JSON ({error.msg}): mend that line') from None
    if not isinstance(mapping, dict):
        raise ValueError(f'mapping {path} is a {type(mapping).__name__}: it must be a JSON object {{...}}')
    for side in ('items', 'users'):
        if isinstance(mapping.get(side), dict) and mapping[side].get('file'):
            mapping[side]['file'] = str(path.parent / mapping[side]['file'])
    return mapping


def parse_column(text: str, place: str) -> tuple[str, dict[str, Any]]:
    """Reads a feature column from one line of text; returns its name in the log and its description.

    Args:
      text: 'column:kind', then any number of ':key=value', the keys being those of a mapping's column; else a
        ValueError.
      place: of the text, for messages.
    """
    name, _, rest = text.partition(':')
    kind, *options = rest.split(':')
    described: dict[str, Any] = {'kind': kind}
    if not name or not kind or not all('=' in option for option in options):
        raise ValueError(
            f'{place}: give column:kind and then :key=value, such as tags:multi:separator=| or '
            'brand:categorical:min_count=5'
        )
    for option in options:
        key, _, value = option.partition('=')
        described[key] = int(value) if value.isdecimal() and key != 'fill' else value
    return name, described


def describe_columns(
    named: Mapping[str, Any], features: Mapping[str, Sequence[str]], files: Mapping[str, str | None] | None = None
) -> dict[str, Any]:
    """Returns the mapping, unchecked, that single columns describe.

    Args:
      named: `user`, `item`, `time`, `time_unit`, `label` and `positive`; None where there is none.
      features: `context`, `item_attribute` and `user_attribute`, each as `parse_column` reads it; a column without a
        kind is categorical.
      files: `items` and `users`, files of attributes; None for the files of events.

    Raises:
      ValueError: a feature that `parse_column` refuses.
    """
    files = files or {}
    columns = {
        name: dict(parse_column(text if ':' in text else f'{text}:categorical', f'--{name}={text}') for text in texts)
        for name, texts in features.items()
    }
    pairs = lambda **keys: {key: value for key, value in keys.items() if value}
    return pairs(
        user=named.get('user'),
        item=named.get('item'),
        time=pairs(column=named.get('time'), unit=named.get('time_unit')) if named.get('time') else None,
        label=pairs(column=named.get('label'), positive=named.get('positive')) if named.get('label') else None,
        events=columns['context'],
        items=pairs(file=files.get('items'), columns=columns['item_attribute']),
        users=pairs(file=files.get('users'), columns=columns['user_attribute']),
    )


def make_mapping(given: Mapping[str, Any]) -> LogMapping:
    """Checks a mapping, see the module's docstring; a column may be given by its name alone.

    Raises:
      ValueError: naming the key, what is allowed and the remedy.
    """
    _allow(given, _TOP, 'mapping')
    users = bool(given.get('user'))
    _check_roles(given, users)
    events = [_key(role, given[role], role) for role in ('user', 'item') if given.get(role)]
    if given.get('time'):
        events.append(_time(given['time']))
    if given.get('label'):
        events.append(_label(given['label'], None if users else 'click'))
    columns = _mapping_of(given.get('events') or {}, 'events')
    events += [_feature(name, column, f'events.{name}') for name, column in columns.items()]
    items, users_ = (_side(side, key, given) for side, key in (('items', 'item'), ('users', 'user')))
    mapping = LogMapping(tuple(events), items, users_, _format(given.get('format') or {}), dict(given))
    _check_names(mapping)
    _check_keys(mapping)
    return mapping


def _check_roles(given: Mapping[str, Any], users: bool) -> None:
    if users and not given.get('item'):
        raise ValueError(
            'the mapping has no \'item\': name the column of what users met ({"item": "column"} or --item=column)'
        )
    if not users and not given.get('label'):
        raise ValueError(
            "the mapping has neither 'user' nor 'label': name the column that tells users apart ({\"user\": "
            '"column"} or --user=column), or, for impressions without users, the label'
        )
    for side in ('items', 'users'):
        if not users and given.get(side):
            raise ValueError(
                f"{side} in a mapping without 'user': impressions without users have all features in their "
                'own rows, list them under events'
            )


def _allow(given: Mapping[str, Any], allowed: tuple[str, ...], where: str) -> None:
    for key in given:
        if key not in allowed:
            close = difflib.get_close_matches(key, allowed, n=1)
            hint = f'; did you mean {close[0]!r}?' if close else ''
            raise ValueError(f'{where}.{key} is not a key of a mapping{hint}; allowed: {", ".join(allowed)}')


def _mapping_of(given: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ValueError(f'{where} is {given!r}: give an object, such as {{"price": {{"kind": "numeric"}}}}')
    return given


def _column(given: Any, where: str, allowed: tuple[str, ...], default: str | None = None) -> dict[str, Any]:
    """A column's description as a dict with `column`; a bare name is a description."""
    described: dict[str, Any] = {'column': given} if isinstance(given, str) else {**_mapping_of(given, where)}
    _allow(described, allowed, where)
    described.setdefault('column', default)
    if not isinstance(described['column'], str) or not described['column']:
        raise ValueError(f'{where}.column is {described["column"]!r}: name a column of the file')
    return described


def _key(role: str, given: Any, where: str) -> Field:
    options = ('column', 'type', 'min_count', 'buckets', 'vocabulary') if role == 'item' else ('column', 'type')
    described = _column(given, where, options)
    return Field(role, described['column'], role, _spec('categorical', described, where), _type(described, where))


def _time(given: Any) -> Field:
    described = _column(given, 'time', ('column', 'unit'))
    unit = described.get('unit')
    if unit is not None and unit not in UNITS:
        raise ValueError(f'time.unit is {unit!r}: use one of {", ".join(UNITS)} (iso: 2017-11-25T10:00:00Z)')
    return Field('time', described['column'], 'time', unit=unit)


def _label(given: Any, called: str | None) -> Field:
    described = _column(given, 'label', ('column', 'name', 'positive', 'fill'))
    positive = described.get('positive')
    if positive is not None and (not isinstance(positive, list | tuple) or not positive):
        raise ValueError(f'label.positive is {positive!r}: list the values that count as 1, such as ["buy"]')
    texts = None if positive is None else tuple(str(value) for value in positive)
    name = called or described.get('name', described['column'])
    return Field(name, described['column'], 'label', positive=texts, fill=_fill(described, 'label'))


def _feature(name: str, given: Any, where: str) -> Field:
    described = _column(given, where, _FEATURE, default=name)
    kind = described.get('kind')
    if kind is None:
        raise ValueError(f'{where}.kind is missing: say categorical, multi or numeric')
    separator = described.get('separator')
    if (kind == 'multi') != (separator is not None) or separator == '':
        raise ValueError(
            f'{where}.separator is {separator!r} and its kind {kind!r}: a multi-valued column names what '
            'stands between its values, such as "|"; other kinds have none'
        )
    spec, type_ = _spec(kind, described, where), _type(described, where)
    if type_ == 'integer' and kind != 'categorical':
        raise ValueError(f'{where}.type is integer on a {kind} column: only categorical columns have a type')
    return Field(name, described['column'], 'feature', spec, type_, None, separator, None, _fill(described, where))


def _spec(kind: str, described: Mapping[str, Any], where: str) -> ColumnSpec:
    options = {name: described.get(name) for name in ('min_count', 'buckets', 'vocabulary', 'width')}
    for name in ('min_count', 'buckets', 'width'):
        value = options[name]
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f'{where}.{name} is {value!r}: give a whole number from 1')
    try:
        return ColumnSpec(kind, **{k: v for k, v in options.items() if v is not None})
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from None


def _type(described: Mapping[str, Any], where: str) -> str | None:
    if described.get('type') not in (None, *TYPES):
        raise ValueError(f'{where}.type is {described["type"]!r}: use one of {", ".join(TYPES)}')
    return described.get('type')


def _fill(described: Mapping[str, Any], where: str) -> Any:
    fill = described.get('fill')
    if isinstance(fill, bool) or not isinstance(fill, int | float | str | None):
        raise ValueError(f'{where}.fill is {fill!r}: give one number or text')
    return fill


def _side(side: str, key: str, given: Mapping[str, Any]) -> Side:
    described = _mapping_of(given.get(side) or {}, side)
    _allow(described, ('file', 'key', 'columns'), side)
    columns = _mapping_of(described.get('columns') or {}, f'{side}.columns')
    fields = tuple(_feature(name, column, f'{side}.columns.{name}') for name, column in columns.items())
    file = described.get('file') or None
    if file is None or not fields:
        if file or described.get('key'):
            lacks = 'columns: name the attributes to read' if file else 'file: say which file the key is of'
            raise ValueError(f'{side} has no {lacks}')
        return Side(fields)
    main = _column(given[key], key, ('column', 'type', 'min_count', 'buckets', 'vocabulary'))
    column = _column(described.get('key', main['column']), f'{side}.key', ('column',))['column']
    return Side(fields, str(file), Field(key, column, key, ColumnSpec('categorical'), main.get('type')))


def _format(given: Any) -> Format:
    described = dict(_mapping_of(given, 'format'))
    _allow(described, tuple(field.name for field in dataclasses.fields(Format)), 'format')
    for name in ('delimiter', 'quote'):
        value = described.get(name)
        if value is not None and (not isinstance(value, str) or len(value.encode()) > 1):
            raise ValueError(f'format.{name} is {value!r}: give one ASCII character, such as "," or "\\t"')
    if described.get('delimiter') == '':
        raise ValueError('format.delimiter is empty: give one character, or leave it out to have it found')
    header = described.get('header')
    if header is not None:
        if not isinstance(header, list | tuple) or not all(isinstance(name, str) for name in header):
            raise ValueError(f'format.header is {header!r}: list the names of all columns, in their order')
        described['header'] = tuple(header)
    try:
        ''.encode(described.get('encoding', 'utf-8'))
    except (LookupError, TypeError):
        raise ValueError(
            f'format.encoding is {described["encoding"]!r}: use one that Python knows, such as utf-8, latin-1 or cp1252'
        ) from None
    return Format(**described)


def _check_names(mapping: LogMapping) -> None:
    places: dict[str, str] = {}
    sides = {'events': mapping.events, 'items': mapping.items.fields, 'users': mapping.users.fields}
    for side, fields in sides.items():
        for field in fields:
            reserved = field.role in ('label', 'feature') and field.name in RESERVED
            if not is_name(field.name) or reserved:
                raise ValueError(
                    f'{side}: {field.name!r} cannot name a column of the log: use letters, digits and '
                    f'underscores, none of {", ".join(RESERVED)}, and say which column is meant by "column" '
                    '(for the label: by "name")'
                )
            if field.name in places:
                raise ValueError(
                    f'{field.name!r} occurs in {places[field.name]} and in {side}: all columns share one set '
                    'of names, rename one'
                )
            places[field.name] = side


def _check_keys(mapping: LogMapping) -> None:
    if mapping.items.fields and mapping.specs['item'].buckets:
        raise ValueError(
            'item.buckets with attributes of items: items in one bucket would share them, take out one of the two'
        )
    members: dict[str, list[Field]] = {}
    for field in (*mapping.events, *mapping.items.fields, *mapping.users.fields):
        if field.coded and field.spec is not None:
            members.setdefault(field.spec.vocabulary or field.name, []).append(field)
    for vocabulary, fields in members.items():
        if len({(f.spec.min_count, f.spec.buckets) for f in fields if f.spec}) > 1:
            names = ', '.join(field.name for field in fields)
            raise ValueError(
                f'columns {names} share vocabulary {vocabulary!r} but differ in min_count or buckets: give '
                'them the same'
            )
