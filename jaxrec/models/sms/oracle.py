"""Predictions from perfect maps: the upper bound of what the maps can hold of a batch's ground truth.

Maps are painted from the ground truth and decoded as a network's would be. Where two things fall on one place, one is
lost: two entities in a cell, or a relation and its mirror image on one midpoint; and of two peaks of one class in
neighbouring cells one suppresses the other, as no two logits of a network are the same.

B batch, h, w map of stride 4, N entities, R relations, K entities found, V relations, P parts.
"""

import jax
import jax.numpy as jnp

from jaxrec.models.sms.losses import entity_targets, heat_targets, relation_targets
from jaxrec.models.sms.network import fusion
from jaxrec.models.sms.network.backbones import STRIDE
from jaxrec.models.sms.network.heads import EntityRead, RelationRead
from jaxrec.models.sms.network.options import Network
from jaxrec.ops.segmentation.grids import fold
from jaxrec.training.task import Batch

SURE = 20.0  # the logit of what is certain
APART = 1e-3  # between peaks' logits: less than would tell in their scores


def perfect_predictions(network: Network, names: fusion.Names, batch: Batch) -> fusion.Predictions:
    """Encodes a batch's ground truth into maps and decodes them as `fusion.read_out`, masks as they are learned."""
    size = tuple(x // STRIDE for x in batch['image'].shape[1:3])
    shape = (len(batch['image']), *size)
    true = entity_targets(batch, size, network.least_radius)
    heat = heat_targets(true.cell, true.radius, batch['entity/category'], true.counts, (*shape, names.counts.entities))
    which = _paint(true.cell, true.counts, shape)

    def read_entities(cell: jax.Array) -> EntityRead:
        row, known = _read(which, cell)
        at = lambda x: _rows(x, row) * known[..., None]
        # In place of a mask network's weights: whose mask it is.
        return EntityRead(at(true.offset), at(true.size), jnp.where(known, row, -1)[..., None])

    entities = fusion.find_entities(_logit(heat, which), read_entities, network.keep)
    assert entities.weights is not None
    owner = entities.weights[..., 0]
    mask = jnp.take_along_axis(batch['entity/mask'], jnp.maximum(owner, 0)[..., None, None], 1)
    share = jnp.where((owner >= 0)[..., None, None], mask, 0).astype(jnp.float32)
    logits = jnp.clip(jnp.log(share) - jnp.log1p(-share), -SURE, SURE)
    triplets = _triplets(network, names, entities, batch, shape)
    parsing = None
    if network.parsing and names.counts.parts:
        shown = jnp.where(batch['part'] <= names.counts.parts, batch['part'], 0)
        parsing = fold(SURE * jax.nn.one_hot(shown, names.counts.parts + 1), network.fine)
    return fusion.read_out(
        network, entities, logits if network.masks else None, triplets, parsing, batch['image'].shape[1:3]
    )


def _triplets(
    network: Network, names: fusion.Names, entities: fusion.Entities, batch: Batch, shape: tuple[int, ...]
) -> fusion.Triplets:
    allowed = fusion.subjects(network, names)
    true = relation_targets(batch, entity_targets(batch, shape[1:]), network.fraction, allowed, network.least_radius)
    heat = heat_targets(
        true.cell, true.radius, batch['relation/category'], true.counts, (*shape, names.counts.relations)
    )
    counts, lines = names.counts, jnp.arange(shape[0])[:, None]
    which = _paint(true.cell, true.counts, shape)
    place = lines, true.cell[..., 0], true.cell[..., 1], batch['relation/category']
    each = (*shape, counts.relations)
    taking = batch['relation/parts'] * true.counts[..., None]
    told = jnp.zeros((*each, counts.parts)).at[place].max(taking)  # the parts of each relation of a cell
    number = jnp.where(true.counts > 0, jnp.arange(true.cell.shape[1]) + 1, 0)
    whose = jnp.zeros(each, jnp.int32).at[place].max(number)  # and its row, as in `which`
    objects = jnp.take_along_axis(batch['entity/category'], batch['relation/object'], 1)
    objects = SURE * jax.nn.one_hot(objects, counts.entities)

    def read(cell: jax.Array, category: jax.Array) -> RelationRead:
        place = lines, cell[..., 0], cell[..., 1], category
        row, known = _read(which, cell)
        parts = told[place] if network.parts_by_relation else _rows(taking, row) * known[..., None]
        if network.ends_by_relation:
            row, known = jnp.maximum(whose[place] - 1, 0), whose[place] > 0
        at = lambda x: _rows(x, row) * known[..., None]
        return RelationRead(
            at(true.subject),
            at(true.target),
            SURE * (2.0 * parts - 1) if counts.parts else None,
            at(objects) if network.object_class else None,
        )

    return fusion.match_points(network, names, entities, _logit(heat, which), read)


def _logit(heat: jax.Array, which: jax.Array) -> jax.Array:
    """Logits of heatmaps [B, h, w, C], the highest at the first of the rows that `which` [B, h, w] has."""
    p = jnp.minimum(heat, 1 - 1e-6)
    sure = SURE - APART * (which[..., None] - 1)
    return jnp.where(heat == 1, sure, jnp.log(p) - jnp.log1p(-p))  # where nothing is drawn, never: -inf


def _paint(cell: jax.Array, counts: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """int32 [B, h w]: which row is at each cell, counted from 1; the last of several, 0 for none."""
    batch, height, width = shape
    place = cell[..., 0] * width + cell[..., 1]
    number = jnp.where(counts > 0, jnp.arange(cell.shape[1]) + 1, 0)
    empty = jnp.zeros((batch, height * width), jnp.int32).at[jnp.arange(batch)[:, None], place].max(number)
    return empty.reshape(batch, height, width)


def _read(which: jax.Array, cell: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The row at each cell [B, K, 2], and whether there is one."""
    found = which[jnp.arange(len(which))[:, None], cell[..., 0], cell[..., 1]] - 1
    return jnp.maximum(found, 0), found >= 0


def _rows(x: jax.Array, row: jax.Array) -> jax.Array:
    return jnp.take_along_axis(x, row[..., None], 1)
