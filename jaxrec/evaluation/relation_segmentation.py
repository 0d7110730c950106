"""Evaluation of relation segmentation: the evaluator of a task, and its metrics.

Each image is reduced to a few numbers per relation and the run lengths of its masks, so evaluators of parts of the data
merge, and all figures are exact.

B batch, R true relations of an image, P kinds of human part.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from jaxrec.configurable import configurable
from jaxrec.data.images.scene import Scene, Vocabulary
from jaxrec.evaluation.segmentation.challenge import (
    LIMIT,
    SIZE,
    THRESHOLDS,
    ChallengeScore,
    challenge_score,
    evaluate_challenge,
    shrunk,
)
from jaxrec.evaluation.segmentation.entities import EncodedImage, encode_entities, mask_ap, part_counts, part_miou
from jaxrec.evaluation.segmentation.errors import CAUSES, MISSED_ENTITY, RIGHT, WRONG_PART, causes
from jaxrec.evaluation.segmentation.found import PART_THRESHOLD, Found, found_of, name_of, truth_of
from jaxrec.evaluation.segmentation.matching import (
    NEVER,
    PART_OVERLAP,
    agree,
    first_ranks,
    mask_ious,
    parts_are_labelled,
    strict_ranks,
)
from jaxrec.evaluation.segmentation.recall import OWN, Ranked, group_recall, mean_recall, recall
from jaxrec.evaluation.segmentation.role_ap import judge_roles, role_ap

__all__ = [
    'SIZE',
    'THRESHOLDS',
    'ChallengeScore',
    'Found',
    'Ranked',
    'RelationEvaluator',
    'agree',
    'causes',
    'challenge_score',
    'evaluate_challenge',
    'first_ranks',
    'found_of',
    'group_recall',
    'judge_roles',
    'left_out',
    'mask_ap',
    'mask_ious',
    'mean_recall',
    'part_counts',
    'part_miou',
    'recall',
    'role_ap',
    'strict_ranks',
    'truth_of',
]

CUTS: tuple[int | str, ...] = (25, 50, 100, OWN)
_ERRORS_AT = 0.5  # IoU of the error breakdown and of what counts as wholly right


@dataclasses.dataclass(frozen=True)
class _Image:
    """What is kept of one image."""

    name: str
    kinds: NDArray  # int [R], its true relations
    ranks: Mapping[tuple[str, float], NDArray]  # int [R] each; rules are `many`, `parts`, `official`, `strict`
    wholly: int  # number of its relations that its best R predictions find one to one, parts included
    causes: NDArray  # int [R], of `CAUSES`
    taking: NDArray  # bool [R], whether parts take part
    labelled: bool  # whether its parts are labelled
    entities: int  # number of true ones with pixels
    encoded: EncodedImage | None  # run lengths of all masks, where entity AP is asked for
    parts: NDArray  # int64 [3, P + 1], pixels
    dropped: NDArray  # int [2], true entities and relations beyond the batch's caps or without a pixel at its size


@configurable('evaluator')
class RelationEvaluator:
    """Accumulates images; mergeable.

    Example:
      evaluator = RelationEvaluator(vocabulary)
      for batch in batches:
        evaluator.add(batch, predict(batch))
      evaluator.compute()['recall_100_50_parts']
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        size: tuple[int, int] | None = None,
        thresholds: Sequence[float] = THRESHOLDS,
        cuts: Sequence[int | str] = CUTS,
        part_threshold: float = PART_THRESHOLD,
        part_overlap: float = PART_OVERLAP,
        entity_ap: bool = True,
    ):
        """Starts empty.

        Args:
          vocabulary: of the data; its `geometric` relations are the challenge's group.
          size: (height, width) at which the challenge's metric compares masks, officially `SIZE`; None keeps their own.
          thresholds: IoUs of masks.
          cuts: K of the recalls, numbers of predictions or 'G'.
          part_threshold: the probability from which on a part takes part.
          part_overlap: the least IoU of the true and the predicted set of parts; 1 asks for equal sets.
          entity_ap: whether to compute the AP of entities, for which all their masks are kept, encoded.

        Raises:
          ValueError: a rule by which nothing or everything would be right, or two that share a name.
        """
        self.vocabulary, self.size = vocabulary, size
        self.thresholds, self.cuts = tuple(thresholds), tuple(cuts)
        self.part_threshold, self.part_overlap = part_threshold, part_overlap
        self.entity_ap = entity_ap
        _check_rules(self.thresholds, self.cuts, part_threshold, part_overlap)
        self._images: list[_Image] = []

    def add(self, batch: Mapping[str, NDArray], predictions: Mapping[str, NDArray]) -> None:
        """Adds the valid images of a host batch (`truth_of`, with `host/` keys) and the predictions (`found_of`)."""
        batch = {key: np.asarray(value) for key, value in batch.items()}
        predictions = {key: np.asarray(value) for key, value in predictions.items()}
        for row in np.flatnonzero(batch['valid'] > 0).tolist():
            scene = truth_of(batch, row)
            found = found_of(predictions, row, scene.parts.shape, self.part_threshold, name_of(batch, row))
            self.add_image(scene, found, *left_out(batch, row))

    def add_image(
        self,
        scene: Scene,
        found: Found,
        dropped: Sequence[int] | NDArray = (0, 0),
        missed: Sequence[int] | NDArray = (),
        missed_entities: Sequence[int] | NDArray = (),
    ) -> None:
        """Adds one image.

        Args:
          scene, found: the ground truth and the predictions.
          dropped: how many true entities and relations did not fit the batch.
          missed: kinds of these relations, which nothing can find: they count as missed in all recalls.
          missed_entities: classes of these entities, which are missed in their AP.

        Raises:
          ValueError: a kind of relation that the vocabulary does not have.
        """
        absent, known = np.asarray(missed, np.int32), len(self.vocabulary.relations)
        if bad := [kind for kind in scene.relations[:, 2].tolist() if not 0 <= kind < known]:
            raise ValueError(f'scene {scene.name!r} has a relation of kind {bad[0]}; there are {known}')
        agreement, labelled = agree(scene, found), parts_are_labelled(scene)
        official = agree(*shrunk(scene, found, self.size)) if self.size else agreement
        ranks = {}
        for t in self.thresholds:
            ranks['many', t] = first_ranks(agreement.hits(t))
            ranks['parts', t] = first_ranks(agreement.hits(t, self.part_overlap))
            hits = official.hits(t)
            ranks['official', t] = first_ranks(hits)
            ranks['strict', t] = strict_ranks(hits, official.overlap)
        overlap = self.part_overlap if labelled else None
        wholly = strict_ranks(agreement.hits(_ERRORS_AT, overlap), agreement.overlap)
        told = causes(scene.relations, agreement, _ERRORS_AT, LIMIT, overlap)
        behind = lambda x, value: np.append(x, np.full(len(absent), value, x.dtype))
        self._images.append(
            _Image(
                name=scene.name,
                kinds=np.append(scene.relations[:, 2], absent),
                ranks={key: behind(rank, NEVER) for key, rank in ranks.items()},
                wholly=int((wholly < len(wholly) + len(absent)).sum()),
                causes=behind(told, MISSED_ENTITY),
                taking=behind(np.asarray(scene.relation_parts.any(1)), False),
                labelled=labelled,
                entities=int(scene.masks.any((1, 2)).sum()),
                encoded=encode_entities(scene, found, missed_entities) if self.entity_ap else None,
                parts=part_counts(scene.parts, found.parts, len(self.vocabulary.parts)),
                dropped=np.asarray(dropped, np.int64),
            )
        )

    def merge(self, other: Self) -> Self:
        """The evaluator of both sets of images, this one's first; a ValueError refuses one with other arguments."""
        rules = lambda each: {key: value for key, value in vars(each).items() if key != '_images'}
        if rules(self) != rules(other):
            raise ValueError('the evaluators judge by different rules: make both with the same arguments')
        merged = type(self)(**rules(self))
        merged._images = self._images + other._images
        return merged

    def images(self) -> list[dict[str, Any]]:
        """Returns `name`, `relations` (number of true ones) and `wholly_right` of each image, in the order of adding.

        `wholly_right` is how many of them its best `relations` predictions find one to one, classes, masks at IoU .5
        and, where labelled, parts included.
        """
        return [
            {'name': image.name, 'relations': len(image.kinds), 'wholly_right': image.wholly} for image in self._images
        ]

    def challenge(self, rule: str = 'official') -> ChallengeScore:
        """The challenge's metric in full, 'official' or 'strict' (a prediction finds one relation)."""
        return challenge_score(
            [image.kinds for image in self._images],
            {t: [image.ranks[rule, t] for image in self._images] for t in self.thresholds},
            {self.vocabulary.relations.index(name) for name in self.vocabulary.geometric},
            len(self.vocabulary.relations),
        )

    def compute(self) -> dict[str, float]:
        """Returns all figures; NaN where the images hold nothing that one is of.

        Returns:
          `recall_K_T` and `mean_recall_K_T` of each cut K and threshold T in per cent of IoU, and the same with
          `_parts` (over the images whose parts are labelled); `challenge`, `challenge_T`, `challenge_geometric_T`,
          `challenge_other_T` and the same under `challenge_strict`; `entity_ap`, `entity_ap_50`, `entity_ap_75`;
          `part_miou`; `error_<cause>` and `error_right`, shares of the true relations at IoU .5 among the best 100;
          `parts_given_relation`, of those of these in which parts take part and that are found, parts apart, the share
          with the right parts; `wholly_right`, mean number of relations found so in an image (see `images`); `images`,
          `images_without_relations`, `relations`, `entities`, `dropped_entities` and `dropped_relations` (beyond the
          batch's caps or without a pixel at its size; they count as missed wherever true ones are counted).

        Raises:
          ValueError: no image was added.
        """
        if not self._images:
            raise ValueError('no valid image was evaluated: the part of the data is empty')
        metrics = self._counts()
        labelled = [image for image in self._images if image.labelled]
        for rule, images, suffix in (('many', self._images, ''), ('parts', labelled, '_parts')):
            for t in self.thresholds:
                ranked = Ranked.of([i.kinds for i in images], [i.ranks[rule, t] for i in images])
                for cut in self.cuts:
                    key = f'recall_{cut}_{_percent(t)}{suffix}'
                    metrics[key] = recall(ranked, cut) if len(ranked.kind) else math.nan
                    metrics[f'mean_{key}'] = mean_recall(ranked, cut) if len(ranked.kind) else math.nan
        for rule, name in (('official', 'challenge'), ('strict', 'challenge_strict')):
            score = self.challenge(rule)
            metrics[name] = score.final
            for t in self.thresholds:
                metrics[f'{name}_{_percent(t)}'] = score.at[t]
                metrics[f'{name}_geometric_{_percent(t)}'] = score.geometric[t]
                metrics[f'{name}_other_{_percent(t)}'] = score.other[t]
        parts = np.sum([image.parts for image in self._images], 0)
        metrics['part_miou'] = part_miou(parts) if parts[0, 1:].any() else math.nan
        if self.entity_ap:
            encoded = [image.encoded for image in self._images if image.encoded is not None]
            none = dict.fromkeys(('entity_ap', 'entity_ap_50', 'entity_ap_75'), math.nan)
            metrics |= mask_ap(encoded) if any(image.truth for image in encoded) else none
        return metrics

    def _counts(self) -> dict[str, float]:
        """How much was taken in, and what went wrong with it."""
        found = np.concatenate([image.causes for image in self._images])
        dropped = np.sum([image.dropped for image in self._images], 0)
        share = lambda cause: float((found == cause).mean()) if len(found) else math.nan
        return {
            'images': float(len(self._images)),
            'images_without_relations': float(sum(not len(image.kinds) for image in self._images)),
            'relations': float(len(found)),
            'entities': float(sum(image.entities for image in self._images)),
            'dropped_entities': float(dropped[0]),
            'dropped_relations': float(dropped[1]),
            'parts_given_relation': self._parts_given_relation(),
            'wholly_right': float(np.mean([image.wholly for image in self._images])),
            **{f'error_{name}': share(number) for number, name in enumerate(CAUSES)},
        }

    def _parts_given_relation(self) -> float:
        told = [image.causes[image.taking] for image in self._images if image.labelled]
        right = sum(int((each == RIGHT).sum()) for each in told)
        found = right + sum(int((each == WRONG_PART).sum()) for each in told)
        return right / found if found else math.nan


