"""What readers of annotated images share: scenes read one by one, and counts of what is left out."""

import abc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxrec.data.images.scene import Scene, Vocabulary

UNREADABLE = 'images that cannot be read'
IRREGULAR = ('refuse', 'drop')


class AnnotatedImages(abc.ABC):
    """A sequence of scenes, each read on demand; a subclass knows the files.

    `irregular` 'refuse' raises an error for an image or relation that cannot be used, 'drop' skips and counts it. An
    image asked for by its number is refused in either mode.
    """

    vocabulary: Vocabulary  # the names behind the numbers of the scenes
    names: list[str]  # of the images, in order
    splits: np.ndarray  # int8 [images], the part of each: 0 train, 1 validation, 2 test

    def __init__(self, irregular: str):
        if irregular not in IRREGULAR:
            raise ValueError(
                f'irregular={irregular!r}: say what becomes of images and relations that cannot be used, '
                f'{" or ".join(IRREGULAR)}'
            )
        self.irregular = irregular
        self._listed: Counter[str] = Counter()  # left out before any image was read
        self._of_image: dict[int, Counter[str]] = {}

    @abc.abstractmethod
    def read(self, index: int) -> tuple[Scene, Counter[str]]:
        """The scene of an image and {reason: how many} left out of it; a ValueError says why it cannot be read."""

    @abc.abstractmethod
    def sources(self) -> list[Path]:
        """The files whose content makes it another data set; pixels are not among them."""

    def scene(self, index: int) -> Scene:
        """The scene of an image; as `reader[index]`."""
        return self[index]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Scene:
        if not -len(self) <= index < len(self):
            raise IndexError(f'image {index} of {len(self)}')
        index %= len(self)
        scene, self._of_image[index] = self.read(index)
        return scene

    def __iter__(self) -> Iterator[Scene]:
        for index in range(len(self)):
            try:
                scene = self[index]
            except ValueError:
                if self.irregular == 'refuse':
                    raise
                self._of_image[index] = Counter([UNREADABLE])
            else:
                yield scene

    def usable(self) -> list[int]:
        """Numbers of the readable images, after reading all; in the mode 'refuse' a ValueError for one that is not."""
        for _ in self:
            pass
        return [index for index in range(len(self)) if not self._of_image[index][UNREADABLE]]

    @property
    def dropped(self) -> dict[str, int]:
        """{reason: how many} of what was left out, of the lists and of the images read so far, each once."""
        total = self._listed.copy()
        for counts in self._of_image.values():
            total.update(counts)
        return {reason: count for reason, count in sorted(total.items()) if count}

    def refuse_or_count(self, counts: Counter[str], reason: str, message: str) -> None:
        """Counts something irregular where that is asked for, else refuses it."""
        if self.irregular == 'refuse':
            raise ValueError(f"{message}, or give irregular='drop' to leave such ones out")
        counts[reason] += 1
