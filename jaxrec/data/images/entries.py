"""Reads one entry of a folder of images and collects all its problems; the format is in `records`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.images.pixels import how_it_lies, read_numbers, read_picture, rle_decode
from jaxrec.data.images.scene import UNKNOWN_PART, Scene, Vocabulary

IMAGE_KEYS = {'file', 'split', 'instances', 'parts', 'entities', 'relations'}
ENTITY_KEYS = {'id', 'class', 'mask'}
RELATION_KEYS = {'subject', 'object', 'relation', 'parts'}


def read_entry(folder: Path, vocabulary: Vocabulary, entry: Any, where: str) -> tuple[Scene | None, list[str]]:
    """Reads a scene from an entry of the JSON, whose paths are relative to `folder`; `where` names it in messages.

    Returns:
      The scene, None where it has problems; and the problems, each naming file and place.
    """
    return _Reading(folder, vocabulary, entry, where).finish()


class _Reading:
    """One scene being read: problems are collected and reading goes on as long as it can."""

    def __init__(self, folder: Path, vocabulary: Vocabulary, entry: Any, where: str):
        self.folder, self.vocabulary = folder, vocabulary
        self.entry: dict[str, Any] = entry if isinstance(entry, dict) else {}
        self.problems: list[str] = []
        file = self.entry.get('file')
        self.where = where + (f' ({file})' if file else '')
        if not isinstance(file, str):
            self.problem('has no "file": name the picture')
        self.unknown_keys(self.entry, IMAGE_KEYS, '')

    def problem(self, text: str) -> None:
        """Keeps a problem of this image."""
        self.problems.append(f'{self.where} {text}')

    def unknown_keys(self, given: Mapping[str, Any], allowed: set[str], place: str) -> None:
        """A misspelt key is a problem, since what it says would be lost."""
        for key in sorted(set(given) - allowed):
            self.problem(f'{place}has the unknown key {key!r}: use {", ".join(sorted(allowed))}')

    def file(
        self, key: str, read: Callable[[Path], np.ndarray], size: tuple[int, ...] | None = None
    ) -> np.ndarray | None:
        """The pixels of a file of this entry; None where there is none or it is broken."""
        name = self.entry.get(key)
        if not isinstance(name, str):
            if name is not None and key != 'file':
                self.problem(f'{key} is {name!r}: name a PNG, or leave it out')
            return None
        try:
            pixels: np.ndarray = read(self.folder / name)
        except ValueError as error:
            self.problem(f'{key}: {error}')
            return None
        if size is not None and pixels.shape != size:
            upright = how_it_lies(self.folder / self.entry['file'])
            self.problem(
                f'{key}: {name} is {pixels.shape[0]} x {pixels.shape[1]}, but the picture is {size[0]} x '
                f'{size[1]}{upright}: give it the size of the picture'
            )
            return None
        return pixels

    def finish(self) -> tuple[Scene | None, list[str]]:
        """Reads all there is."""
        image = self.file('file', read_picture)
        if image is None:
            return None, self.problems
        size = image.shape[:2]
        masks, categories, places = self.entities(size)
        relations, taking = self.relations(places)
        parts = self.part_map(size)
        if self.problems:
            return None, self.problems
        count = len(self.vocabulary.parts)
        return Scene(
            image,
            np.array(masks, bool).reshape(-1, *size),
            np.array(categories, np.int32),
            parts,
            np.array(relations, np.int32).reshape(-1, 3),
            np.array(taking, bool).reshape(len(relations), count),
            str(self.entry['file']),
        ), []

    def items(self, key: str) -> list[tuple[int, dict[str, Any]]]:
        """The numbered dicts of a list of this entry."""
        given = self.entry.get(key, [])
        if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
            self.problem(f'has {key} that are no list of objects: write [{{...}}, {{...}}]')
            return []
        return list(enumerate(given))

    def entities(self, size: tuple[int, int]) -> tuple[list[np.ndarray], list[int], dict[int, int]]:
        """Masks, classes, and the row of every id."""
        instances = self.file('instances', read_numbers, size)
        masks: list[np.ndarray] = []
        categories: list[int] = []
        places: dict[int, int] = {}
        for number, item in self.items('entities'):
            place = f'entities[{number}] '
            self.unknown_keys(item, ENTITY_KEYS, place)
            key, name = item.get('id'), item.get('class')
            if type(key) is not int or key < 1 or key in places:
                self.problem(f'{place}has the id {key!r}: give each entity a number of its own, from 1')
                continue
            places[key] = len(masks)
            categories.append(self.number(name, self.vocabulary.entities, f'{place}is of class'))
            masks.append(self.mask(item, place, key, instances, size))
        return masks, categories, places

    def mask(
        self, item: Mapping[str, Any], place: str, key: int, instances: np.ndarray | None, size: tuple[int, int]
    ) -> np.ndarray:
        """The mask of an entity, empty where it has problems."""
        mask = np.zeros(size, bool)
        if 'mask' in item:
            try:
                mask = rle_decode(item['mask'], size, f'{self.where} {place.rstrip()}')
            except ValueError as error:
                self.problems.append(str(error))
                return mask
        elif instances is not None:
            mask = instances == key
        elif isinstance(self.entry.get('instances'), str):
            return mask  # the file's own problem is said already
        else:
            self.problem(f'{place}has no mask: name a PNG of ids as "instances", or give run lengths as "mask"')
            return mask
        if not mask.any():
            source = 'mask' if 'mask' in item else f'{self.entry["instances"]}'
            self.problem(f'{place}has the id {key}, which has no pixel in {source}: draw it or take it out')
        return mask

    def relations(self, places: Mapping[int, int]) -> tuple[list[tuple[int, int, int]], list[np.ndarray]]:
        """Relations and the parts that take part."""
        relations: list[tuple[int, int, int]] = []
        taking = []
        for number, item in self.items('relations'):
            place = f'relations[{number}] '
            self.unknown_keys(item, RELATION_KEYS, place)
            ends = [self.end(item.get(role), places, place) for role in ('subject', 'object')]
            if ends[0] == ends[1] >= 0:
                self.problem(f'{place}joins the entity {item["subject"]} to itself: name two')
            kind = self.number(item.get('relation'), self.vocabulary.relations, f'{place}is')
            key = (ends[0], ends[1], kind)
            if min(key) >= 0 and key in relations:
                first = relations.index(key)
                self.problem(f'{place}says what relations[{first}] says: name all its parts in one')
            row = np.zeros(len(self.vocabulary.parts), bool)
            for part in self.part_names(item, place):
                row[self.vocabulary.parts.index(part)] = True
            relations.append(key)
            taking.append(row)
        return relations, taking

    def end(self, key: Any, places: Mapping[int, int], place: str) -> int:
        """The row of the entity of an id; -1, and a problem, where there is none."""
        if type(key) is int and key in places:
            return places[key]
        self.problem(f'{place}names the entity {key!r}: use an id of this image, {sorted(places)}')
        return -1

    def part_names(self, item: Mapping[str, Any], place: str) -> list[str]:
        """The parts of a relation that the vocabulary has."""
        given = item.get('parts', [])
        if not isinstance(given, list):
            self.problem(f'{place}has parts that are no list: write ["left hand"]')
            return []
        return [part for part in given if self.number(part, self.vocabulary.parts, f'{place}has the part') >= 0]

    def number(self, name: Any, names: tuple[str, ...], place: str) -> int:
        """The number of a name; -1, and a problem, where there is none."""
        if name in names:
            return names.index(name)
        self.problem(f'{place} {name!r}, which is none of {", ".join(names) or "none"}: add it to the list or mend it')
        return -1

    def part_map(self, size: tuple[int, int]) -> np.ndarray:
        """The part map; unknown throughout without a file."""
        unknown = np.full(size, UNKNOWN_PART, np.uint8)
        parts = self.file('parts', read_numbers, size)
        if parts is None:
            return unknown
        count = len(self.vocabulary.parts)
        wrong = np.argwhere((parts < 0) | ((parts > count) & (parts != UNKNOWN_PART)))
        if len(wrong):
            row, column = wrong[0].tolist()
            self.problem(
                f'parts: {self.entry["parts"]} holds {parts[row, column]} in row {row}, column {column}: use '
                f'0 to {count}, and {UNKNOWN_PART} for unknown'
            )
            return unknown
        return parts.astype(np.uint8)
