"""Amazon reviews as TIGER, P5, S3-Rec and LETTER share them: sequences of items, their texts, published IDs.

A folder holds `sequences.txt` (a line a user: the user, then items in the order of time, without times) and
`items.tsv`, whose columns are `item_id`, `text`, `attribute_ids` (numbers, separated by spaces) and any number of
`<name>_sid`, semantic IDs such as `<a_183> <b_70> <c_232>`. Further IDs may lie as JSON in `indexes/<name>.index.json`,
{row of items.tsv from 0: list of tokens}. All files may be packed as `.gz`.

Letters: N interactions, V items.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxrec.configurable import configurable
from jaxrec.data.logs.behaviour_log import BehaviourLog, ColumnSpec, compile_log
from jaxrec.data.logs.columns import Ragged, is_name
from jaxrec.data.readers.blocks import Block, BlockBuilder, in_blocks, occurred, read_table
from jaxrec.data.readers.files import find_file, open_file

REMEDY = 'place sequences.txt and items.tsv there, plain or packed as .gz'
EVENTS, ITEMS, INDEXES = 'sequences.txt', 'items.tsv', 'indexes'
NEEDED = ('item_id', 'text', 'attribute_ids')
SID = '_sid'  # ends the name of a column of semantic IDs
INDEX = '.index.json'
EMPTY = -1  # stands for the user of a line without one


class Sequences(BlockBuilder):
    """Interactions in the order of their lines: `user`, `item`; an empty line has `user` `EMPTY`."""

    COLUMNS: ClassVar[Mapping[str, type]] = {'user': np.int64, 'item': np.int64}
    MANUAL_DOWNLOAD_INSTRUCTIONS, FILE = REMEDY, EVENTS

    def read(self, files: Sequence[Path]) -> Iterator[Block]:
        """Yields blocks of interactions, and refuses a line that is no sequence, or a user's second one."""
        return in_blocks(_interactions(files[0]), self.COLUMNS)


class SequenceItems(BlockBuilder):
    """Items in the order of their lines: `item`, `text`, `attributes` and `ids`, as they are written."""

    COLUMNS: ClassVar[Mapping[str, type]] = {'item': np.int64, 'text': str, 'attributes': str, 'ids': str}
    MANUAL_DOWNLOAD_INSTRUCTIONS, FILE = REMEDY, ITEMS

    def read(self, files: Sequence[Path]) -> Iterator[Block]:
        """Yields blocks of items; several IDs of an item are joined by tabs."""
        return in_blocks(_items(files[0]), self.COLUMNS)


@configurable('log')
def compile_sequences(
    data_dir: str | Path, folder: str | Path, name: str = 'amazon-beauty', seed: int = 0
) -> BehaviourLog:
    """Compiles sequences of items to a log without times, in which the order is all there is.

    Items have `text` (categorical: the text itself), `attributes` (multi-valued), and a categorical column for each
    published set of semantic IDs: `<name>_sid` as `items.tsv` calls it, and `<name>_sid` of each
    `indexes/<name>.index.json`. The benchmarks' protocol is the split 'leave_last_out' with all items ranked. Empty
    lines are dropped and counted; items that repeat in a sequence and users of fewer than three items, who only train,
    are counted and kept.

    Args:
      data_dir: where the folder `name` lies, or that folder.
      folder: where the log will lie.
      name: of the folder.
      seed: of the hash that assigns ids.

    Raises:
      ValueError: for missing files, and for a line that is malformed, which is named.
    """
    found = [find_file(data_dir, file, (name,), REMEDY) for file in (EVENTS, ITEMS)]
    indexes = sorted(found[1].parent.joinpath(INDEXES).glob(f'*{INDEX}*'))
    files = [*found, *indexes]
    request = {'reader': Sequences.tag(), 'seed': seed}
    if made := BehaviourLog.of_request(folder, files, request):
        return made
    events = read_table(Sequences, found[:1], folder)
    empty = events['user'] == EMPTY
    events = {key: column[~empty] for key, column in events.items()}
    if not len(events['user']):
        raise ValueError(f'{found[0]} has no sequence: {REMEDY}')
    items = read_table(SequenceItems, found[1:], folder)
    columns = _attributes(items, found[1], indexes)
    kinds = {'text': 'categorical', 'attributes': 'multi'}
    described = {key: ColumnSpec(kinds.get(key, 'categorical')) for key in columns if key != 'item'}
    dropped = occurred({'empty lines': int(empty.sum())})
    return compile_log(
        folder, events, columns, columns=described, sources=files, dropped=dropped, notes=_irregular(events),
        request=request, seed=seed,
    )  # fmt: skip


