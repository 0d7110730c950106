"""From maps to triplets with masks, at fixed sizes (arXiv 2105.11168; matching as PPDM, arXiv 1912.12898).

Entities are peaks; a relation point's displacements point to its subject and object, and the entities that fit best
take part. A triplet's score is s_subject s_object s_relation^p; its part mask is where the part map shows one of its
parts on its subject's mask.

B batch, h, w map of stride 4, H, W image, K entities, R relation points, T triplets, V relations, P parts, r read-out
stride.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.models.sms.network.backbones import STRIDE
from jaxrec.models.sms.network.heads import Counts, EntityRead, RelationRead
from jaxrec.models.sms.network.options import Network
from jaxrec.ops.segmentation.grids import enlarge_bilinear, unfold
from jaxrec.ops.segmentation.heatmaps import Peaks, find_peaks
from jaxrec.ops.segmentation.matching import best_matches, first_of_its_kind, matching_scores

Predictions = dict[str, jax.Array]


class Names(NamedTuple):
    """The counts, the class of people, and of each relation whether it is symmetric."""

    counts: Counts
    person: int
    symmetric: tuple[bool, ...]


class Entities(NamedTuple):
    """Predicted entities, best first, in map cells.

    Attributes:
      score: float32 [B, K], 0 for fillers.
      category: int32 [B, K].
      cell: int32 [B, K, 2].
      box: float32 [B, K, 4], top, left, bottom, right.
      weights: float32 [B, K, M] of their masks, or None.
    """

    score: jax.Array
    category: jax.Array
    cell: jax.Array
    box: jax.Array
    weights: jax.Array | None


class Triplets(NamedTuple):
    """Predicted triplets, best first.

    Attributes:
      subject, target, relation: int32 [B, T], rows of the entities, and the kind.
      score: float32 [B, T], 0 for fillers.
      parts: float32 [B, T, P], probabilities.
    """

    subject: jax.Array
    target: jax.Array
    relation: jax.Array
    score: jax.Array
    parts: jax.Array


def find_entities(heat: jax.Array, read: Callable[[jax.Array], EntityRead], keep: int) -> Entities:
    """The K best peaks of logits [B, h, w, C] and what is read there; a ValueError refuses a map of fewer places."""
    require_room('keep', keep, heat.shape[1:])
    peaks = find_peaks(heat, keep)
    found = read(peaks.cell)
    box = boxes_at(peaks.cell, found, heat.shape[1:3])
    return Entities(peaks.score, peaks.category, peaks.cell, box, found.weights)


def require_room(name: str, count: int, shape: tuple[int, ...], instead: str = 'larger images') -> None:
    """Raises a ValueError naming the network's field `name` if `count` exceeds the product of `shape`.

    `instead` says in the message what makes room.
    """
    if count > (room := math.prod(shape)):
        raise ValueError(
            f'model.{name} = {count} of {" x ".join(map(str, shape))}, which are {room}: lower it, or give {instead}'
        )


def boxes_at(cell: jax.Array, found: EntityRead, size: tuple[int, ...]) -> jax.Array:
    """The boxes that were read at cells [B, K, 2] of a map (h, w): float32 [B, K, 4], cut at its edges."""
    middle = cell + found.offset + found.size[..., 2:]
    half = jnp.maximum(found.size[..., :2], 0) / 2
    box = jnp.concatenate([middle - half, middle + half], -1)
    return jnp.clip(box, 0, jnp.asarray([*size] * 2, jnp.float32))


def box_masks(box: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Filled boxes: bool [B, K, H, W] of float [B, K, 4], whose edges are in the same pixels as the size."""
    inside = []
    for axis in (0, 1):
        centre = jnp.arange(size[axis]) + 0.5
        inside.append((centre >= box[..., axis, None]) & (centre < box[..., axis + 2, None]))
    return inside[0][..., :, None] & inside[1][..., None, :]


def find_triplets(network: Network, names: Names, entities: Entities, points: Peaks, read: RelationRead) -> Triplets:
    """Matches relation points with entities: T triplets, none twice."""
    scores = lambda displacement: matching_scores(
        points.cell - displacement, entities.cell, entities.score, network.match_scale
    )
    may = may_be_subject(network, names, entities)[:, None]
    if read.parts is None:
        parts = jnp.zeros((*points.score.shape, names.counts.parts))
    else:
        parts = jax.nn.sigmoid(read.parts)
    of = lambda who: jnp.take_along_axis(entities.score, who, 1)
    subjects, subject_fit = best_matches(scores(read.subject), may, network.tries)
    fit_as_target, tried = scores(read.target), []
    if read.category is not None:
        which = jnp.broadcast_to(entities.category[:, None], fit_as_target.shape)
        fit_as_target *= jnp.take_along_axis(jax.nn.softmax(read.category), which, 2)
    for i in range(network.tries):
        subject = subjects[..., i]
        others = jnp.arange(entities.score.shape[1]) != subject[..., None]
        targets, target_fit = best_matches(fit_as_target, others, network.tries)
        for j in range(network.tries - i):  # the second best of both is the third in all
            target, fit = targets[..., j], subject_fit[..., i] * target_fit[..., j]
            score = of(subject) * of(target) * points.score**network.relation_power * fit
            tried.append(Triplets(subject, target, points.category, score, parts))
    found = Triplets(*(jnp.concatenate(x, 1) for x in zip(*tried, strict=True)))
    if network.both_directions:
        turns = jnp.asarray(names.symmetric)[found.relation]
        turns = turns & jnp.take_along_axis(may_be_subject(network, names, entities), found.target, 1)
        score = jnp.where(turns, found.score, 0.0)
        back = found._replace(subject=found.target, target=found.subject, score=score)
        found = Triplets(*(jnp.concatenate(pair, 1) for pair in zip(found, back, strict=True)))
    return best_triplets(found, network.triplets)


