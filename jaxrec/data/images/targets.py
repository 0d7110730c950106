"""A scene as the fixed-size arrays that a network is trained on and an evaluator reads.

N entities and R relations at most, P parts, H, W image size, h, w output size: H, W over the stride.
"""

import dataclasses

import numpy as np

from jaxrec.data.images.geometry import keep_entities, without_empty
from jaxrec.data.images.scene import UNKNOWN_PART, Scene

Arrays = dict[str, np.ndarray]
CENTRES = ('mass', 'inside', 'box')


@dataclasses.dataclass(frozen=True)
class TargetOptions:
    """The shapes of targets.

    Attributes:
      stride: image pixels a side of an output cell.
      entities, relations: N and R.
      mask_stride: image pixels a side of a cell of masks and part map; 0 takes the stride.
      soft_masks: masks hold the share of a cell that an entity covers, not whether it is at least half: edges stay in
        place when masks are enlarged.
      centre: 'mass', the mean of an entity's pixels; 'inside', the same moved to the nearest cell that the entity
        covers, see `own_centres`; or 'box', the middle of its box, outside the entity for a fifth of those in real
        images.
    """

    stride: int = 4
    entities: int = 48
    relations: int = 64
    centre: str = 'mass'
    mask_stride: int = 0
    soft_masks: bool = False

    def __post_init__(self) -> None:
        for name in ('stride', 'entities', 'relations'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} is {getattr(self, name)}: it must be at least 1')
        if self.mask_stride < 0:
            raise ValueError(f'mask_stride is {self.mask_stride}: give at least 1, or 0 for the stride')
        if self.centre not in CENTRES:
            raise ValueError(f'centre {self.centre!r} is unknown: use one of {", ".join(CENTRES)}')


def encode(scene: Scene, options: TargetOptions, judged: bool = True, kinds: int = 0, classes: int = 0) -> Arrays:
    """Encodes one scene.

    Entities without a pixel, and entities and relations beyond the caps, are left out and counted. Of too many entities
    those stay that take part in a relation, the larger ones first, in their order; of too many relations the first. An
    output cell belongs to an entity if at least half of its pixels do; an entity that has half of no cell has the cells
    where it has most. The part of a cell is the commonest of its pixels, the lowest number of equally common ones.

    Args:
      scene: of a height and a width that the stride divides; a ValueError refuses others.
      options: the shapes.
      judged: whether to add the keys `host/` that only an evaluator reads.
      kinds, classes: V of relations and C of entities; 0 for those up to the scene's last, which other scenes may
        exceed.

    Returns:
      `image` uint8 [H, W, 3]; `entity/centre`, `entity/size` and `entity/middle` float32 [N, 2], row and column of the
      centre, height and width of the box and its middle, in cells; `entity/category` int32 [N]; `entity/valid` bool
      [N]; `entity/mask` uint8 (soft: float16) [N, h, w], h, w of the masks' stride; `relation/subject`,
      `relation/object`, `relation/category` int32 [R]; `relation/parts` uint8 [R, P]; `relation/valid` bool [R]; `part`
      uint8 [h, w], as the masks; `host/dropped` int32 [2], entities and relations left out; and where it is evaluated
      `host/mask` uint8 [N, H, ceil(W / 8)], `np.packbits` of the masks, `host/part` uint8 [H, W], `host/missed` int32
      [V], how many relations of each kind are left out, and `host/missed_entities` int32 [C], entities of each class.
    """
    size, stride = scene.image.shape[:2], options.stride
    fine = options.mask_stride or stride
    for each in (stride, fine):
        if size[0] % each or size[1] % each:
            raise ValueError(
                f'scene {scene.name!r} is {size[0]} x {size[1]}, which a stride of {each} does not divide: '
                'fit it to a multiple'
            )
    listed, every = scene.relations[:, 2], scene.categories
    scene = _within_cap(without_empty(scene), options.entities)
    relations, taking = scene.relations[: options.relations], scene.relation_parts[: options.relations]
    count = len(scene.masks)
    boxes, middles, centres = _places(scene.masks, options)
    rows = lambda array, dtype, cap: _padded(np.asarray(array, dtype), cap)
    small = shrink_masks(scene.masks, fine, options.soft_masks)
    found = {
        'image': np.ascontiguousarray(scene.image),
        'entity/centre': rows(centres / stride, np.float32, options.entities),
        'entity/size': rows((boxes[:, 2:] - boxes[:, :2]) / stride, np.float32, options.entities),
        'entity/middle': rows(middles / stride, np.float32, options.entities),
        'entity/category': rows(scene.categories, np.int32, options.entities),
        'entity/valid': np.arange(options.entities) < count,
        'entity/mask': rows(small, small.dtype, options.entities),
        'relation/subject': rows(relations[:, 0], np.int32, options.relations),
        'relation/object': rows(relations[:, 1], np.int32, options.relations),
        'relation/category': rows(relations[:, 2], np.int32, options.relations),
        'relation/parts': rows(taking, np.uint8, options.relations),
        'relation/valid': np.arange(options.relations) < len(relations),
        'part': shrink_parts(scene.parts, fine),
        'host/dropped': np.array([len(every) - count, len(listed) - len(relations)], np.int32),
    }
    if judged:
        found['host/mask'] = rows(np.packbits(scene.masks, axis=2), np.uint8, options.entities)
        found['host/part'] = np.ascontiguousarray(scene.parts)
        found['host/missed'] = _fewer(listed, relations[:, 2], kinds)
        found['host/missed_entities'] = _fewer(every, scene.categories, classes)
    return found


