"""The two-stage baseline of SMS: entities first, then a classifier of relations over all pairs of them.

Trunk, entity branch and parsing are SMS's own. A pair is described by the features under both masks, those midway
between its members, both classes, and where the two lie (the features of VTransE, arXiv 1702.08319, and of its
successors). It is trained on pairs of true entities, all unrelated ones as negatives, optionally with predicted masks.

B batch, h, w map of stride 4, N entities, V relations, P parts, T triplets, D width, G geometric features.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.configurable import configurable
from jaxrec.data.images.scene import Vocabulary
from jaxrec.models.sms.losses import (
    EntityTargets,
    Losses,
    Seen,
    entity_losses,
    parsing_losses,
    part_loss,
    parts_labelled,
    see_entities,
)
from jaxrec.models.sms.network import fusion
from jaxrec.models.sms.network.backbones import STRIDE
from jaxrec.models.sms.network.heads import Counts, EntityRead, Maps, Sms, of_relation
from jaxrec.models.sms.network.layers import RARE, When, convolve
from jaxrec.models.sms.network.options import Network
from jaxrec.models.sms.task import SmsTask, network_of, read_task
from jaxrec.ops.largest import largest
from jaxrec.ops.segmentation.grids import fold, read_between
from jaxrec.ops.segmentation.heatmaps import focal_loss
from jaxrec.training.task import Batch

NEVER = -30.0  # the logit of a pair that cannot be


class Members(NamedTuple):
    """Entities in map cells: class, box (top, left, bottom, right), share of each cell [B, N, h, w], existence."""

    category: jax.Array
    box: jax.Array
    mask: jax.Array
    exists: jax.Array


def shares(mask: jax.Array, fine: int) -> jax.Array:
    """How much of each cell of the network's map a mask covers: [B, N, f h, f w] -> float32 [B, N, h, w]."""
    batch, count, height, width = mask.shape
    squares = fold(mask.astype(jnp.float32).reshape(batch * count, height, width, 1), fine)
    return squares.mean(-1).reshape(batch, count, height // fine, width // fine)


def pair_geometry(box: jax.Array, divisor: float) -> jax.Array:
    """Distance, sizes, their ratio, overlap of boxes [B, N, 4]: float32 [B, N, N, 9], subjects on the second axis."""
    size = jnp.maximum(box[..., 2:] - box[..., :2], 1e-2)
    middle = (box[..., 2:] + box[..., :2]) / 2
    away = (middle[:, None] - middle[:, :, None]) / divisor
    ratio = jnp.log(size[:, None]) - jnp.log(size[:, :, None])
    low = jnp.maximum(box[:, :, None, :2], box[:, None, :, :2])
    high = jnp.minimum(box[:, :, None, 2:], box[:, None, :, 2:])
    shared = jnp.prod(jnp.maximum(high - low, 0), -1)
    area = jnp.prod(size, -1)
    overlap = shared / (area[:, :, None] + area[:, None] - shared)
    wide = lambda x, axis: jnp.broadcast_to(jnp.expand_dims(x / divisor, axis), away.shape)
    return jnp.concatenate([away, ratio, wide(size, 2), wide(size, 1), overlap[..., None]], -1)


class PairHead(nn.Module):
    """The relation classifier."""

    network: Network
    counts: Counts

    @nn.compact
    def __call__(self, features: jax.Array, members: Members) -> tuple[jax.Array, jax.Array]:
        """Logits of all pairs in features [B, h, w, C]: float32 [B, N, N, V], and of parts [B, N, N, P or V P]."""
        network, counts = self.network, self.counts
        style, width = network.style, network.point_width
        dense = lambda out, name, **more: nn.Dense(out, dtype=style.dtype, name=name, **more)
        x = nn.relu(convolve(width, 3, dtype=style.dtype, name='hidden')(features))
        mask = members.mask.astype(x.dtype)
        # Of a thing smaller than a cell the sum is a small share, and of one that is not there 0.
        covered = jnp.maximum(mask.sum((2, 3)), 1e-3)[..., None]
        pooled = jnp.einsum('bnhw,bhwd->bnd', mask, x) / covered
        one = jnp.concatenate([pooled, jax.nn.one_hot(members.category, counts.entities, dtype=x.dtype)], -1)
        middle = (members.box[..., :2] + members.box[..., 2:]) / 2
        between = (middle[:, :, None] + middle[:, None]) / 2
        there = read_between(x, between.reshape(len(x), -1, 2)).reshape(*between.shape[:3], width)
        divisor = network.pair_divisor or network.divisor
        geometry = pair_geometry(members.box, divisor).astype(x.dtype)
        pair = dense(width, 'geometry')(geometry) + dense(width, 'between', use_bias=False)(there)
        pair = pair + dense(width, 'subject', use_bias=False)(one)[:, :, None]
        pair = nn.relu(pair + dense(width, 'target', use_bias=False)(one)[:, None])
        pair = nn.relu(dense(width, 'joined')(pair))
        rare = nn.initializers.constant(RARE)
        last = lambda out, name, **more: nn.Dense(out, name=name, **more)(pair)  # float32, as `MapHead`'s
        logits = last(counts.relations, 'relation', bias_init=rare)
        if not counts.parts:
            return logits, jnp.zeros((*logits.shape[:3], 0))
        each = counts.relations if network.parts_by_relation else 1
        return logits, last(each * counts.parts, 'parts')


class TwoStage(nn.Module):
    """The parameters: SMS without its matching branch, and the classifier."""

    network: Network
    counts: Counts

    def setup(self) -> None:
        """Declares both."""
        self.first = Sms(self.network, self.counts, relations=False)
        self.second = PairHead(self.network, self.counts)

    def maps(self, image: jax.Array, when: When) -> Maps:
        """What is known of every place of uint8 images [B, H, W, 3]."""
        return self.first.maps(image, when)

    def read_entities(self, features: jax.Array, cell: jax.Array) -> EntityRead:
        """What `Maps.features` say at centres, int32 [B, K, 2]."""
        return self.first.read_entities(features, cell)

    def pairs(self, features: jax.Array, members: Members) -> tuple[jax.Array, jax.Array]:
        """Logits of the relations and parts of all pairs, as `PairHead`."""
        return self.second(features, members)


@dataclasses.dataclass(frozen=True, eq=False)
class TwoStageTask(SmsTask):
    """Entities first; implements `training.task.Task`, and predicts what `SmsTask` does."""

    @property
    def module(self) -> nn.Module:
        """The Flax module."""
        return TwoStage(self.network, self.names.counts)

    def check_start(self, model: Mapping[str, Any]) -> None:
        """Raises a ValueError also for boxes that were measured in another unit, see `SmsTask.check_start`."""
        super().check_start(model)
        before, after = (each.pair_divisor or each.divisor for each in (network_of(model), self.network))
        if before != after:
            raise ValueError(
                f'the run to start from is of another network: model.pair_divisor is {before} there and '
                f'{after} here; give this one the options of that, or train anew without --warm_start'
            )

    def touch(self, module: Any, image: jax.Array) -> Maps:
        """Reads everything once, so that all parameters are drawn; a method of the module."""
        maps = module.maps(image, When())
        shape = (len(image), 1)
        module.read_entities(maps.features, jnp.zeros((*shape, 2), jnp.int32))
        nobody = Members(
            jnp.zeros(shape, jnp.int32),
            jnp.zeros((*shape, 4)),
            jnp.zeros((*shape, *maps.features.shape[1:3])),
            jnp.ones(shape, bool),
        )
        module.pairs(maps.matched, nobody)
        return maps

    def branch_losses(self, module: Any, batch: Batch, rng: jax.Array) -> Losses:
        """{name: float32 []}; a method of the module."""
        network, maps = self.network, module.maps(batch['image'], When(True, batch['valid']))
        seen = see_entities(network, maps, module.read_entities, batch)
        members = self.true_members(batch, seen.true)
        if network.predicted_pairs:
            members = self.some_predicted(members, seen, rng)
        logits, parts = module.pairs(maps.matched, members)
        may = self.pairs_that_may_be(members)
        row, subject, target = (
            jnp.arange(len(may))[:, None], batch['relation/subject'], batch['relation/object'],
        )  # fmt: skip
        category = batch['relation/category']
        counts = batch['relation/valid'] * batch['valid'][:, None] * may[row, subject, target]
        truth = jnp.zeros(logits.shape).at[row, subject, target, category].max(counts)
        logits = jnp.where(may[..., None], logits, NEVER)
        heat = focal_loss(logits, truth, batch['valid'], network.clamp or None)
        losses = {
            **entity_losses(network, maps, seen, batch),
            **parsing_losses(network, maps, batch),
            'relation': network.heat_weight * heat,
        }
        if parts.shape[-1]:
            known = counts * parts_labelled(batch)[:, None]
            own = of_relation(parts[row, subject, target], category, self.names.counts.parts)
            losses['part'] = network.part_weight * part_loss(own, batch['relation/parts'], known)
        return losses

    def true_members(self, batch: Batch, true: EntityTargets) -> Members:
        """The entities of the truth."""
        half = true.size[..., :2] / 2
        middle = batch['entity/middle']
        box = jnp.concatenate([middle - half, middle + half], -1)
        mask = shares(batch['entity/mask'], self.network.fine)
        if not self.network.masks:
            mask = fusion.box_masks(box, mask.shape[2:]).astype(jnp.float32)
        return Members(batch['entity/category'], box, mask, true.counts > 0)

    def some_predicted(self, members: Members, seen: Seen, rng: jax.Array) -> Members:
        """The true entities, of some images with predicted boxes and masks, into which no gradient flows."""
        drawn = jax.random.bernoulli(rng, self.network.predicted_pairs, (len(members.box), 1, 1))
        size = members.mask.shape[2:]
        box = jax.lax.stop_gradient(fusion.boxes_at(seen.true.cell, seen.found, size))
        mask = self.shown_masks(seen.masks, box, size)
        return members._replace(
            box=jnp.where(drawn, box, members.box), mask=jnp.where(drawn[..., None], mask, members.mask)
        )

    def shown_masks(self, masks: jax.Array | None, box: jax.Array, size: tuple[int, ...]) -> jax.Array:
        """float32 [B, N, h, w] of predicted logits [B, N, f h, f w], or filled boxes where there are none."""
        if masks is None:
            return fusion.box_masks(box, size).astype(jnp.float32)
        return shares(masks > 0, self.network.fine)

    def pairs_that_may_be(self, members: Members) -> jax.Array:
        """bool [B, N, N]: two different entities that exist, the first one a person unless any may be."""
        exists, count = members.exists, members.exists.shape[1]
        subject = exists
        if not self.network.any_subject:
            subject = exists & (members.category == self.names.person)
        return subject[:, :, None] & exists[:, None] & ~jnp.eye(count, dtype=bool)

    def find(self, module: Any, image: jax.Array) -> fusion.Predictions:
        """From uint8 [B, H, W, 3] to the read-out; a method of the module."""
        network, maps = self.network, module.maps(image, When())
        with jax.named_scope('fusion'):
            entities, masks = self.found_entities(module, maps)
            shown = self.shown_masks(masks, entities.box, maps.entity.shape[1:3])
            members = Members(entities.category, entities.box, shown, entities.score > 0)
            logits, parts = module.pairs(maps.matched, members)
            may = self.pairs_that_may_be(members)
            triplets = self.best_pairs(entities, may, jax.nn.sigmoid(logits), jax.nn.sigmoid(parts))
            return fusion.read_out(network, entities, masks, triplets, maps.parsing, image.shape[1:3])

    def check_room(self, batch: Batch) -> None:
        """Raises a ValueError naming the option that asks for more entities than places or triplets than pairs."""
        cells = (side // STRIDE for side in batch['image'].shape[1:3])
        fusion.require_room('keep', self.network.keep, (*cells, self.names.counts.entities))
        self.check_pairs(self.network.keep)

    def check_pairs(self, count: int) -> None:
        """Raises a ValueError if there are more triplets than `count` entities have pairs and relations."""
        instead = 'more entities, model.keep (of the prior data.entities)'
        all_pairs = (count, count, self.names.counts.relations)
        fusion.require_room('triplets', self.network.triplets, all_pairs, instead)

    def best_pairs(
        self, entities: fusion.Entities, may: jax.Array, chance: jax.Array, parts: jax.Array
    ) -> fusion.Triplets:
        """The T best of all pairs and relations, by s_subject s_object p(relation)^`relation_power`.

        Args:
          entities: N of them.
          may: bool [B, N, N], pairs that may be.
          chance, parts: float32 [B, N, N, V] and [B, N, N, P or V P], probabilities.

        Raises:
          ValueError: T are more than there are pairs and relations.
        """
        batch, count, _, relations = chance.shape
        self.check_pairs(count)
        both = entities.score[:, :, None] * entities.score[:, None] * may
        score = (both[..., None] * chance**self.network.relation_power).reshape(batch, -1)
        score, index = largest(score, self.network.triplets)
        pair, relation = index // relations, index % relations
        told = jnp.take_along_axis(parts.reshape(batch, count * count, parts.shape[-1]), pair[..., None], 1)
        told = of_relation(told, relation, self.names.counts.parts)
        return fusion.Triplets(pair // count, pair % count, relation, score, told)


def read_pairwise(config: Mapping[str, Any], schema: Any) -> tuple[Network, Vocabulary, str, str]:
    """As `task.read_task`, for a task that looks at pairs: options of relation points have no effect.

    Raises:
      ValueError: also for `both_directions`, without which the triplets of a row are others.
    """
    read = read_task(config, schema)
    if read[0].both_directions:
        raise ValueError('model.both_directions is of the matching branch, which two stages do without: leave it out')
    return read


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Any) -> TwoStageTask:
    """Builds the task; arguments and result are those of `task.make_task`, errors also of `read_pairwise`."""
    return TwoStageTask(*read_pairwise(config, schema))
