"""Small made-up scenes for the tests of images."""

import numpy as np

from jaxrec.data.images.scene import UNKNOWN_PART, Scene, Vocabulary

VOCABULARY = Vocabulary(
    entities=('person', 'ball', 'book'),
    relations=('hold', 'kick', 'next to'),
    parts=('head', 'left hand', 'right hand', 'left foot', 'right foot'),
    geometric=('next to',),
    symmetric=('next to',),
    mirrored=(('left hand', 'right hand'), ('left foot', 'right foot')),
)


def random_scene(seed: int, size: tuple[int, int] = (24, 32), count: int = 5, name: str = 'drawn') -> Scene:
    """Boxes that may overlap, any parts, any relations."""
    rng = np.random.default_rng(seed)
    height, width = size
    masks = np.zeros((count, *size), bool)
    for mask in masks:
        top, left = rng.integers(0, height - 2), rng.integers(0, width - 2)
        mask[top : top + rng.integers(1, height), left : left + rng.integers(1, width)] = True
        mask &= rng.random(size) < 0.8
        mask[top, left] = True
    relations = [
        (a, b, int(rng.integers(3))) for a in range(count) for b in range(count) if a != b and rng.random() < 0.4
    ]
    parts = rng.choice([0, 1, 2, 3, 4, 5, UNKNOWN_PART], size).astype(np.uint8)
    return Scene(
        image=rng.integers(0, 256, (*size, 3)).astype(np.uint8),
        masks=masks,
        categories=rng.integers(0, 3, count).astype(np.int32),
        parts=parts,
        relations=np.array(relations, np.int32).reshape(-1, 3),
        relation_parts=rng.random((len(relations), 5)) < 0.3,
        name=name,
    )


def assert_same(one: Scene, other: Scene, but: tuple[str, ...] = ()) -> None:
    """All arrays alike."""
    for field in ('image', 'masks', 'categories', 'parts', 'relations', 'relation_parts'):
        if field not in but:
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)
