"""The options of SMS's network: named sizes, every number of which can be set.

The abstract of the paper (arXiv 2105.11168) names the branches; where it is silent these are choices: heads, losses,
matching and decoding as in PPDM (arXiv 1912.12898), masks as in CondInst (arXiv 2003.05664), trunk DLA-34.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from jaxrec.models.sms.network.backbones import STRIDE, TRUNKS, Trunk
from jaxrec.models.sms.network.layers import NORMS, Style
from jaxrec.ops.segmentation.dynamic_masks import number_of_weights
from jaxrec.options import DTYPES, read_sized

# Where a relation's point lies on the way from subject to object.
RELATION_POINTS = ('midpoint', 'shifted', 'subject')
# Nearer to it, points of neighbours are rounded to one cell, as the midpoint is.
NEAR_THE_MIDDLE = 0.01


@dataclasses.dataclass(frozen=True)
class Network:
    """Sizes and switches.

    Attributes:
      trunk: one of `backbones.TRUNKS`.
      multiplier: of the trunk's channels.
      norm: 'batch', whose statistics are the model state, or 'group'.
      momentum: of the running averages of batch statistics.
      neck: channels of the map that heads read.
      neck_kernel: of the projections on the way up, 1 or 3; CenterNet's deformable ones are 3 x 3.
      hidden: channels between the two convolutions of a head.
      point_hidden: the same of what is read at points and of the pair classifier of two stages; 0 takes `hidden`.
      shared: what is read at one point (offset, size, mask weights; displacements and parts) has one 3 x 3.
      masks: entities have masks; without, they are filled boxes.
      mask_features: channels of the map that all masks are made of.
      mask_width, mask_depth: of the convolutions that make it.
      mask_fine: they read the trunk's map of stride 2 beside the neck's of stride 4.
      mask_context: channels of the neck that are enlarged to stride 2, where the trunk's map joins them and the
        convolutions run; 0 folds the trunk's map to stride 4 instead.
      mask_stride: of that map, 2, 4 or 8; with 2 each place of the network's map gives four of the masks' and of the
        part map, and targets have masks of that stride.
      mask_channels, mask_layers: of each entity's own network.
      divisor: map cells that make a relative coordinate of a mask 1.
      pair_divisor: map cells that make a distance of two boxes 1, in two stages; 0 takes `divisor`.
      mask_init: deviation with which the layer that emits mask networks is drawn; CondInst's .01 is for 2,304 inputs,
        and fewer want a larger one.
      parsing: whether there is a branch of human parts.
      part_context: relations are read from the part map too, so that matching waits for parsing; without that branch it
        says nothing.
      relation_point: 'midpoint', as PPDM, where a relation and its mirror image fall together; 'shifted' from it, where
        they do not unless both centres lie in one cell; 'subject'.
      shift: how far from the subject a 'shifted' point lies, of the way to the object; not a half or near it. Somebody
        has many relations and a thing has few: points beyond the middle are less crowded.
      parts_by_relation: parts are told for each relation of a point, else once for all of them.
      ends_by_relation: the same of where its subject and object are, and of the object's class.
      object_class: points also tell their object's class, by which candidates are weighed; PPDM may weigh them by a
        table of verbs and objects.
      both_directions: relations that the vocabulary calls symmetric are given in both directions, with the same parts:
        who talks does so with the head, as the other does. Where two hold hands, one the left and one the right, label
        both directions and leave this off.
      any_subject: subjects need not be people.
      keep: K, entities of an image.
      points: relation points of an image that are matched; a pair that several of them mean has them once.
      match_scale: by which distances in the match are multiplied; PPDM's are cells of a map of 128, of which a smaller
        map of the same scene has fewer.
      tries: how many of the subjects, and of the objects, that fit a relation point best make triplets of it; the score
        of those behind the first falls as their fit does. PPDM takes the first alone.
      relation_power: to which a relation's score is raised in a triplet's; PPDM's is 1.
      least_radius: of the peaks of heatmaps, in cells; 0 leaves small things without a neighbourhood.
      triplets: T, of an image; at most J (J + 1) / 2 times the points, of J tries, and twice that in both directions.
      read_near: in training too a point is read where its class's heatmap is highest, of the 3 x 3 cells around the
        true one, as inference reads it; else at the true cell alone, as PPDM and CondInst do.
      predicted_pairs: share of the images of a step whose pairs two stages see by predicted masks and boxes, as
        inference does; else by true ones.
      read_stride: of the masks that are read out, in image pixels: 1, 2 or 4.
      clamp: probabilities of heatmaps are kept this far from 0 and 1 in the loss; 0 does without.
      heat_weight: of both heatmap losses.
      offset_weight, size_weight, displacement_weight: of the L1 losses at points.
      class_weight: of the class of objects at relation points.
      mask_weight, part_weight, parsing_weight: of dice, of parts at relation points, of the part map.
      mean, std: of pixels in [0, 1], red, green, blue; those of published weights must be theirs.
      dtype: of activations; parameters, statistics and losses are float32.
    """

    trunk: str = 'dla34'
    multiplier: float = 1.0
    norm: str = 'batch'
    momentum: float = 0.9
    neck: int = 64
    neck_kernel: int = 1
    hidden: int = 256
    point_hidden: int = 0
    shared: bool = True
    masks: bool = True
    mask_features: int = 8
    mask_width: int = 128
    mask_depth: int = 4
    mask_fine: bool = False
    mask_context: int = 0
    mask_stride: int = 8
    mask_channels: int = 8
    mask_layers: int = 3
    divisor: float = 64.0
    pair_divisor: float = 0.0
    mask_init: float = 0.01
    parsing: bool = True
    part_context: bool = False
    relation_point: str = 'shifted'
    shift: float = 1 / 3
    parts_by_relation: bool = False
    ends_by_relation: bool = False
    object_class: bool = False
    both_directions: bool = False
    any_subject: bool = False
    keep: int = 40
    points: int = 100
    match_scale: float = 1.0
    tries: int = 1
    relation_power: float = 1.0
    least_radius: int = 0
    triplets: int = 100
    read_near: bool = False
    predicted_pairs: float = 0.0
    read_stride: int = 1
    clamp: float = 0.0
    heat_weight: float = 1.0
    offset_weight: float = 1.0
    size_weight: float = 0.1
    displacement_weight: float = 0.1
    class_weight: float = 0.4
    mask_weight: float = 1.0
    part_weight: float = 1.0
    parsing_weight: float = 1.0
    mean: tuple[float, ...] = (0.470, 0.447, 0.408)
    std: tuple[float, ...] = (0.278, 0.274, 0.289)
    dtype: str = 'float32'

    def __post_init__(self) -> None:
        for name in (
            'neck', 'hidden', 'mask_features', 'mask_width', 'mask_depth', 'mask_channels', 'mask_layers',
            'keep', 'points', 'triplets', 'tries',
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f'model.{name} = {getattr(self, name)}: give at least 1')
        for name, allowed in (
            ('trunk', tuple(TRUNKS)),
            ('norm', NORMS),
            ('mask_stride', (STRIDE // 2, STRIDE, 2 * STRIDE)),
            ('neck_kernel', (1, 3)),
            ('relation_point', RELATION_POINTS),
            ('read_stride', (1, 2, 4)),
            ('dtype', DTYPES),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f'model.{name} = {getattr(self, name)!r} does not exist; choose of {allowed}')
        for name, low, high in (
            ('multiplier', 0, 8), ('momentum', 0, 1), ('shift', 0, 1), ('divisor', 0, 1e6),
            ('mask_init', 0, 1), ('match_scale', 0, 1e3), ('relation_power', 0, 10),
        ):  # fmt: skip
            if not low < getattr(self, name) < high:
                raise ValueError(f'model.{name} = {getattr(self, name)} is not between {low} and {high}')
        weights = [field.name for field in dataclasses.fields(self) if field.name.endswith('_weight')]
        for name in ('point_hidden', 'pair_divisor', 'least_radius', 'mask_context', *weights):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f'model.{name} = {getattr(self, name)}: give a number from 0 on')
        self._check_together()

    def _check_together(self) -> None:
        if self.mask_fine and not TRUNKS[self.trunk].fine:
            raise ValueError(
                f"model.mask_fine: {self.trunk!r} has no map of stride 2: choose another trunk, such as 'resnet_fine'"
            )
        if self.mask_context and not (self.mask_fine and self.mask_stride == STRIDE // 2):
            raise ValueError(
                f'model.mask_context = {self.mask_context} is of masks of stride 2 that read the trunk: set '
                'model.mask_fine and model.mask_stride=2, or leave it 0'
            )
        if self.read_stride > self.fine_stride:
            raise ValueError(
                f'model.read_stride = {self.read_stride} is coarser than masks, {self.fine_stride}: lower it'
            )
        if not 0 <= self.predicted_pairs <= 1:
            raise ValueError(f'model.predicted_pairs = {self.predicted_pairs} is outside [0, 1]')
        if abs(self.shift - 0.5) < NEAR_THE_MIDDLE:
            raise ValueError(
                f'model.shift = {self.shift} is the midpoint, which both directions share: give less or more '
                f"by at least {NEAR_THE_MIDDLE}, or set model.relation_point = 'midpoint'"
            )
        if not 0 <= self.clamp < 0.5:
            raise ValueError(f'model.clamp = {self.clamp} is outside [0, .5)')
        if not (
            len(self.mean) == len(self.std) == 3
            and min(self.mean) >= 0
            and min(self.std) > 0
            and max(*self.std, *self.mean) <= 1
        ):
            raise ValueError(
                f'model.mean = {self.mean}, model.std = {self.std}: give three each, of pixels from 0 to 1 '
                '(divide those of 0 to 255 by 255), std above 0'
            )
        pairs = self.tries * (self.tries + 1) // 2
        if self.triplets > (made := self.points * pairs * (2 if self.both_directions else 1)):
            raise ValueError(
                f'model.triplets = {self.triplets} of {made} that are made: raise model.points or take fewer'
            )

    @property
    def style(self) -> Style:
        """What the convolutions have in common."""
        return Style(self.norm, jnp.dtype(self.dtype), self.momentum)

    @property
    def trunk_shape(self) -> Trunk:
        """The trunk's depths and widths."""
        return TRUNKS[self.trunk].scaled(self.multiplier) if self.multiplier != 1 else TRUNKS[self.trunk]

    @property
    def fraction(self) -> float:
        """Where a relation's point lies on the way from subject to object."""
        return {'midpoint': 0.5, 'subject': 0.0, 'shifted': self.shift}[self.relation_point]

    @property
    def fine_stride(self) -> int:
        """Stride of masks and part map as they are learned: 2 or 4."""
        return min(self.mask_stride, STRIDE)

    @property
    def fine(self) -> int:
        """How many places of a mask a cell of the network's map is high and wide."""
        return STRIDE // self.fine_stride

    @property
    def point_width(self) -> int:
        """Channels between the two layers of what is read at points."""
        return self.point_hidden or self.hidden

    @property
    def mask_weights(self) -> int:
        """Weights of each entity's own network: 169 by default."""
        return number_of_weights(self.mask_features, self.mask_channels, self.mask_layers)


SIZES: dict[str, dict[str, Any]] = {
    # 512 pixels.
    'full': {},
    # 128 pixels on two cores.
    'small': {
        'trunk': 'dla_small', 'neck': 32, 'hidden': 64, 'mask_width': 32, 'mask_depth': 2, 'mask_stride': 4,
        'divisor': 16.0,
    },
    # For tests.
    'tiny': {
        'trunk': 'dla_tiny', 'neck': 16, 'hidden': 32, 'mask_width': 16, 'mask_depth': 1, 'mask_stride': 4,
        'divisor': 8.0, 'keep': 8, 'points': 12, 'triplets': 12,
    },
}  # fmt: skip


def read_network(config: Mapping[str, Any]) -> Network:
    """Reads a config section, `size` (of `SIZES`, default 'full') and any field of `Network`, over the named size.

    Raises:
      ValueError: an unknown size or field, or a number out of range.
    """
    return read_sized(config, 'model', Network, SIZES, 'full')
