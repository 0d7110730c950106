"""Between the passes: the dictionaries of all chunks become vocabularies, and every code an id.

Only distinct values are held in memory, never rows. Values are told apart by themselves, not by a hash, so no collision
can merge two of them.

K distinct values of a column, R rows of a chunk.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.ingest.chunks import Chunk
from jaxrec.data.ingest.convert import split_lists
from jaxrec.data.ingest.fields import Field
from jaxrec.data.logs.columns import Ragged
from jaxrec.data.logs.encoding import cut
from jaxrec.data.logs.schema import Column
from jaxrec.data.logs.vocabulary import OUT_OF_VOCABULARY, Vocabulary

AT_ONCE = 4_000_000  # dictionary entries merged in one go
_TEXT_BLOCK = 1 << 18


@dataclasses.dataclass
class Merged:
    """One column over all chunks."""

    distinct: pa.Array  # [K], every value once, in the order of first appearance
    counts: np.ndarray  # int64 [K], rows that hold it
    folder: Path  # of the codes of the chunks' own dictionaries

    def codes(self, chunk: Chunk, name: str, column: pa.DictionaryArray) -> np.ndarray:
        """int32 [R], which of `distinct` each row of a chunk holds."""
        return np.load(_remap_path(self.folder, chunk, name))[np.asarray(column.indices)]


class Coded(NamedTuple):
    """What a column's codes mean."""

    ids: np.ndarray | Ragged  # int32 [K], or `Ragged` of K rows for a multi-valued column
    column: Column  # its description in the manifest


def _remap_path(folder: Path, chunk: Chunk, name: str) -> Path:
    return folder / f'{chunk.path.stem}.{name}.npy'


def merge_column(chunks: Sequence[Chunk], name: str, folder: Path) -> Merged:
    """Merges the dictionaries of one column in the chunks, at least one, of one table.

    `folder` receives one array a chunk, from its codes to those of the merged column.
    """
    known, counts = None, np.zeros(0, np.int64)
    group: list[Chunk] = []
    waiting = 0
    for number, chunk in enumerate(chunks):
        group.append(chunk)
        waiting += len(chunk.columns().column(name).dictionary)
        if waiting < AT_ONCE and number < len(chunks) - 1:
            continue
        columns = [each.columns().column(name) for each in group]
        arrays = ([] if known is None else [known]) + [column.dictionary for column in columns]
        coded = pc.dictionary_encode(pa.chunked_array(arrays)).chunks
        known = coded[-1].dictionary
        counts = np.append(counts, np.zeros(len(known) - len(counts), np.int64))
        for each, column, remap in zip(group, columns, coded[-len(group) :], strict=True):
            codes = np.asarray(remap.indices)
            counts[codes] += np.bincount(np.asarray(column.indices), minlength=len(codes))
            np.save(_remap_path(folder, each, name), codes)
        group, waiting = [], 0
    assert known is not None
    return Merged(known, counts, folder)


def add_values(merged: Merged, values: np.ndarray) -> Merged:
    """Appends values, integers or strings, each once, that the column does not hold, with a count of 0."""
    added = pa.array(values, merged.distinct.type)
    new = added.filter(pc.invert(pc.is_in(added, merged.distinct)))
    counts = np.append(merged.counts, np.zeros(len(new), np.int64))
    return Merged(pa.concat_arrays([merged.distinct, new]), counts, merged.folder)


def make_vocabularies(
    columns: Mapping[str, tuple[Field, Merged]], bases: Mapping[str, Vocabulary], seed: int
) -> tuple[dict[str, Vocabulary], dict[str, Coded]]:
    """Gives ids to the values of all columns.

    Args:
      columns: {name: (field, its merged values and how often each counts)}.
      bases: {vocabulary: the one to be extended}.
      seed: of the hash that orders ids.

    Returns:
      {vocabulary: Vocabulary} and {column: Coded}.

    Raises:
      ValueError: columns that share a vocabulary hold integers and strings.
    """
    members: dict[str, list[str]] = {}
    for name, (field, _) in columns.items():
        assert field.spec is not None
        members.setdefault(field.spec.vocabulary or name, []).append(name)
    vocabularies, coded = {}, {}
    for vocabulary, names in members.items():
        made, ids = _one_vocabulary(vocabulary, [columns[n] for n in names], bases.get(vocabulary), seed)
        vocabularies[vocabulary] = made
        for name, of_values in zip(names, ids, strict=True):
            coded[name] = _describe(columns[name][0], vocabulary, made.size, of_values, columns[name][1].counts)
    return vocabularies, coded


