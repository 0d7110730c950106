"""Predictions in the PIC challenge's own files, for its metric.

A relations file like the truth's with a `score` in each relation, and for each image an instance and a
semantic PNG of the predictions' own, so predicted masks cannot overlap. Their class is the largest semantic
value inside a mask, after the resize. The official figures, where `skip` names the images that the script of
the edition leaves out, and every relation counts as often as it is listed, whether or not its entities have
pixels:

    truth = PicScenes(data_dir, 'val', size=SIZE, images=False, skip=(), every=True)
    pairs = PicPredictions(truth, 'relations_val.json', 'instance', 'semantic')
    geometric = {truth.vocabulary.relations.index(name) for name in truth.vocabulary.geometric}
    evaluate_challenge(pairs, geometric, len(truth.vocabulary.relations))['official'].final

H, W size of the masks, T triplets.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxrec.data.images.scene import Scene
from jaxrec.data.readers.pic import PicScenes
from jaxrec.data.readers.pic_files import read_entities, read_relations
from jaxrec.evaluation.segmentation.found import Found

NEVER_TRUE = -1  # a class or kind that the truth does not have


class PicPredictions:
    """The images of a truth, each with its predictions, as they are asked for."""

    def __init__(self, truth: PicScenes, relations: str | Path, instance: str | Path, semantic: str | Path):
        """Reads the relations; pixels are read image by image.

        Args:
          truth: by whose edition, size and rule of classes the predictions are read too. Read it with all
            names: a prediction of a class or relation that it leaves out is never right, yet counts among the
              best.
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
        """The predictions for an image.

        Args:
          name: of the image, with its ending.

        Returns:
          Its predictions; a relation that names an entity without pixels keeps its place, with an empty mask.
          The files hold no scores of entities, all are 1.

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
            triplet_scores=np.array([r['score'] for r in predicted], np.float32),
            triplet_parts=np.zeros((len(predicted), 0), bool),
            parts=np.zeros(size, np.uint8),
            name=name,
        )

    def _kind(self, number: int) -> int:
        kind = self.truth.kind_of[number - 1]
        return NEVER_TRUE if kind is None else kind
