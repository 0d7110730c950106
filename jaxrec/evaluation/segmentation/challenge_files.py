"""Predictions in the PIC challenge's own files, read for its metric and written.

A relations file like that of the ground truth with a `score` in each relation, and for each image an instance and a
semantic PNG, so predicted masks cannot overlap. Their class is the largest semantic value inside a mask, after the
resize. The official figures, where `skip` names the images that the script of the edition skips, and every relation
counts as often as it is listed, whether or not its entities have pixels:

    truth = PicScenes(data_dir, 'val', size=SIZE, images=False, skip=(), every=True)
    pairs = PicPredictions(truth, 'relations.json', 'instance', 'semantic')
    geometric = {truth.vocabulary.relations.index(name) for name in truth.vocabulary.geometric}
    evaluate_challenge(pairs, geometric, len(truth.vocabulary.relations))['official'].final

H, W size of the masks, K entities, T triplets.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxrec.data.images.pixels import write_picture
from jaxrec.data.images.scene import Scene
from jaxrec.data.readers.images.pic import PicScenes
from jaxrec.data.readers.images.pic_files import read_entities, read_relations
from jaxrec.evaluation.segmentation.challenge import LIMIT
from jaxrec.evaluation.segmentation.found import NOTHING, Found
from jaxrec.files import replace_text

NEVER_TRUE = -1  # a class or kind that the truth does not have
MOST = 255  # entities that a PNG of 8 bits can number


class PicPredictions:
    """The images of a truth, each with its predictions, as they are asked for."""

    def __init__(self, truth: PicScenes, relations: str | Path, instance: str | Path, semantic: str | Path):
        """Reads the relations; pixels are read image by image.

        Args:
          truth: by whose edition, size and rule of classes the predictions are read too. Read it with all names: a
            prediction of a class or relation that it skips is never right, yet counts among the best.
          relations: the file of predictions.
          instance, semantic: the folders of their PNGs.

        Raises:
          ValueError: the file is missing or malformed, or lists an image twice.
        """
        self.truth, self.file = truth, Path(relations)
        self.instance, self.semantic = Path(instance), Path(semantic)
        self._relations: dict[str, list[dict]] = {}
        for entry in read_relations(self.file, scored=True):
            if entry['name'] in self._relations:
                raise ValueError(f'{self.file} lists {entry["name"]} twice: join its predictions')
            self._relations[entry['name']] = entry['relations']

    def __iter__(self) -> Iterator[tuple[Scene, Found]]:
        for scene in self.truth:
            yield scene, self.found(scene.name)

    def found(self, name: str) -> Found:
        """Returns the predictions for an image, named with its ending.

        A relation that names an entity without pixels keeps its place, with an empty mask. The files hold no scores of
        entities, all are 1; those of relations become places, see `_places`.

        Raises:
          ValueError: the image has no entry, or a file or relation of it cannot be used.
        """
        if name not in self._relations:
            raise ValueError(f'{self.file} has no entry of {name}: give it one, if only with no relations')
        files = [folder / f'{Path(name).stem}.png' for folder in (self.instance, self.semantic)]
        entities = read_entities(files[0], files[1], self.truth.size, self.truth.category)
        predicted = self._relations[name]
        rows = {int(number): row for row, number in enumerate(entities.numbers)}
        for relation in predicted:
            for number in (relation['subject'], relation['object']):
                rows.setdefault(number, len(rows))
            if not 1 <= relation['relation'] <= len(self.truth.kind_of):
                raise ValueError(
                    f'{self.file}: a relation of {name} is of kind {relation["relation"]}; there are 1 to '
                    f'{len(self.truth.kind_of)}'
                )
        size, absent = entities.masks.shape[1:], len(rows) - len(entities.numbers)
        known = np.append(self.truth.category_of, NEVER_TRUE)
        triplets = [(rows[r['subject']], rows[r['object']], self._kind(r['relation'])) for r in predicted]
        return Found(
            masks=np.concatenate([entities.masks, np.zeros((absent, *size), bool)]),
            categories=np.append(
                known[np.minimum(entities.classes, len(known) - 1)], np.full(absent, NEVER_TRUE)
            ).astype(np.int32),
            scores=np.ones(len(rows), np.float32),
            triplets=np.array(triplets, np.int32).reshape(-1, 3),
            triplet_scores=_places([r['score'] for r in predicted]),
            triplet_parts=np.zeros((len(predicted), 0), bool),
            parts=np.zeros(size, np.uint8),
            name=name,
        )

    def _kind(self, number: int) -> int:
        kind = self.truth.kind_of[number - 1]
        return NEVER_TRUE if kind is None else kind


def _places(scores: Sequence[float]) -> NDArray:
    """float32 [T], from 1 for the best down to 1 / T: the order of scores that float32 may not tell apart."""
    order = np.argsort(-np.array(scores, np.float64), kind='stable')
    places = np.empty(len(order), np.float32)
    places[order] = 1 - np.arange(len(order)) / max(len(order), 1)
    return places


class Written(NamedTuple):
    """Files of predictions, as `PicPredictions` takes them: the JSON of relations and the two folders of PNGs."""

    relations: Path
    instance: Path
    semantic: Path


def write_predictions(
    folder: str | Path, images: Iterable[tuple[str, Found]], names: PicScenes, limit: int = LIMIT
) -> Written:
    """Writes predictions as the challenge takes them, the list of relations last, and returns where they are.

    Its masks cannot overlap: of those that do, the one of the larger score is on top. Relations of an entity of which
    no pixel is left are skipped, as they can never be right and would count among the best.

    Args:
      folder: of `relations.json`, `instance/` and `semantic/`; created if absent.
      images: the name of each image, with its ending, and what was found in it at the image's own size.
      names: a reader of these images, whose names classes and relations are numbers of.
      limit: the most relations of an image.

    Raises:
      ValueError: an image joins more entities than a PNG of 8 bits can number, or the folder is the set's or holds PNGs
        of other images, which the challenge's script would take for predictions.
    """
    root = Path(folder)
    written = Written(root / 'relations.json', root / 'instance', root / 'semantic')
    read = {place.resolve() for place in names.places()}
    if among := [place for place in written if place.resolve() in read]:
        raise ValueError(f'{among[0]} is what the set is read from: give predictions another folder')
    stems = {Path(name).stem for name in names.names}
    for file in (file for place in (written.instance, written.semantic) for file in sorted(place.glob('*'))):
        if file.stem not in stems:
            raise ValueError(f'{file} is of no image that is judged: give predictions an empty folder')
    class_of = {int(place): number for number, place in enumerate(names.category_of)}
    kind_of = {kind: number for number, kind in enumerate(names.kind_of, 1)}
    entries: list[dict[str, Any]] = []
    for name, found in images:
        instance, rows, kept = _painted(found, limit, name)
        semantic = np.array([0, *(class_of[each] for each in found.categories[rows].tolist())])[instance]
        for place, numbers in ((written.instance, instance), (written.semantic, semantic)):
            write_picture(place / f'{Path(name).stem}.png', numbers)
        pairs = (np.searchsorted(rows, found.triplets[kept, :2]) + 1).tolist()
        kinds, scores = found.triplets[kept, 2].tolist(), found.triplet_scores[kept].tolist()
        relations = [
            {'subject': subject, 'object': target, 'relation': kind_of[kind], 'score': score}
            for (subject, target), kind, score in zip(pairs, kinds, scores, strict=True)
        ]
        entries.append({'name': name, 'image_id': len(entries) + 1, 'relations': relations})
    root.mkdir(parents=True, exist_ok=True)
    replace_text(written.relations, json.dumps(entries) + '\n')
    return written


def _painted(found: Found, limit: int, name: str) -> tuple[NDArray, NDArray, NDArray]:
    """Instance map int32 [H, W] (k + 1 for the k-th entity), int [K] rows of `found`, int [T] triplets, best first."""
    best = np.argsort(-found.triplet_scores, kind='stable')
    best = best[found.triplets[best, 1] != NOTHING]  # for which the files have no place
    shown = np.asarray(found.masks.any((1, 2)))
    best = best[shown[found.triplets[best, :2]].all(1)]
    while True:
        rows, instance = _numbered(found, best[:limit], name)
        numbers = np.searchsorted(rows, found.triplets[best[:limit], :2]) + 1
        visible = np.isin(numbers, instance).all(1)
        if visible.all():
            return instance, rows, best[:limit]
        best = np.append(best[:limit][visible], best[limit:])  # the next ones take the place of the covered


def _numbered(found: Found, relations: NDArray, name: str) -> tuple[NDArray, NDArray]:
    """The entities of relations, and the map in which the k-th of them has the number k + 1."""
    rows = np.unique(found.triplets[relations, :2])
    if len(rows) > MOST:
        raise ValueError(f'{name}: {len(rows)} entities, but a PNG numbers {MOST}: give a smaller limit')
    instance = np.zeros(found.masks.shape[1:], np.int32)
    for k in np.argsort(found.scores[rows], kind='stable'):
        instance[found.masks[rows[k]]] = k + 1
    return rows, instance
