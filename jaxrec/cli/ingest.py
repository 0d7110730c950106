"""Compiles CSV and Parquet files to a log folder, in little memory; a killed run goes on by the same command.

    jaxrec ingest --input='clicks-*.csv' --mapping=mapping.json --output=logs/mine
    jaxrec ingest --input=clicks.csv --user=uid --item=sku --time=ts --time_unit=s \
        --label=click --item_attribute='tags:multi:separator=|' --output=logs/mine
    jaxrec ingest --input=day2.csv --extend=logs/day1 --output=logs/day2
    jaxrec ingest --input=shown.csv --mapping=shown.json --sessions --output=logs/sessions

The keys of a mapping are listed in `jaxrec.data.ingest.mapping`. Without a mapping --extend takes that of the
log that it extends. Rows that cannot be used are counted by reason, and their first lines
shown. With --sessions a row is an item that a request showed, and the mapping tells which request by
`session`, see `jaxrec.data.ingest.sessions`; such a log is made of files that are read into memory.
"""

import json
from pathlib import Path
from typing import Any

from absl import flags

from jaxrec.cli.flags import friendly

INPUT = flags.DEFINE_multi_string('input', None, 'CSV or Parquet file, or a pattern; may be repeated.', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'Folder of the log.', required=True)
MAPPING = flags.DEFINE_string('mapping', None, 'JSON file that says which column is what.')
EXTEND = flags.DEFINE_string('extend', None, 'An earlier log that the new one goes on from.')
SESSIONS = flags.DEFINE_bool('sessions', False, 'Make a session log, of rows that are shown items.')
STRICT = flags.DEFINE_bool('strict', False, 'Refuse the first row that cannot be used.')
SEED = flags.DEFINE_integer('seed', 0, 'Of the hash that assigns ids.')
USER = flags.DEFINE_string('user', None, 'Column of the user; without one the log is a click log.')
ITEM = flags.DEFINE_string('item', None, 'Column of the item.')
TIME = flags.DEFINE_string('time', None, 'Column of the time.')
TIME_UNIT = flags.DEFINE_enum('time_unit', None, ['iso', 's', 'ms', 'us'], 'Of the time column.')
LABEL = flags.DEFINE_string('label', None, 'Column of the label: click, rating, ...')
POSITIVE = flags.DEFINE_multi_string('positive', None, 'Value of the label that means 1; may be repeated.')
CONTEXT = flags.DEFINE_list('context', [], 'Features of an event: column, or column:kind[:key=value]...')
ITEM_ATTRIBUTE = flags.DEFINE_multi_string('item_attribute', [], 'Feature of items, the same.')
USER_ATTRIBUTE = flags.DEFINE_multi_string('user_attribute', [], 'The same of users.')
ITEMS_FILE = flags.DEFINE_string('items_file', None, 'File of item attributes; default: the event files.')
USERS_FILE = flags.DEFINE_string('users_file', None, 'The same of users.')
DELIMITER = flags.DEFINE_string('delimiter', None, 'Of CSV files; default: found in the first line.')
ENCODING = flags.DEFINE_string('encoding', None, 'Of CSV files; default: utf-8.')
FORMAT_FLAGS = {'delimiter': DELIMITER, 'encoding': ENCODING}
COLUMN_FLAGS = (
    USER, ITEM, TIME, TIME_UNIT, LABEL, POSITIVE, CONTEXT, ITEM_ATTRIBUTE, USER_ATTRIBUTE, ITEMS_FILE,
    USERS_FILE,
)  # fmt: skip


def mapping_of_flags() -> dict[str, Any]:
    """The mapping that the column flags describe."""
    from jaxrec.data.ingest.mapping import describe_columns

    named = {flag.name: flag.value for flag in (USER, ITEM, TIME, TIME_UNIT, LABEL, POSITIVE)}
    features = {flag.name: flag.value for flag in (CONTEXT, ITEM_ATTRIBUTE, USER_ATTRIBUTE)}
    return describe_columns(named, features, {'items': ITEMS_FILE.value, 'users': USERS_FILE.value})


def given_mapping() -> dict[str, Any]:
    """The mapping of the file, of the flags, or of the log that is extended."""
    from jaxrec.data.ingest import load_mapping
    from jaxrec.data.ingest.times import with_unit

    by_flags = [flag.name for flag in COLUMN_FLAGS if flag.value]
    if MAPPING.value and by_flags:
        raise ValueError(f'--mapping and --{by_flags[0]} are both given: describe all columns in one place')
    if MAPPING.value:
        mapping = load_mapping(MAPPING.value)
    elif by_flags or not EXTEND.value:
        mapping = mapping_of_flags()
    else:
        try:
            manifest = json.loads((Path(EXTEND.value) / 'manifest.json').read_text())
        except (OSError, ValueError) as error:
            raise ValueError(f'--extend={EXTEND.value} is no log ({error}): give the folder of one') from None
        mapping = manifest.get('ingest', {}).get('mapping')
        if mapping is None:
            raise ValueError(f'{EXTEND.value} was not made by ingest and holds no mapping: give --mapping')
    format_ = {name: flag.value for name, flag in FORMAT_FLAGS.items() if flag.value is not None}
    mapping = mapping | ({'format': mapping.get('format', {}) | format_} if format_ else {})
    return with_unit(mapping, INPUT.value) if by_flags else mapping


@friendly
def main(_: list[str]) -> None:
    """Ingests and reports."""
    from jaxrec.data.ingest import ingest, make_mapping
    from jaxrec.data.ingest.report import report, report_sessions
    from jaxrec.data.ingest.sessions import ingest_sessions

    mapping = make_mapping(given_mapping())
    if SESSIONS.value:
        if EXTEND.value:
            raise ValueError('--sessions and --extend: a session log extends no other, ingest all files anew')
        made = ingest_sessions(INPUT.value, mapping, OUTPUT.value, seed=SEED.value, strict=STRICT.value)
        print(report_sessions(made))
        print(f'next: jaxrec onerec tokenize --model=OneRec --log={made.folder} --workdir=runs/tokens')
        return
    log = ingest(INPUT.value, mapping, OUTPUT.value, extend=EXTEND.value, seed=SEED.value, strict=STRICT.value)
    print(report(log))
    print(f'next: jaxrec train --model=CAN-DNN --log={log.folder} --workdir=runs/mine')