def left_out(batch: Mapping[str, NDArray], row: int) -> tuple[NDArray, NDArray, NDArray]:
    """Returns the last arguments of `RelationEvaluator.add_image`, from a row of a host batch.

    These are int [2], how many entities and relations were dropped; int [n], the kinds of these relations; int [m], the
    classes of these entities. The batch may have `host/dropped` int [B, 2], `host/missed` int [B, V], how many
    relations of each kind, and `host/missed_entities` int [B, C], entities of each class.
    """
    dropped = np.asarray(batch['host/dropped'][row] if 'host/dropped' in batch else (0, 0))
    counts = (batch.get('host/missed'), batch.get('host/missed_entities'))
    each = [np.zeros(0, np.int64) if count is None else np.asarray(count[row], np.int64) for count in counts]
    relations, entities = (np.repeat(np.arange(len(count)), count) for count in each)
    return dropped, relations, entities


def _check_rules(
    thresholds: Sequence[float], cuts: Sequence[int | str], part_threshold: float, part_overlap: float
) -> None:
    shares = {'thresholds': thresholds, 'part_threshold': (part_threshold,), 'part_overlap': (part_overlap,)}
    for name, values in shares.items():
        if bad := [value for value in values if not 0 < value <= 1]:
            raise ValueError(f'{name} holds {bad[0]}: give shares, above 0 and up to 1')
    if wrong := [cut for cut in cuts if cut != OWN and (isinstance(cut, str) or cut < 1)]:
        raise ValueError(f'cuts holds {wrong[0]!r}: give numbers from 1, or {OWN!r}')
    if len({_percent(threshold) for threshold in thresholds}) < len(thresholds):
        raise ValueError(f'thresholds {tuple(thresholds)}: figures are named in per cent, give each its own')


def _percent(threshold: float) -> int:
    return round(100 * threshold)
