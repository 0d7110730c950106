"""A Grain source whose items are whole batches of images with their targets, read by index from a scene log.

An example is an image.

B examples a batch (on this process), H, W the size of images, N entities and R relations at most, P parts.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxrec.data.images.augment import augment, read_augmentation
from jaxrec.data.images.geometry import fit
from jaxrec.data.images.log import BY_PART, SceneLog
from jaxrec.data.images.targets import TargetOptions, encode
from jaxrec.data.logs.log import Log
from jaxrec.data.sources.batch_source import Batch, BatchSource
from jaxrec.data.sources.splits import PARTS, make_split
from jaxrec.options import plain


@dataclasses.dataclass(eq=False)
class SceneSource(BatchSource):
    """Random access to the batches of one part of a scene log.

    A batch holds the arrays of `jaxrec.data.images.targets.encode`, each with B in front, but `host/mask` and
    `host/part`, which evaluators read, only where the source is not shuffled; `valid` float32 [B]; and `host/event`
    int64 [B] (row in the log, -1 where not valid). Images are resized as large as fits, their proportions kept, and
    filled below or right of it, where no part is known. `host/dropped` also counts the entities and relations that have
    no pixel left at this size; what augmentation cuts away is not counted.

    Args:
      log_folder: of a `SceneLog`, opened as `log`.
      image_size: H and W, or one number for both; multiples of the stride.
      stride, entities, relations, centre, mask_stride, soft_masks: see `TargetOptions`.
      augment: see `jaxrec.data.images.augment.Augmentation`, of shuffled batches only; None changes nothing.
      features, label: a scene log has none; leave them empty.
      split: empty for the log's own.
      others, attributes and errors: see `BatchSource`.
    """

    _: dataclasses.KW_ONLY
    image_size: Any
    features: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    label: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    split: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    stride: int = 4
    entities: int = 48
    relations: int = 64
    centre: str = 'mass'
    mask_stride: int = 0
    soft_masks: bool = False
    augment: Mapping[str, Any] | None = None

    def _open(self) -> tuple[Log, int, int]:
        self.augment, self.image_size = plain(self.augment), plain(self.image_size)
        self._size = _read_size(self.image_size, self.stride)
        self._targets = TargetOptions(
            self.stride, self.entities, self.relations, self.centre, self.mask_stride, self.soft_masks
        )
        self._augmentation = None if self.augment is None else read_augmentation(self.augment)
        self.log = SceneLog(self.log_folder, check_ids=False)
        if any(self.features.values()) or self.label or self.cartesian:
            raise ValueError(f'{self.log.folder} is a scene log, it has no features, labels or pairs: leave them out')
        part = make_split(self.split or BY_PART)(self.log, np.ones(len(self.log), bool))
        self._rows = np.flatnonzero(part == PARTS[self.part])
        if not len(self._rows):
            raise ValueError(
                f'{self.log.folder} has no images of part {self.part!r}: give some "split": "{self.part}" in '
                "annotations.json (or the reader's own split), or name another part"
            )
        return self.log, len(self._rows), len(self._rows)

    def _assemble(self, pick: np.ndarray, epoch: int) -> Batch:
        rows = self._rows[pick]
        encoded = [self._example(row, epoch) for row in rows.tolist()]
        if not encoded:  # a process whose share of the last batch is empty still knows the shapes
            batch = {name: array[None][:0] for name, array in self._example(int(self._rows[0]), epoch).items()}
        else:
            batch = {name: np.stack([example[name] for example in encoded]) for name in encoded[0]}
        batch['valid'] = np.ones(len(rows), np.float32)
        batch['host/event'] = rows.astype(np.int64)
        return batch

    def _example(self, row: int, epoch: int) -> Batch:
        scene = self.log.scene(row)
        if self._augmentation is not None and self.shuffle:
            scene = augment(scene, self.log.names, self._augmentation, self.seed, epoch, row)
        kinds, classes = len(self.log.names.relations), len(self.log.names.entities)
        return encode(fit(scene, self._size), self._targets, not self.shuffle, kinds, classes)


def _read_size(given: Any, stride: int) -> tuple[int, int]:
    sides = (given, given) if isinstance(given, int) else given
    sound = isinstance(sides, tuple) and len(sides) == 2 and all(isinstance(side, int) for side in sides)
    if not sound or any(side < 1 or stride < 1 or side % stride for side in sides):
        raise ValueError(
            f'image_size {given!r} with stride {stride}: give a multiple of the stride, or two: height, width'
        )
    return sides
