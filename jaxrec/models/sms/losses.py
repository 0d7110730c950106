"""The targets of every branch, drawn from a batch on the device, and the losses.

B batch, h, w map of stride 4, N entities, R relations, C entity classes, V relations, P parts.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxrec.data.images.scene import UNKNOWN_PART
from jaxrec.models.sms.network.heads import EntityRead, Maps, RelationRead
from jaxrec.models.sms.network.options import Network
from jaxrec.ops.segmentation.dynamic_masks import dice_loss, dynamic_masks
from jaxrec.ops.segmentation.grids import fold
from jaxrec.ops.segmentation.heatmaps import focal_loss, gaussian_maps, gaussian_radius, highest_near
from jaxrec.ops.segmentation.matching import part_cross_entropy, relation_cell
from jaxrec.training.task import Batch

Losses = dict[str, jax.Array]


class EntityTargets(NamedTuple):
    """Where entities are.

    Attributes:
      cell: int32 [B, N, 2].
      offset: float32 [B, N, 2], from the cell to the centre.
      size: float32 [B, N, 4], as `EntityRead.size`.
      radius: float32 [B, N], of their peaks.
      counts: float32 [B, N], 1 for entities of images that count.
    """

    cell: jax.Array
    offset: jax.Array
    size: jax.Array
    radius: jax.Array
    counts: jax.Array


class RelationTargets(NamedTuple):
    """Relation points: cell, subject and target as in `RelationRead`, radius; counts is 1 for those that count."""

    cell: jax.Array
    subject: jax.Array
    target: jax.Array
    radius: jax.Array
    counts: jax.Array


def entity_targets(batch: Batch, size: tuple[int, ...], least_radius: int = 0) -> EntityTargets:
    """Reads a batch's entities for a map of size (h, w); `least_radius` as in `Network`."""
    centre, extent = batch['entity/centre'], batch['entity/size']
    cell = jnp.clip(jnp.floor(centre).astype(jnp.int32), 0, jnp.asarray(size) - 1)
    counts = batch['entity/valid'] * batch['valid'][:, None]
    shift = batch['entity/middle'] - centre
    radius = jnp.maximum(gaussian_radius(extent[..., 0], extent[..., 1]), least_radius)
    return EntityTargets(cell, centre - cell, jnp.concatenate([extent, shift], -1), radius, counts)


def relation_targets(
    batch: Batch, entities: EntityTargets, fraction: float, subjects: int | None = None, least_radius: int = 0
) -> RelationTargets:
    """The relation points of a batch.

    Args:
      batch: as the source makes it.
      entities: of the batch.
      fraction: of the way from subject to object, at which the points lie.
      subjects: the class of whose entities relations count; None for all, see `Network.any_subject`.
      least_radius: as in `Network`.
    """
    at = lambda key: jnp.take_along_axis(entities.cell, batch[key][..., None], 1)
    subject, target = at('relation/subject'), at('relation/object')
    cell = relation_cell(subject, target, fraction)
    away = jnp.abs(target - subject).astype(jnp.float32)
    counts = batch['relation/valid'] * batch['valid'][:, None]
    if subjects is not None:  # of others fusion gives no triplet
        whose = jnp.take_along_axis(batch['entity/category'], batch['relation/subject'], 1)
        counts = counts * (whose == subjects)
    radius = jnp.maximum(gaussian_radius(away[..., 0], away[..., 1]), least_radius)
    displacement = lambda centre: (cell - centre).astype(jnp.float32)
    return RelationTargets(cell, displacement(subject), displacement(target), radius, counts)


def heat_targets(
    cell: jax.Array, radius: jax.Array, category: jax.Array, counts: jax.Array, like: tuple[int, ...]
) -> jax.Array:
    """Heatmaps of the shape `like` [B, h, w, classes] that are 1 at the points of each class."""
    return gaussian_maps(cell, radius, category, counts > 0, (like[1], like[2]), like[3])


class Seen(NamedTuple):
    """The true entities, as a network reads them.

    Attributes:
      true: the ground truth; cells are those that were read.
      heat: float32 [B, h, w, C], the target of the heatmap.
      found: what was read.
      masks: float [B, N, f h, f w], logits; None without masks.
    """

    true: EntityTargets
    heat: jax.Array
    found: EntityRead
    masks: jax.Array | None


def see_entities(
    network: Network, maps: Maps, read: Callable[[jax.Array, jax.Array], EntityRead], batch: Batch
) -> Seen:
    """Reads the true entities of a batch from the maps by `read`, (features, cells) -> what is read there."""
    true = entity_targets(batch, maps.entity.shape[1:3], network.least_radius)
    heat = heat_targets(true.cell, true.radius, batch['entity/category'], true.counts, maps.entity.shape)
    if network.read_near:
        cell = highest_near(maps.entity, true.cell, batch['entity/category'], heat == 1)
        true = true._replace(cell=cell, offset=true.offset + (true.cell - cell))
    found = read(maps.features, true.cell)
    masks = None
    if maps.masks is not None and found.weights is not None:
        masks = mask_logits(network, maps.masks, found.weights, true.cell)
    return Seen(true, heat, found, masks)