def _interactions(path: Path) -> Iterator[tuple[int, int]]:
    seen: dict[int, int] = {}
    with open_file(path, REMEDY) as stream:
        for number, line in enumerate(stream, 1):
            try:
                user, *items = map(int, line.split()) if line.strip() else (EMPTY, EMPTY)
            except ValueError as error:
                raise ValueError(f'{path}:{number}: {error}: a user and items are integers') from None
            if max((user, *items)) >= 2**31 or b'_' in line:  # int() takes 1_0 for 10
                raise ValueError(f'{path}:{number}: users and items are numbers below 2^31: repair the line')
            if min(user, *items, 0) < 0 and line.strip():
                raise ValueError(f'{path}:{number}: users and items are numbered from 0: repair the line')
            if not items:
                raise ValueError(f'{path}:{number}: user {user} has no items: leave the line out')
            if user != EMPTY and seen.setdefault(user, number) != number:
                raise ValueError(f'{path}:{number}: user {user} has a sequence before, in line {seen[user]}: keep one')
            for item in items:
                yield user, item


def _items(path: Path) -> Iterator[tuple[int, str, str, str]]:
    with open_file(path, REMEDY) as stream:
        header = _fields(stream.readline())
        ids = [place for place, name in enumerate(header) if name.endswith(SID)]
        if missing := [name for name in NEEDED if name not in header]:
            raise ValueError(f'{path}:1: no column {missing[0]!r} in {header}: it has {", ".join(NEEDED)}')
        places = [header.index(name) for name in NEEDED]
        for number, line in enumerate(stream, 2):
            fields = _fields(line)
            if len(fields) != len(header):
                raise ValueError(f'{path}:{number}: {len(fields)} fields instead of {len(header)}: repair the line')
            item, text, attributes = (fields[place] for place in places)
            if not all(word.isdecimal() and int(word) < 2**31 for word in (item, *attributes.split())):
                raise ValueError(
                    f'{path}:{number}: item {item!r} and attributes {attributes!r} are no integers: repair the line'
                )
            yield int(item), text, attributes, '\t'.join(fields[place] for place in ids)


def _fields(line: bytes) -> list[str]:
    return line.decode().rstrip('\r\n').split('\t')


def _attributes(items: Mapping[str, Any], path: Path, indexes: Sequence[Path]) -> dict[str, Any]:
    """Columns of the items, those of published IDs included."""
    text = lambda name: items[name].values[items[name].codes]
    with open_file(path, REMEDY) as stream:
        names = [name for name in _fields(stream.readline()) if name.endswith(SID)]
    rows = [row.split() for row in text('attributes')]
    columns = {'item': items['item'], 'text': items['text'], 'attributes': Ragged.from_rows(rows, str)}
    ids = [row.split('\t') for row in text('ids')]
    for place, name in enumerate(names):
        columns[_column_name(name, path)] = np.asarray([row[place] for row in ids], str)
    for index in indexes:
        name = _column_name(index.name.partition(INDEX)[0] + SID, index)
        if name in columns:
            raise ValueError(f'{index} and {path} both have the IDs {name!r}: rename one')
        columns[name] = _read_index(index, len(items['item']))
    return columns


def _column_name(name: str, path: Path) -> str:
    if not is_name(name):
        raise ValueError(f'{path}: semantic IDs called {name!r}: rename them, to letters, digits and _')
    return name


def _read_index(path: Path, count: int) -> np.ndarray:
    """str [V]: the IDs of a published index by rows of the items."""
    with open_file(path, REMEDY) as stream:
        try:
            index = json.load(stream)
            found = {int(row): ' '.join(map(str, tokens)) for row, tokens in index.items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise ValueError(f'{path} is no index ({error}): give {{row: list of tokens}}') from None
    if found.keys() != set(range(count)):
        lacking = next((row for row in range(count) if row not in found), count)
        raise ValueError(
            f'{path} has {len(found)} IDs for {count} items, row {lacking} is the first to differ: give one '
            'for each row of items.tsv, from 0'
        )
    return np.asarray([found[row] for row in range(count)], str)


def _irregular(events: Mapping[str, np.ndarray]) -> dict[str, int]:
    """What is worth knowing of the sequences, counted."""
    _, counts = np.unique(events['user'], return_counts=True)
    order = np.lexsort((events['item'], events['user']))
    same = (np.diff(events['item'][order]) == 0) & (np.diff(events['user'][order]) == 0)
    notes = {
        'items that a user had met before': int(same.sum()),
        'users of fewer than three items, who only train': int((counts < 3).sum()),
    }
    return occurred(notes)
