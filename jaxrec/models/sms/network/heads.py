"""The network: one map, and on it the branches of entities, relations and human parts (arXiv 2105.11168).

Offsets, sizes, mask weights, displacements and parts are only read at points, and computed at those points alone.

B batch, h, w map of stride 4, C entity classes, V relations, P parts, K entities, R relation points.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.models.sms.network.backbones import Backbone
from jaxrec.models.sms.network.layers import RARE, ConvNorm, MapHead, PointHead, When
from jaxrec.models.sms.network.options import Network
from jaxrec.ops.segmentation.grids import fold, patches_at, unfold


class Counts(NamedTuple):
    """How many entity classes (C), relations (V) and parts (P) there are."""

    entities: int
    relations: int
    parts: int


class Maps(NamedTuple):
    """What is known of every place.

    Attributes:
      features: float [B, h, w, neck], what entities are read from.
      matched: float [B, h, w, neck or neck + P + 1], what relations are read from, see `Network.part_context`.
      entity: float32 [B, h, w, C], logits of centres.
      relation: float32 [B, h, w, V], logits of relation points; None where relations are another's business.
      masks: float [B, h / s, w / s, mask_features], s 1/2, 1 or 2; None without masks.
      parsing: float32 [B, h, w, f f (P + 1)], f `Network.fine`, logits of no part and of every part, folded as
        `ops.grids.fold` does; None without.
    """

    features: jax.Array
    matched: jax.Array
    entity: jax.Array
    relation: jax.Array | None
    masks: jax.Array | None
    parsing: jax.Array | None


class EntityRead(NamedTuple):
    """What is read at the centre of an entity, in map cells.

    Attributes:
      offset: float32 [B, K, 2], from the cell to the centre.
      size: float32 [B, K, 4], height and width of the box, and from the centre to the middle of the box.
      weights: float32 [B, K, M], of the entity's own mask network; None without masks.
    """

    offset: jax.Array
    size: jax.Array
    weights: jax.Array | None


class RelationRead(NamedTuple):
    """What is read at a relation point, in map cells.

    Attributes:
      subject, target: float32 [B, R, 2], from the subject's and the object's cell to the point.
      parts: float32 [B, R, P], logits; None without parts.
      category: float32 [B, R, C], logits of the object's class; None where nobody asks.
    """

    subject: jax.Array
    target: jax.Array
    parts: jax.Array | None
    category: jax.Array | None = None


class Sms(nn.Module):
    """The parameters; `relations` says whether there is a matching branch."""

    network: Network
    counts: Counts
    relations: bool = True

    def setup(self) -> None:
        """Declares the backbone and a head for all that is predicted."""
        network, counts = self.network, self.counts
        style = network.style
        dense = lambda out, bias=0.0: MapHead(network.hidden, out, bias, style.dtype)
        self.backbone = Backbone(
            network.trunk_shape, network.neck, network.neck_kernel, network.mean, network.std, style, network.mask_fine
        )
        self.entity_heat = dense(counts.entities, RARE)
        at_entity = {'offset': 2, 'size': 4} | ({'weights': network.mask_weights} if network.masks else {})
        drawn = {'weights': network.mask_init}
        points = lambda out: PointHead(network.point_width, out, network.shared, drawn, style.dtype)
        self.entity_points = points(at_entity)
        if network.masks:
            self.mask_branch = MaskBranch(network)
        if network.parsing and counts.parts:
            self.parsing = dense((counts.parts + 1) * network.fine**2)
        if self.relations:
            self.relation_heat = dense(counts.relations, RARE)
            ends = counts.relations if network.ends_by_relation else 1
            at_relation = {'subject': 2 * ends, 'target': 2 * ends}
            if network.object_class:
                at_relation['category'] = counts.entities * ends
            if counts.parts:
                each = counts.relations if network.parts_by_relation else 1
                at_relation['parts'] = counts.parts * each
            self.relation_points = points(at_relation)

    def maps(self, image: jax.Array, when: When) -> Maps:
        """What is known of every place of uint8 images [B, H, W, 3]."""
        network, (features, fine) = self.network, self.backbone(image, when)
        with jax.named_scope('branches'):
            parsing = self.parsing(features) if network.parsing and self.counts.parts else None
            matched = features
            if network.part_context and parsing is not None:
                shares = part_shares(parsing, network.fine).astype(features.dtype)
                matched = jnp.concatenate([features, shares], -1)
            return Maps(
                features,
                matched,
                self.entity_heat(features),
                self.relation_heat(features) if self.relations else None,
                self.mask_branch(features, fine, when) if network.masks else None,
                parsing,
            )

    def read_entities(self, features: jax.Array, cell: jax.Array) -> EntityRead:
        """What `Maps.features` say at centres, int32 [B, K, 2]."""
        found = self.entity_points(patches_at(features, cell))
        return EntityRead(found['offset'], found['size'], found.get('weights'))

    def read_relations(self, matched: jax.Array, cell: jax.Array, category: jax.Array) -> RelationRead:
        """What `Maps.matched` says at points int32 [B, R, 2] of the relations int32 [B, R]."""
        found, counts = self.relation_points(patches_at(matched, cell)), self.counts
        widths = {'subject': 2, 'target': 2, 'parts': counts.parts, 'category': counts.entities}
        own = {name: of_relation(x, category, widths[name]) for name, x in found.items()}
        return RelationRead(own['subject'], own['target'], own.get('parts'), own.get('category'))


def of_relation(x: jax.Array, category: jax.Array, width: int) -> jax.Array:
    """What is predicted for relations int32 [B, R]: float [B, R, width] of x [B, R, V width], or of x [B, R, width]."""
    if x.shape[-1] == width:
        return x
    by_relation = x.reshape(*x.shape[:-1], -1, width)
    return jnp.take_along_axis(by_relation, category[..., None, None], -2)[..., 0, :]


def part_shares(parsing: jax.Array, fine: int) -> jax.Array:
    """Shares of no part and every part in each cell, float32 [B, h, w, P + 1], from the logits of `Maps.parsing`."""
    places = parsing.reshape(*parsing.shape[:3], fine**2, -1)
    return jax.nn.softmax(places, -1).mean(-2)


class MaskBranch(nn.Module):
    """The map that all masks are made of (CondInst's mask branch).

    With `mask_fine` it also reads the trunk's map of stride 2, where edges are sharper than in the neck: folded to
    stride 4, or, with `mask_context`, as it is.
    """

    network: Network

    @nn.compact
    def __call__(self, x: jax.Array, fine: jax.Array | None, when: When) -> jax.Array:
        """[B, h, w, neck] and [B, 2 h, 2 w, C] or None -> [B, h / s, w / s, mask_features]."""
        network, places = self.network, self.network.fine
        if network.mask_context and fine is not None:
            wide = ConvNorm(places**2 * network.mask_context, 3, 1, network.style, name='context')(x, when)
            x, places = jnp.concatenate([unfold(wide, places), fine], -1), 1
        elif fine is not None:
            x = jnp.concatenate([x, fold(fine, 2)], -1)
        for i in range(network.mask_depth):
            stride = max(network.mask_stride // 4, 1) if i == 0 else 1
            x = ConvNorm(network.mask_width, 3, stride, network.style, name=f'conv_{i}')(x, when)
        x = nn.Dense(network.mask_features * places**2, dtype=network.style.dtype, name='out')(x)
        return unfold(x, places)
