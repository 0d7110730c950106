"""Semantic IDs of a log's items in a folder: fitted once, and extended by new items.

A folder holds `ids.npz`, `codebooks.npz`, `trie.npz`, `report.json`, `items.npy` (hashes of items' names),
`tokens.json` (options and new items), and `texts.npz` and `alignment.npz` where vectors were made by these.

V items, n new ones, L levels.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.configurable import configurable
from jaxrec.data.logs.log import Log
from jaxrec.data.logs.raw_columns import describe_source
from jaxrec.data.logs.vocabulary import FIRST, hash64
from jaxrec.models.onerec.generate import catalogue
from jaxrec.models.onerec.task import with_special
from jaxrec.models.onerec.tokenizing.published_ids import code_loads, given_codes, measure_codes
from jaxrec.models.onerec.tokenizing.semantic_ids import SemanticIds, assign_ids
from jaxrec.models.onerec.tokenizing.tokenizer import Codebooks, Fitted, fit_codebooks, report
from jaxrec.models.onerec.tokenizing.trie_file import load_trie, save_trie
from jaxrec.models.onerec.tokenizing.vectors import (
    ALIGNMENT,
    TEXTS,
    VECTOR_OPTIONS,
    ItemVectors,
    item_vectors,
    new_vectors,
)
from jaxrec.ops.generation.trie import Trie
from jaxrec.options import read_options
from jaxrec.runs.comparison.tables import write_json

IDS, CODEBOOKS, TRIE, REPORT, TOKENS = 'ids.npz', 'codebooks.npz', 'trie.npz', 'report.json', 'tokens.json'
ITEMS = 'items.npy'
ASSIGNED, NEAREST = 'assigned', 'nearest'
TOKEN_OPTIONS: dict[str, Any] = {
    **VECTOR_OPTIONS, 'levels': 3, 'clusters': 8_192, 'balanced': True, 'shuffled': False, 'passes': 30,
    'tolerance': 1e-3, 'encoding': ASSIGNED, 'room': None, 'streamed': False, 'seed': 0, 'beside': (),
}  # fmt: skip
_FITTING = ('levels', 'clusters', 'balanced', 'shuffled', 'passes', 'tolerance', 'streamed', 'seed')


@configurable('artifact')
def make_ids(folder: Path, log: Log, data: Mapping[str, Any], **options: Any) -> Path:
    """Tokenizes a log's items; `config.files.ids` names it.

    Args:
      folder: takes the files.
      log: a `SessionLog` or a `BehaviourLog`.
      data: the config's data section.
      **options: any of `TOKEN_OPTIONS`: of `vectors.item_vectors` and of `fit_codebooks`; `encoding`, whether an ID is
        the 'assigned' cluster of k-means or the 'nearest' centroid; `room`, how many items may share their codes;
        `beside`, item columns with published IDs, which the report describes too.

    Returns:
      The path of the IDs.

    Raises:
      ValueError: an option that does not exist, or what vectors, k-means and IDs refuse.
    """
    given = read_options(options, 'files.ids.arguments', **TOKEN_OPTIONS)
    if given['encoding'] not in (ASSIGNED, NEAREST):
        raise ValueError(f'encoding = {given["encoding"]!r} is unknown: use {ASSIGNED} or {NEAREST}')
    _named_items(log)
    vectors = item_vectors(log, data, given)
    if given['clusters'] > vectors.rows.shape[0]:
        raise ValueError(
            f'clusters = {given["clusters"]} of {vectors.rows.shape[0]} items: give at most as many codes a '
            'level as there are items'
        )
    others = {column: measure_codes(given_codes(log, column)) for column in given['beside']}
    ids, codebooks, measured = fit_ids(vectors, **{name: given[name] for name in (*_FITTING, 'encoding', 'room')})
    folder.mkdir(parents=True, exist_ok=True)
    codebooks.save(folder / CODEBOOKS)
    vectors.save(folder)
    np.save(folder / ITEMS, _hashes(log.vocabulary('item').keys))
    write_json(folder / REPORT, measured | {'beside': others})
    write_tokens(folder, ids, first_tokens(log, given))
    return folder / IDS


def fit_ids(
    vectors: ItemVectors, encoding: str = ASSIGNED, room: int | None = None, **options: Any
) -> tuple[SemanticIds, Codebooks, dict[str, Any]]:
    """Fits codebooks to vectors of items and assigns their IDs.

    Args:
      vectors: of the items.
      encoding, room: as of `make_ids`.
      **options: of `fit_codebooks`.

    Returns:
      The IDs, the codebooks, and what `measure` returns.
    """
    fitted = fit_codebooks(vectors.rows, **options)
    clusters, nearest = fitted.codebooks.clusters, fitted.codes
    if options.get('balanced', True):
        nearest = fitted.codebooks.encode(vectors.rows)
    ids = assign_ids(fitted.codes if encoding == ASSIGNED else nearest, clusters, room)
    return ids, fitted.codebooks, measure(vectors, fitted, nearest, ids)


@configurable('check')
def check_ids(path: Path, log: Log) -> None:
    """Refuses IDs, given by path, of other items than the log's; `config.files.ids.check` names it.

    Without the other files of tokenizing in the folder only the number of items is known.

    Raises:
      ValueError: IDs of another log, or a folder whose files do not belong together.
    """
    if not (path.parent / TOKENS).exists():
        return
    made, names = read_tokens(path.parent), log.vocabulary('item').keys
    old = len(names) - len(made['new'])
    if made['catalogue'] != _digest(names[:old]) or made['new'] != names[old:].astype(str).tolist():
        raise ValueError(
            f'{path} has the semantic IDs of other items than {log.folder}, or of the same in another order: '
            'tokenize the items of this log'
        )


def _known(folder: Path, names: Sequence[str], new: Sequence[str]) -> list[str]:
    """Returns which of these items a folder of tokens has already: of the log, or among the new ones."""
    if not (folder / ITEMS).exists():
        raise ValueError(f'{folder} does not say whose IDs it has ({ITEMS}): tokenize the items again')
    of_log = np.isin(_hashes(np.asarray(names, str)), np.load(folder / ITEMS))
    added = set(new)
    return sorted({name for name, held in zip(names, of_log, strict=True) if held or name in added})


def _as_integers(names: Sequence[str], path: str) -> list[str]:
    """Integer names as the log writes them: 007 is 7."""
    found = [str(int(name)) if name.strip().isdecimal() else name for name in names]
    if len(set(found)) < len(found):
        raise ValueError(f'{path} names an item twice, once as another text of the same number')
    return found


def _hashes(names: np.ndarray) -> np.ndarray:
    """uint64 of each name, as files write it."""
    return hash64(names.astype(str))


def _digest(names: np.ndarray) -> str:
    """Identifies a list of items."""
    return hashlib.sha256(hash64(names).tobytes()).hexdigest()


def extend_ids(folder: Path, source: Path, content: str, content_items: str = '') -> tuple[int, int, int]:
    """Gives new items IDs by the nearest centroids; those of the old ones stay.

    If the items of equal codes have no more ranks, a new one takes the next nearest centroid of the last level.

    Args:
      folder: takes the files.
      source: a folder that tokenizing wrote, which may have been extended before.
      content: of the new items, of the same kind as the old ones'.
      content_items: names of the items, for an `.npy` file.

    Returns:
      n, how many of them share their codes, and how many found no rank among the items of their nearest codes.

    Raises:
      ValueError: the folder of the earlier tokens itself, content that does not fit, an item that is known, files that
        do not belong together, or no rank left with any code of the last level.
    """
    if folder.resolve() == source.resolve():
        raise ValueError(
            f'{folder} holds the tokens that are to be extended, with which models were trained: give another --workdir'
        )
    made = read_tokens(source)
    if not made['options']['content']:
        raise ValueError(f'the items of {source} have no content, and of new items nothing else is known')
    rows, names = new_vectors(source, content, content_items)
    if made['integers']:
        names = _as_integers(names, content_items or content)
    if known := _known(source, names, made['new']):
        raise ValueError(f'item {known[0]!r} is in {source} already: leave it out')
    codebooks = Codebooks.load(source / CODEBOOKS)
    codes = codebooks.encode(rows)
    ids = SemanticIds.load(source / IDS).add(codes, lambda i: codebooks.last_codes(np.asarray(rows[i]), codes[i]))
    folder.mkdir(parents=True, exist_ok=True)
    for name in (CODEBOOKS, REPORT, ITEMS, TEXTS, ALIGNMENT):
        if (source / name).exists():
            shutil.copy(source / name, folder / name)
    write_tokens(folder, ids, {**made, 'new': [*made['new'], *names]})
    moved = int((ids.codes[len(ids.codes) - len(codes) :] != codes).any(1).sum())
    groups = ids.groups()
    size = np.repeat(np.diff(groups.offsets), np.diff(groups.offsets))
    shared = np.zeros(len(ids.ranks), bool)
    shared[groups.items] = size > 1
    return len(names), int(shared[-len(names) :].sum()) if names else 0, moved


def read_tokens(folder: Path) -> dict[str, Any]:
    """Reads the description of a folder of tokens; a ValueError refuses one without, or with files of others.

    Returns:
      {'options': `TOKEN_OPTIONS`, 'items': V of the log, 'catalogue': their digest, 'integers': whether their names are
      such, 'new': names of the new items}.
    """
    try:
        found = json.loads((folder / TOKENS).read_text())
        for name, digest in found['files'].items():
            if describe_source(folder / name)['sha256'] != digest:
                raise ValueError(f'{name} is not the one that was written with {TOKENS}')
        told = {name: found[name] for name in ('options', 'catalogue')}
        told['integers'] = bool(found.get('integers'))  # tokens of before do not say so
        return {**told, 'items': int(found['items']), 'new': list(found['new'])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{folder} holds no tokens ({error!r}): give a folder that `jaxrec onerec tokenize` has written'
        ) from None


def read_trie(folder: Path, levels: Sequence[int] | None = None) -> Trie:
    """Reads the trie of a folder of tokens, as a model reads their IDs.

    `levels` are the codes of each level of the model's IDs, None for those of the file, which has ranks; without ranks
    the leaves are groups of items.
    """
    trie = load_trie(folder / TRIE)
    if levels is None or tuple(levels) != trie.sizes[:-1]:
        return trie
    return catalogue(with_special(SemanticIds.load(folder / IDS).codes), levels)


def measure(vectors: ItemVectors, fitted: Fitted, nearest: np.ndarray, ids: SemanticIds) -> dict[str, Any]:
    """Measures the IDs for `report.json`; `nearest` is the other encoding, the same object where k-means was plain.

    Returns:
      {'levels': {encoding: a report of each level}, 'loads': {encoding: items of each code of each level, descending},
      and numbers of items, IDs, groups and passes}.
    """
    encodings = {ASSIGNED: (fitted.codes, nearest)}
    if fitted.codes is not nearest:
        encodings[NEAREST] = (nearest, fitted.codes)
    levels = {
        name: [found._asdict() for found in report(vectors.rows, fitted.codebooks, *codes)]
        for name, codes in encodings.items()
    }
    groups = np.diff(ids.groups().offsets)
    return {
        'items': len(ids.ranks), 'width': vectors.rows.shape[1], 'clusters': ids.clusters, 'levels': levels,
        'loads': {name: code_loads(both[0], ids.clusters) for name, both in encodings.items()},
        'distinct': len(groups), 'collision_rate': 1 - len(groups) / len(ids.ranks),
        'sharing': int(groups[groups > 1].sum()), 'largest_group': int(groups.max()), 'room': ids.room,
        'passes': list(fitted.passes), 'moved': list(fitted.moved), 'notes': list(vectors.notes),
    }  # fmt: skip


def write_tokens(folder: Path, ids: SemanticIds, made: Mapping[str, Any]) -> None:
    """Writes IDs, the trie of all items, and their description, as `read_tokens` returns it, to a folder."""
    levels = (*[ids.clusters] * ids.codes.shape[1], ids.room)
    ids.save(folder / IDS)
    save_trie(catalogue(with_special(ids.ids), levels), folder / TRIE)
    files = [name for name in (IDS, TRIE, CODEBOOKS, ITEMS, TEXTS, ALIGNMENT) if (folder / name).exists()]
    sums = {name: describe_source(folder / name)['sha256'] for name in files}
    write_json(folder / TOKENS, {**made, 'files': sums})


def first_tokens(log: Log, options: Mapping[str, Any]) -> dict[str, Any]:
    """The description, for `write_tokens`, of the IDs of a log's items without new ones."""
    names = _named_items(log)
    told = {'options': options, 'items': len(names), 'catalogue': _digest(names)}
    return told | {'integers': names.dtype.kind in 'iu', 'new': []}


def _named_items(log: Log) -> np.ndarray:
    """Names of a log's items, in the order of their ids; a ValueError refuses hashed items, which have none."""
    vocabulary = log.vocabulary('item')
    if vocabulary.buckets is not None:
        raise ValueError(
            f'items of {log.folder} are hashed to {vocabulary.buckets} buckets and have no names, so that no '
            'ID can be theirs: compile the log without buckets for the item'
        )
    return vocabulary.keys


def item_names(log: Log, new: Any = ()) -> np.ndarray:
    """Names, object [FIRST + V + n], by the rows of a catalogue with `new` items; '' for rows that are no items."""
    names = np.full(log.schema['item'].rows + len(new), '', object)
    keys = _named_items(log)
    names[FIRST : log.schema['item'].rows] = keys.astype(str) if len(new) else keys  # columns have one type
    names[log.schema['item'].rows :] = list(new)
    return names
