"""Item vectors for a log's items: from a file, texts or behaviour, or content and behaviour aligned.

V items of the log, n new items, D width.
"""

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.logs.log import Log
from jaxrec.data.logs.vocabulary import FIRST
from jaxrec.data.simulators.sessions import Audience
from jaxrec.data.sources.user_histories import training_interactions
from jaxrec.data.vectors.aligned_vectors import AlignedVectors, Alignment, fit_alignment
from jaxrec.data.vectors.item_vectors import VectorFile, behaviour_vectors
from jaxrec.data.vectors.text_vectors import TextVectors, fit_text_vectors
from jaxrec.ops.kmeans import Rows

SIMULATED, COLUMN = 'simulated', 'column:'
TEXTS, ALIGNMENT = 'texts.npz', 'alignment.npz'
VECTOR_OPTIONS: dict[str, Any] = {
    'content': '', 'content_items': '', 'text_width': 128, 'behaviour': 0, 'window': 5, 'share': 0.5,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class ItemVectors:
    """Vectors, and the models that make those of new items."""

    rows: Rows  # float [V, D], in the order of the log's items
    texts: TextVectors | None = None  # of content that is texts
    alignment: Alignment | None = None  # of content and behaviour
    notes: tuple[str, ...] = ()  # for the report, a line each

    def save(self, folder: Path) -> None:
        """Writes what new items need."""
        if self.texts:
            self.texts.save(folder / TEXTS)
        if self.alignment:
            self.alignment.save(folder / ALIGNMENT)


class Reordered:
    """Vectors of a file in another order, read on demand; `shape` is (V, D)."""

    def __init__(self, vectors: Rows, order: np.ndarray):
        self._vectors, self._order = vectors, order
        self.shape = (len(order), vectors.shape[1])

    def __getitem__(self, index: Any) -> np.ndarray:
        """Returns the rows of a slice or of integers, float32."""
        return np.asarray(self._vectors[self._order[index]], np.float32)


def item_vectors(log: Log, data: Mapping[str, Any], options: Mapping[str, Any]) -> ItemVectors:
    """Computes the vectors of a log's items.

    Args:
      log: a `SessionLog` or a `BehaviourLog`.
      data: the config's data section, whose label and split select the interactions of training.
      options: `content`, an `.npy` file of vectors, a `.csv` file of texts with the columns item and text,
        'column:<name>' for the texts of an attribute of the log's items, 'simulated' for those of a simulated world, or
        '' for none; `content_items`, of an `.npy` file, a text file with the name of an item a line, without which rows
        are items in the order of the log's ids; `text_width`, at most; `behaviour`, the width of vectors of behaviour,
        0 for none; their `window`; and the `share` of behaviour against content.

    Raises:
      ValueError: neither content nor behaviour, or files that do not fit the log.
    """
    if not options['content'] and not options['behaviour']:
        raise ValueError(
            'items have neither content nor behaviour: give content (an .npy file, a .csv file of texts), '
            'or the width of behaviour, or both'
        )
    found = _content(log, options) if options['content'] else None
    if not options['behaviour']:
        assert found is not None
        return found
    users, items = training_interactions(log, data['label'], data['split'])
    known = items >= FIRST
    count, width, window = log.schema['item'].rows - FIRST, options['behaviour'], options['window']
    behaviour = behaviour_vectors(users[known], items[known] - FIRST, count, width, window=window)
    by_users = np.asarray(behaviour.any(1))
    without = int((~by_users).sum())
    notes = (f'{without} of {len(behaviour)} items stand near no other in training and have no behaviour',)
    if found is None:
        return ItemVectors(behaviour, notes=notes if without else ())
    alignment = fit_alignment(found.rows, behaviour, share=options['share'])
    rows = AlignedVectors(alignment, found.rows, behaviour, by_users)
    return ItemVectors(rows, found.texts, alignment, (*found.notes, *(notes if without else ())))


def new_vectors(folder: Path, content: str, content_items: str) -> tuple[np.ndarray, list[str]]:
    """Vectors of items that came after tokenizing, in the space of the old ones: float32 [n, D], and the items' names.

    `content` is as the old items', an `.npy` file with names in the file `content_items`, or a `.csv` file of texts.

    Raises:
      ValueError: content of another kind than that of the old items, or vectors without names.
    """
    of_texts, aligned = (folder / TEXTS).exists(), (folder / ALIGNMENT).exists()
    if Path(content).suffix == '.csv':
        if not of_texts:
            raise ValueError(f'{content} holds texts, and the items of {folder} have none: give vectors, as then')
        names, texts = read_texts(content)
        rows = TextVectors.load(folder / TEXTS).transform(texts)
    else:
        if of_texts or not content_items:
            raise ValueError(
                f'{content}: new items need their names, a line each (--content_items)'
                if not of_texts
                else f'{content}: the items of {folder} have texts, give a .csv file with item and text'
            )
        names = read_names(content_items)
        file = VectorFile(content)
        _check_count(content, len(file), content_items, len(names))
        rows = file[:]
    if repeated := _repeated(names):
        raise ValueError(f'{content_items or content} names {repeated!r} twice')
    if not names:
        raise ValueError(f'{content_items or content} names no item')
    if '' in names:
        raise ValueError(f'{content_items or content}: item {names.index("") + 1} has no name')
    return (Alignment.load(folder / ALIGNMENT).join(rows) if aligned else rows), names


def _content(log: Log, options: Mapping[str, Any]) -> ItemVectors:
    path, count = options['content'], log.schema['item'].rows - FIRST
    if path == SIMULATED:
        return ItemVectors(Audience(log.folder).item_vectors()[FIRST:])
    if path.startswith(COLUMN):
        return _of_texts(column_texts(log, path.removeprefix(COLUMN)), options['text_width'])
    if Path(path).suffix == '.csv':
        names, texts = read_texts(path)
        places, notes = find_places(log, names, path)
        return _of_texts([texts[place] for place in places], options['text_width'], notes)
    vectors = VectorFile(path)
    if not options['content_items']:
        if len(vectors) != count:
            raise ValueError(
                f'{path} has {len(vectors)} rows and {log.folder} {count} items: give content_items, a text '
                'file that names the item of each row'
            )
        return ItemVectors(vectors)
    names = read_names(options['content_items'])
    _check_count(path, len(vectors), options['content_items'], len(names))
    places, notes = find_places(log, names, options['content_items'])
    return ItemVectors(Reordered(vectors, places), notes=notes)


def _of_texts(texts: Sequence[str], width: int, notes: tuple[str, ...] = ()) -> ItemVectors:
    fitted = fit_text_vectors(texts, width)
    rows = fitted.transform(texts)
    blank = int((~rows.any(1)).sum())
    if rows.shape[1] < width:
        notes += (
            f'{len(rows)} texts of {len(fitted.terms)} terms: their vectors have {rows.shape[1]} numbers, not {width}',
        )
    if blank:
        notes += (f'{blank} of {len(rows)} texts have no known term',)
    return ItemVectors(rows, fitted, notes=notes)


def column_texts(log: Log, name: str) -> list[str]:
    """The raw texts, V of them, of an attribute of the log's items, '' without one; a ValueError if it has none."""
    texts = [
        column
        for column, described in log.schema.items()
        if described.kind == 'categorical'
        and column in log.stores['items']
        and log.vocabulary(str(described.vocabulary)).keys.dtype.kind == 'U'
    ]
    if name not in texts:
        raise ValueError(f'the items of {log.folder} have no texts {name!r}: name one of {", ".join(texts) or "none"}')
    ids = log.stores['items'][name][FIRST:]
    keys = log.vocabulary(str(log.schema[name].vocabulary)).keys
    return [str(keys[i - FIRST]) if i >= FIRST else '' for i in ids.tolist()]


def find_places(log: Log, names: Sequence[str], path: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Finds each item of a log among the names, each once, of a file: int64 [V], and a note on names not in the log.

    Raises:
      ValueError: a name that occurs twice or fits none of the log's, or an item of the log without one.
    """
    if repeated := _repeated(names):
        raise ValueError(f'{path} names {repeated!r} twice')
    ids = log.vocabulary('item').encode(as_keys(log, names, path))
    places = np.full(log.schema['item'].rows, -1, np.int64)
    known = ids >= FIRST
    places[ids[known]] = np.flatnonzero(known)
    places = places[FIRST:]
    if (places < 0).any():
        lacking = log.vocabulary('item').keys[int(np.argmax(places < 0))]
        raise ValueError(
            f'{path} has nothing for item {lacking.item()!r} of {log.folder} ({(places < 0).sum()} of '
            f'{len(places)} lack it): every item needs an entry'
        )
    more = int((~known).sum())
    return places, (f'{more} items of {path} are not in the log and left out',) if more else ()


def as_keys(log: Log, names: Sequence[str], path: str, column: str = 'item') -> np.ndarray:
    """Converts names of a file to the log's raw values, text or integers; a ValueError names what is no integer."""
    if log.vocabulary(column).keys.dtype.kind == 'U':
        return np.asarray(names, str)
    try:
        return np.asarray([int(name) for name in names], np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f'{path}: {column}s of {log.folder} are integers ({error})') from None


def read_names(path: str) -> list[str]:
    """Returns the lines of a text file."""
    try:
        with Path(path).open(encoding='utf-8-sig') as file:  # ends lines at \n and \r, not within a name
            return [line.removesuffix('\n') for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} cannot be read ({error}): give a text file, the name of an item a line') from None


def read_texts(path: str) -> tuple[list[str], list[str]]:
    """Returns items and texts of a CSV file with the columns item and text."""
    try:
        with Path(path).open(newline='', encoding='utf-8-sig') as file:
            reader = csv.DictReader(file)
            if not {'item', 'text'} <= set(reader.fieldnames or ()):
                raise ValueError(f'{path} has the columns {reader.fieldnames}: item and text are needed')
            rows = []
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError(
                        f'{path}:{reader.line_num}: {"more" if None in row else "fewer"} fields than the '
                        'header has: put a text that holds commas in quotes'
                    )
                rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f'{path} cannot be read ({error}): give a CSV file with item and text') from None
    if not rows:
        raise ValueError(f'{path} names no item')
    return [row['item'] for row in rows], [row['text'] for row in rows]


def _repeated(names: Sequence[str]) -> str | None:
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]


def _check_count(path: str, rows: int, names_path: str, names: int) -> None:
    if rows != names:
        raise ValueError(f'{path} has {rows} rows and {names_path} {names} lines: a line is the item of a row')