def may_be_subject(network: Network, names: Names, entities: Entities) -> jax.Array:
    """bool [B, K]: people, or anything where the network says so."""
    allowed = subjects(network, names)
    if allowed is None:
        return jnp.ones(entities.category.shape, bool)
    return entities.category == allowed


def subjects(network: Network, names: Names) -> int | None:
    """The class of subjects: people; None if anything may be one."""
    return None if network.any_subject else names.person


def best_triplets(found: Triplets, keep: int) -> Triplets:
    """The best T of more; of those that repeat one another the best alone has a score."""
    order = jnp.argsort(-found.score, 1, stable=True)
    sort = lambda x: jnp.take_along_axis(x, order.reshape(*order.shape, *(1,) * (x.ndim - 2)), 1)
    found = Triplets(*map(sort, found))
    fresh = first_of_its_kind(found.subject, found.target, found.relation)
    score, index = jax.lax.top_k(jnp.where(fresh, found.score, 0.0), keep)
    at = lambda x: jnp.take_along_axis(x, index.reshape(*index.shape, *(1,) * (x.ndim - 2)), 1)
    subject, target, relation, _, parts = map(at, found)
    return Triplets(subject, target, relation, score, parts)


def match_points(
    network: Network,
    names: Names,
    entities: Entities,
    heat: jax.Array,
    read: Callable[[jax.Array, jax.Array], RelationRead],
) -> Triplets:
    """`find_triplets` of the best points of logits [B, h, w, V]; a ValueError refuses a map of fewer places."""
    require_room('points', network.points, heat.shape[1:])
    points = find_peaks(heat, network.points)
    return find_triplets(network, names, entities, points, read(points.cell, points.category))


def read_out(
    network: Network,
    entities: Entities,
    masks: jax.Array | None,
    triplets: Triplets,
    parsing: jax.Array | None,
    size: tuple[int, ...],
) -> Predictions:
    """Returns the predictions.

    Args:
      network: sizes and switches.
      entities, triplets: the predicted ones.
      masks: float [B, K, f h, f w], f `Network.fine`, logits; None for filled boxes.
      parsing: float [B, h, w, f f (P + 1)], folded logits, or None: no part anywhere.
      size: (H, W).

    Returns:
      'entity/score', 'entity/category', 'entity/box' float32 [B, K, 4] in image pixels, 'entity/mask' uint8 [B, K, H /
      r, W / r], 'triplet/subject', '/object', '/relation', '/score', '/parts', and 'part' uint8 [B, H/r, W/r].
    """
    factor = network.fine_stride // network.read_stride
    fine = (size[0] // network.read_stride, size[1] // network.read_stride)
    if masks is None:
        mask = box_masks(entities.box * (STRIDE // network.read_stride), fine)
    else:
        # Between probabilities: logits of 1 inside and -9 outside would have the edge far inside.
        mask = enlarge_bilinear(jax.nn.sigmoid(masks.astype(jnp.float32)), factor) > 0.5
    if parsing is None:
        part = jnp.zeros((len(entities.score), *fine), jnp.uint8)
    else:
        shown = jax.nn.softmax(unfold(parsing, network.fine))
        shown = enlarge_bilinear(shown, factor, (1, 2))
        part = jnp.argmax(shown, -1).astype(jnp.uint8)
    return {**read_lists(entities, triplets), 'entity/mask': mask.astype(jnp.uint8), 'part': part}


def read_lists(entities: Entities, triplets: Triplets) -> Predictions:
    """What a prediction holds beside its masks and part map; see `read_out`."""
    return {
        'entity/score': entities.score,
        'entity/category': entities.category,
        'entity/box': entities.box * STRIDE,
        'triplet/subject': triplets.subject,
        'triplet/object': triplets.target,
        'triplet/relation': triplets.relation,
        'triplet/score': triplets.score,
        'triplet/parts': triplets.parts,
    }


def part_masks(predictions: Predictions, rows: Sequence[int], threshold: float = 0.5) -> jax.Array:
    """The pixels of acting parts on their subjects' masks, bool [B, rows, H / r, W / r].

    Args:
      predictions: of `read_out`, jax or numpy.
      rows: which of the T triplets, as all are many large masks.
      threshold: from which a part belongs to the set, as in `found_of`.
    """
    which = jnp.asarray(rows)
    subject = jnp.asarray(predictions['triplet/subject'])[:, which]
    mask = jnp.asarray(predictions['entity/mask'])
    mask = jnp.take_along_axis(mask, subject[..., None, None], 1) > 0
    chosen = jnp.asarray(predictions['triplet/parts'])[:, which] >= threshold  # [B, rows, P]
    chosen = jnp.pad(chosen, ((0, 0), (0, 0), (1, 0)))  # part p stands as p + 1, nothing as 0
    shown = jax.vmap(lambda chosen, part: chosen[:, part])(chosen, jnp.asarray(predictions['part']))
    return mask & shown
