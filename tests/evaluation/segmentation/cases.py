"""Small scenes and predictions, hand-made and random, for the tests of relation segmentation."""

import numpy as np

from jaxrec.data.images.scene import Scene, Vocabulary
from jaxrec.evaluation.segmentation.found import Found

VOCABULARY = Vocabulary(
    ('person', 'ball', 'chair'),
    ('hold', 'next to', 'kick', 'on'),
    ('hand', 'foot'),
    geometric=('next to', 'on'),
    symmetric=('next to',),
)
HOLD, NEXT_TO, KICK, ON = range(4)
PERSON, BALL, CHAIR = range(3)
HAND, FOOT = {0}, {1}


def box(top, left, height, width, size=(8, 8)):
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def stack(masks, size):
    return np.stack(masks) if masks else np.zeros((0, *size), bool)


def part_rows(sets, parts=2):
    return np.array([[p in chosen for p in range(parts)] for chosen in sets], bool).reshape(len(sets), parts)


def scene(entities, relations, parts=None, size=(8, 8), name='made up'):
    """Entities (class, mask), relations (subject, object, kind, set of parts)."""
    return Scene(
        image=np.zeros((*size, 3), np.uint8),
        masks=stack([mask for _, mask in entities], size),
        categories=np.array([category for category, _ in entities], np.int32),
        parts=np.zeros(size, np.uint8) if parts is None else parts,
        relations=np.array([r[:3] for r in relations], np.int32).reshape(-1, 3),
        relation_parts=part_rows([r[3] for r in relations]),
        name=name,
    )


def found(entities, triplets, parts=None, size=(8, 8), scores=None):
    """Entities (class, mask), triplets (subject, object, kind, set of parts, score)."""
    return Found(
        masks=stack([mask for _, mask in entities], size),
        categories=np.array([category for category, _ in entities], np.int32),
        scores=np.ones(len(entities), np.float32) if scores is None else np.asarray(scores, np.float32),
        triplets=np.array([t[:3] for t in triplets], np.int32).reshape(-1, 3),
        triplet_scores=np.array([t[4] for t in triplets], np.float32),
        triplet_parts=part_rows([t[3] for t in triplets]),
        parts=np.zeros(size, np.uint8) if parts is None else parts,
    )


def random_image(draw, size=(4, 5), triplets=10):
    """(scene, found, the same as the oracle wants it), rich in ties, near misses and empty masks."""
    true = [(int(draw.integers(2)), draw.random(size) < 0.4) for _ in range(draw.integers(2, 5))]
    origin = [int(draw.integers(len(true))) for _ in range(draw.integers(0, 7))]
    guessed = [
        (
            true[n][0] if draw.random() < 0.9 else 1 - true[n][0],
            true[n][1] ^ (draw.random(size) < draw.choice([0, 0.05, 0.2])),
        )
        for n in origin
    ]
    if guessed and draw.random() < 0.2:
        guessed[0] = (guessed[0][0], np.zeros(size, bool))
    chosen = lambda: set(np.flatnonzero(draw.random(2) < 0.3).tolist())
    relations = []
    for _ in range(draw.integers(0, 5)):
        subject, target = draw.choice(len(true), 2, replace=False).tolist()
        relations.append((subject, target, int(draw.integers(4)), chosen()))
    predicted = []
    for _ in range(draw.integers(0, triplets + 1) if guessed else 0):
        subject, target = draw.integers(len(guessed), size=2).tolist()
        kind, parts = int(draw.integers(4)), chosen()
        if relations and draw.random() < 0.7:  # one that may well be right
            like = relations[int(draw.integers(len(relations)))]
            subject, target = (origin.index(n) if n in origin else subject for n in like[:2])
            kind, parts = like[2], like[3] if draw.random() < 0.7 else parts
        target = -1 if draw.random() < 0.1 else target
        score = float(draw.integers(1, 6)) / 5
        predicted.append((subject, target, kind, parts, score))
    part_maps = [draw.choice(np.array(values, np.uint8), size) for values in ((0, 1, 2, 255), (0, 1, 2))]
    plain = {
        'truth': [(c, pixels(m)) for c, m in true],
        'found': [(c, pixels(m)) for c, m in guessed],
        'relations': [(*r[:3], frozenset(r[3])) for r in relations],
        'triplets': [(*t[:3], frozenset(t[3]), t[4]) for t in predicted],
        'parts': tuple(each.reshape(-1).tolist() for each in part_maps),
    }
    return (scene(true, relations, part_maps[0], size), found(guessed, predicted, part_maps[1], size), plain)


def pixels(mask):
    return frozenset(np.flatnonzero(mask).tolist())