def _fewer(before: np.ndarray, after: np.ndarray, kinds: int) -> np.ndarray:
    """int32 [kinds]: how many of each number are no longer there."""
    count = lambda numbers: np.bincount(numbers, minlength=max(kinds, before.max(initial=-1) + 1))
    return (count(before) - count(after)).astype(np.int32)


def unpack_masks(packed: np.ndarray, width: int) -> np.ndarray:
    """The masks of `host/mask`, bool [..., H, W]; W = `width`."""
    return np.unpackbits(packed, axis=-1, count=width).astype(bool)


def _places(masks: np.ndarray, options: TargetOptions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes [N, 4], their middles [N, 2] and the centres [N, 2] of masks, in pixels."""
    boxes, centres = measure_masks(masks)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    if options.centre == 'box':
        return boxes, middles, middles
    if options.centre == 'inside':
        centres = own_centres(masks, centres, options.stride)
    return boxes, middles, centres


def own_centres(masks: np.ndarray, centres: np.ndarray, stride: int) -> np.ndarray:
    """Centres float64 [N, 2] in pixels, in cells that their entities cover, for a network reads an entity there.

    The mass centre where its cell is of the mask, by `shrink_masks`; else the mean of the mask's pixels in the nearest
    cell that is: the mass centre of a table may be the floor between its legs.
    """
    found = np.array(centres)
    for mask, cells, centre in zip(masks, shrink_masks(masks, stride), found, strict=True):
        row, column = np.floor(centre / stride).astype(int)
        if cells[row, column]:
            continue
        places = np.argwhere(cells)
        row, column = stride * places[np.square((places + 0.5) * stride - centre).sum(1).argmin()]
        own = np.argwhere(mask[row : row + stride, column : column + stride])
        centre[:] = own.mean(0) + np.array([row, column]) + 0.5
    return found


def measure_masks(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and mass centres of bool [N, H, W]; a ValueError refuses empty masks.

    Returns:
      float64 [N, 4], top, left, bottom, right in pixels, bottom and right behind the last pixel; and float64 [N, 2] in
      pixels, the middle of a pixel being its number + 0.5.
    """
    count, height, width = masks.shape
    if not count:
        return np.zeros((0, 4)), np.zeros((0, 2))
    place = np.flatnonzero(masks)  # mask by mask, in each row by row
    first = np.searchsorted(place, np.arange(count) * height * width)
    area = np.diff(np.append(first, len(place)))
    if len(empty := np.flatnonzero(area == 0)):
        raise ValueError(f'mask {empty[0]} has no pixel: leave such entities out, as `without_empty` does')
    row, column = np.divmod(place % (height * width), width)
    left, right = np.minimum.reduceat(column, first), np.maximum.reduceat(column, first) + 1
    boxes = np.stack([row[first], left, row[first + area - 1] + 1, right], 1).astype(np.float64)
    return boxes, np.stack([np.add.reduceat(axis, first) / area + 0.5 for axis in (row, column)], 1)


def shrink_masks(masks: np.ndarray, stride: int, soft: bool = False) -> np.ndarray:
    """Masks bool [N, H, W] as uint8 [N, h, w]: 1 in cells at least half covered, or else in the most covered ones.

    Soft masks are float16 [N, h, w], the covered shares; 1 in the most covered cells where no cell is half covered.
    """
    count, height, width = masks.shape
    # Added up line by line: a reduction over short axes is several times slower.
    tall = np.zeros((count, height // stride, width), np.uint16)
    for line in range(stride):
        tall += masks[:, line::stride]
    covered = np.zeros((count, height // stride, width // stride), np.uint32)
    for line in range(stride):
        covered += tall[:, :, line::stride]
    half = 2 * covered >= stride * stride
    most = covered.max((1, 2), keepdims=True, initial=0)
    thin = (covered == most) & (most > 0) & ~half.any((1, 2), keepdims=True)
    if soft:
        return np.where(thin, 1, covered / stride**2).astype(np.float16)
    return (half | thin).astype(np.uint8)


def shrink_parts(parts: np.ndarray, stride: int) -> np.ndarray:
    """A part map uint8 [H, W] as uint8 [h, w]: the commonest number of each cell, the lowest of equal ones."""
    height, width = parts.shape[0] // stride, parts.shape[1] // stride
    known = parts[parts != UNKNOWN_PART]
    kinds = int(known.max(initial=0)) + 2  # the last stands for unknown ones
    number = np.where(parts == UNKNOWN_PART, kinds - 1, parts).astype(np.int64)
    cell = np.arange(height).repeat(stride)[:, None] * width + np.arange(width).repeat(stride)
    votes = np.bincount((cell * kinds + number).ravel(), minlength=height * width * kinds)
    winner = votes.reshape(height, width, kinds).argmax(2)
    return np.where(winner == kinds - 1, UNKNOWN_PART, winner).astype(np.uint8)


def _within_cap(scene: Scene, cap: int) -> Scene:
    count = len(scene.masks)
    if count <= cap:
        return scene
    related = np.isin(np.arange(count), scene.relations[:, :2])
    order = np.lexsort((np.arange(count), -scene.masks.sum((1, 2)), ~related))
    return keep_entities(scene, np.isin(np.arange(count), order[:cap]))


def _padded(array: np.ndarray, cap: int) -> np.ndarray:
    whole = np.zeros((cap, *array.shape[1:]), array.dtype)
    whole[: len(array)] = array
    return whole