def _one_vocabulary(
    name: str, members: Sequence[tuple[Field, Merged]], base: Vocabulary | None, seed: int
) -> tuple[Vocabulary, list[np.ndarray | Ragged]]:
    """The vocabulary that columns share, and for each column the ids of its K values."""
    values, weights, offsets = [], [], []
    for field, merged in members:
        listed, weight, starts = merged.distinct, merged.counts, None
        if field.spec is not None and field.spec.kind == 'multi':
            lists = split_lists(merged.distinct)
            listed, starts = lists.flatten(), np.asarray(lists.offsets, np.int64)
            weight = np.repeat(merged.counts, np.diff(starts))
        values.append(listed)
        weights.append(weight)
        offsets.append(starts)
    if len({array.type for array in values}) > 1:
        raise ValueError(
            f'columns {", ".join(f.name for f, _ in members)} share vocabulary {name!r} but hold integers '
            'and texts: give them one type'
        )
    spec = members[0][0].spec
    assert spec is not None
    if spec.buckets is not None:
        made = Vocabulary.hashed(spec.buckets, seed)
        ids = [np.concatenate([np.zeros(0, np.int32), *map(made.encode, _blocks(v))]) for v in values]
    else:
        made, ids = _enumerate(values, weights, spec.min_count, base, seed)
    return made, [
        array if starts is None else Ragged(array, starts) for array, starts in zip(ids, offsets, strict=True)
    ]


def _enumerate(
    values: list[pa.Array], weights: list[np.ndarray], min_count: int, base: Vocabulary | None, seed: int
) -> tuple[Vocabulary, list[np.ndarray]]:
    """A vocabulary over arrays of values that may repeat, and the ids of each array."""
    kind = values[0].type
    keys = [] if base is None else [pa.array(base.keys, kind)]
    present = [array.filter(pa.array(weight > 0)) for array, weight in zip(values, weights, strict=True)]
    if len(values) == 1 and not keys:
        distinct = pc.unique(present[0])
    else:
        distinct = pc.unique(pa.chunked_array([*keys, *present], kind))
    places = [np.asarray(pc.fill_null(pc.index_in(array, distinct), -1)) for array in values]
    counts = np.zeros(len(distinct), np.int64)
    for place, weight in zip(places, weights, strict=True):
        np.add.at(counts, place[place >= 0], weight[place >= 0])
    made, ids = Vocabulary.enumerate(numpy_values(distinct), counts, min_count=min_count, seed=seed, base=base)
    ids = np.append(ids, np.int32(OUT_OF_VOCABULARY))  # read at place -1: values that no row holds any more
    return made, [ids[place] for place in places]


def _describe(field: Field, vocabulary: str, rows: int, ids: np.ndarray | Ragged, counts: np.ndarray) -> Coded:
    spec, width = field.spec, 1
    assert spec is not None
    if isinstance(ids, Ragged):
        ids = cut(ids, spec.width)
        width = max(1, int(ids.lengths[counts > 0].max(initial=0)))
    return Coded(ids, Column(spec.kind, vocabulary, rows, width))


def _blocks(values: pa.Array) -> list[np.ndarray]:
    return [numpy_values(values.slice(start, _TEXT_BLOCK)) for start in range(0, len(values), _TEXT_BLOCK)]


def numpy_values(values: pa.Array) -> np.ndarray:
    """Converts strings or int64 [K] without nulls to numpy, strings of fixed width; a part at a time."""
    if pa.types.is_integer(values.type):
        return np.asarray(values).astype(np.int64)
    width = pc.max(pc.utf8_length(values)).as_py() or 1
    array = np.empty(len(values), f'<U{width}')
    for start in range(0, len(values), _TEXT_BLOCK):
        array[start : start + _TEXT_BLOCK] = values.slice(start, _TEXT_BLOCK).to_pylist()
    return array
