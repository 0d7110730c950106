"""Two images drawn by hand with their truth, as the data room sends them; parameters drawn by numpy."""

from typing import Any

import jax
import numpy as np

from jaxrec.data.images.scene import Vocabulary

WORDS = Vocabulary(
    entities=('ball', 'person', 'chair'),
    relations=('kick', 'next to', 'sit on'),
    parts=('hand', 'foot'),
    symmetric=('next to',),
)
SIZE = 48
# category, top, left, bottom, right in map cells of 4 pixels; a person's lower rows are its foot.
IMAGES = (((1, 1, 1, 7, 3), (1, 1, 8, 7, 10), (0, 8, 4, 11, 7)), ((1, 3, 5, 9, 7), (2, 8, 8, 11, 11)))
# subject, object, relation, parts.
RELATIONS = (((0, 1, 1, (0, 0)), (1, 0, 1, (0, 0)), (0, 2, 0, (0, 1))), ((0, 1, 2, (1, 1)),))
COLOURS = ((230, 60, 60), (60, 200, 80), (70, 80, 220))
ENTITIES, MOST_RELATIONS = 5, 4


def make_batch(entities=ENTITIES, relations=MOST_RELATIONS):
    """Both images; what lies behind the last entity or relation is anything."""
    count, cells = len(IMAGES), SIZE // 4
    batch: dict[str, Any] = {
        'image': np.full((count, SIZE, SIZE, 3), 30, np.uint8),
        'valid': np.ones(count, np.float32),
        'entity/centre': np.full((count, entities, 2), 3.5, np.float32),
        'entity/size': np.ones((count, entities, 2), np.float32),
        'entity/middle': np.full((count, entities, 2), 2.5, np.float32),
        'entity/category': np.full((count, entities), 2, np.int32),
        'entity/valid': np.zeros((count, entities), bool),
        'entity/mask': np.zeros((count, entities, cells, cells), np.uint8),
        'relation/subject': np.zeros((count, relations), np.int32),
        'relation/object': np.zeros((count, relations), np.int32),
        'relation/category': np.zeros((count, relations), np.int32),
        'relation/parts': np.ones((count, relations, len(WORDS.parts)), np.uint8),
        'relation/valid': np.zeros((count, relations), bool),
        'part': np.zeros((count, cells, cells), np.uint8),
    }
    for b, shapes in enumerate(IMAGES):
        for n, (category, top, left, bottom, right) in enumerate(shapes):
            mask = batch['entity/mask'][b, n]
            mask[top:bottom, left:right] = 1
            if category == 1:  # an arm to the right: centre of mass and of the box differ
                mask[top + 1, right] = 1
                batch['part'][b, top:bottom, left : right + 1][mask[top:bottom, left : right + 1] == 1] = 1
                batch['part'][b, bottom - 2 : bottom, left:right] = 2
            rows, columns = np.nonzero(mask)
            batch['entity/centre'][b, n] = rows.mean() + 0.5, columns.mean() + 0.5
            batch['entity/size'][b, n] = np.ptp(rows) + 1, np.ptp(columns) + 1
            batch['entity/middle'][b, n] = [(x.min() + x.max() + 1) / 2 for x in (rows, columns)]
            batch['entity/category'][b, n], batch['entity/valid'][b, n] = category, True
            shown = np.kron(mask, np.ones((4, 4), np.uint8)) > 0
            batch['image'][b][shown] = COLOURS[category]
            feet = np.kron(np.uint8(batch['part'][b] == 2), np.ones((4, 4), np.uint8)) > 0
            batch['image'][b][shown & feet] = (250, 240, 40)
        for r, (subject, target, relation, parts) in enumerate(RELATIONS[b]):
            batch['relation/subject'][b, r], batch['relation/object'][b, r] = subject, target
            batch['relation/category'][b, r], batch['relation/parts'][b, r] = relation, parts
            batch['relation/valid'][b, r] = True
    return batch


def draw(task, batch, seed=0):
    """(params, model_state) by numpy, much as modules draw them, whose own draws take longer to compile."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(task.init, jax.random.key(0), batch)

    def one(path, x):
        name, module = path[-1].key, path[-2].key
        if name in ('scale', 'var'):
            return np.ones(x.shape, np.float32)
        if name in ('bias', 'mean'):
            rare = module in ('out', 'relation') and path[-3].key in ('entity_heat', 'relation_heat', 'second')
            return np.full(x.shape, -2.19 if rare else 0, np.float32)
        if name == 'kernel' and module.startswith('up_'):
            line = 1 - np.abs(np.arange(x.shape[0]) - (x.shape[0] / 2 - 0.5)) / (x.shape[0] / 2)
            return np.broadcast_to((line[:, None] * line)[..., None], x.shape).astype(np.float32)
        deviation = np.sqrt(2 / np.prod(x.shape[:-1]))
        return rng.normal(0, deviation, x.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(one, shapes)


def triplets(predictions, least=1e-3):
    """Of each image [(subject's place, object's place, relation)], places by the middles of boxes."""
    found = []
    box = np.asarray(predictions['entity/box'])
    middle = np.round((box[..., :2] + box[..., 2:]) / 2).astype(int)
    for b in range(len(box)):
        rows = np.flatnonzero(np.asarray(predictions['triplet/score'][b]) > least)
        at = lambda key, b=b, rows=rows: np.asarray(predictions[f'triplet/{key}'][b])[rows]
        found.append(
            [
                (tuple(middle[b, s].tolist()), tuple(middle[b, o].tolist()), int(r))
                for s, o, r in zip(at('subject'), at('object'), at('relation'), strict=True)
            ]
        )
    return found


def truth(batch):
    """The same of the truth."""
    found = []
    for b, shapes in enumerate(IMAGES):
        middles = []
        for n in range(len(shapes)):
            rows, columns = np.nonzero(batch['entity/mask'][b, n])
            middles.append((2 * (rows.min() + rows.max() + 1), 2 * (columns.min() + columns.max() + 1)))
        as_int = [tuple(int(x) for x in middle) for middle in middles]
        found.append({(as_int[s], as_int[o], r) for s, o, r, _ in RELATIONS[b]})
    return found