def entity_losses(network: Network, maps: Maps, seen: Seen, batch: Batch) -> Losses:
    """Losses of the entity branch: weighted float32 [] by 'entity', 'offset', 'size', 'mask'."""
    true, found = seen.true, seen.found
    heat = focal_loss(maps.entity, seen.heat, batch['valid'], network.clamp or None)
    losses = {
        'entity': network.heat_weight * heat,
        'offset': network.offset_weight * mean_distance(found.offset, true.offset, true.counts),
        'size': network.size_weight * mean_distance(found.size, true.size, true.counts),
    }
    if seen.masks is not None:
        counts = true.counts * (batch['entity/mask'].max((-2, -1)) > 0)
        dice = jnp.sum(dice_loss(seen.masks, batch['entity/mask']) * counts)
        losses['mask'] = network.mask_weight * dice / jnp.maximum(counts.sum(), 1)
    return losses


def mask_logits(network: Network, features: jax.Array, weights: jax.Array, cell: jax.Array) -> jax.Array:
    """The masks of entities: float [B, K, f h, f w] of mask features, own weights, and where they are."""
    return dynamic_masks(
        features,
        weights.astype(features.dtype),
        cell * network.fine + (network.fine - 1) / 2,
        divisor=network.divisor * network.fine,
        channels=network.mask_channels,
        layers=network.mask_layers,
        stride=network.mask_stride // network.fine_stride,
    )


def relation_losses(
    network: Network,
    maps: Maps,
    read: Callable[[jax.Array, jax.Array, jax.Array], RelationRead],
    batch: Batch,
    subjects: int | None = None,
) -> Losses:
    """Losses of the matching branch: weighted float32 [] by 'relation', 'displacement', 'class', 'parts'.

    `read` is (features, cells, relations) -> what is read there; `subjects` is as for `relation_targets`.
    """
    assert maps.relation is not None
    entities = entity_targets(batch, maps.entity.shape[1:3])
    true = relation_targets(batch, entities, network.fraction, subjects, network.least_radius)
    category = batch['relation/category']
    heat = heat_targets(true.cell, true.radius, category, true.counts, maps.relation.shape)
    if network.read_near:
        cell = highest_near(maps.relation, true.cell, category, heat == 1)
        moved = cell - true.cell
        true = true._replace(cell=cell, subject=true.subject + moved, target=true.target + moved)
    found = read(maps.matched, true.cell, category)
    away = mean_distance(found.subject, true.subject, true.counts)
    away = away + mean_distance(found.target, true.target, true.counts)
    heat_loss = focal_loss(maps.relation, heat, batch['valid'], network.clamp or None)
    losses = {'relation': network.heat_weight * heat_loss, 'displacement': network.displacement_weight * away}
    if found.category is not None:
        which = jnp.take_along_axis(batch['entity/category'], batch['relation/object'], 1)
        each = optax.softmax_cross_entropy_with_integer_labels(found.category, which) * true.counts
        losses['class'] = network.class_weight * jnp.sum(each) / jnp.maximum(true.counts.sum(), 1)
    if found.parts is not None:
        known = true.counts * parts_labelled(batch)[:, None]
        losses['part'] = network.part_weight * part_loss(found.parts, batch['relation/parts'], known)
    return losses


def parts_labelled(batch: Batch) -> jax.Array:
    """float32 [B]: 1 for images of which a pixel's part or a relation's parts are known.

    The rule is that of `evaluation.segmentation.matching`, on the map as it is learned, which may lose a few labels.
    """
    drawn = jnp.any(batch['part'] != UNKNOWN_PART, (1, 2))
    return (drawn | jnp.any(batch['relation/parts'] > 0, (1, 2))).astype(jnp.float32)


def part_loss(logits: jax.Array, parts: jax.Array, counts: jax.Array) -> jax.Array:
    """Binary cross-entropy over [B, R, P], averaged over parts and the relations that count [B, R]."""
    each = optax.sigmoid_binary_cross_entropy(logits, parts.astype(jnp.float32)).mean(-1)
    return jnp.sum(each * counts) / jnp.maximum(counts.sum(), 1)


def parsing_losses(network: Network, maps: Maps, batch: Batch) -> Losses:
    """{'parsing': float32 []}, weighted; nothing without that branch."""
    if maps.parsing is None:
        return {}
    # Which pixel is where matters to no loss: labels are folded, of which there are P + 1 times fewer.
    part = fold(batch['part'][..., None], network.fine)
    part = part.reshape(*part.shape[:2], -1)
    logits = maps.parsing.reshape(*part.shape, -1)
    loss = part_cross_entropy(logits, part, batch['valid'])
    return {'parsing': network.parsing_weight * loss}


def mean_distance(found: jax.Array, true: jax.Array, counts: jax.Array) -> jax.Array:
    """The mean absolute difference over coordinates [B, N, ...] of points that count [B, N] (PPDM's L1)."""
    each = jnp.abs(found - true) * counts[..., None]
    return jnp.sum(each) / (counts.sum() * found.shape[-1] + 1e-4)
