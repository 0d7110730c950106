"""An extract in the formats of COCO and V-COCO, made here: 24 images, some 60 people, four actions.

    python -m tests.data.extracts.vcoco FOLDER

Every mask is a rectangle, drawn as a polygon, as two polygons that meet, or as run lengths. With what the
published files hold: crowds as run lengths, people whom nobody annotated, objects that are not in the image,
actions with two roles and with none, pictures under the older and the newer kind of name, a class that
nobody acts on. The same truth lies there as pairs and as panoptic PNGs.
"""

import json
import pathlib
import sys

import numpy as np
from PIL import Image

from jaxrec.data.readers.images.vcoco import VcocoScenes

SIZE = (24, 32)
CLASSES = {1: 'person', 3: 'ball', 7: 'knife', 90: 'cake'}
ACTIONS = {'hold': ['obj'], 'stand': [], 'cut': ['instr', 'obj'], 'ride': ['instr']}
RELATIONS = ['hold obj', 'cut instr', 'cut obj', 'ride instr']
IMAGES = 24


def runs(mask):
    """Uncompressed run lengths, column by column, the first of them outside."""
    counts, value = [0], False
    for pixel in mask.T.reshape(-1).tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {'size': list(mask.shape), 'counts': counts}


def drawn(box, way):
    """A rectangle (left, top, width, height) as COCO may draw it."""
    left, top, width, height = box
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, left : left + width] = True
    corners = lambda x, w: [x, top, x + w, top, x + w, top + height, x, top + height]
    if way == 0:
        return [corners(left, width)]
    if way == 1:
        return [corners(left, 2), corners(left + 2, width - 2)]
    return runs(mask)


def truth(seed=3):
    """[(image id, [(annotation id, class number, box, crowd)])], with rectangles in cells of their own."""
    draw, made, number = np.random.default_rng(seed), [], 100
    for n in range(IMAGES):
        entities = []
        for cell in draw.permutation(12)[: int(draw.integers(4, 10))].tolist():
            left, top = 8 * (cell % 4) + int(draw.integers(0, 3)), 8 * (cell // 4) + int(draw.integers(0, 3))
            category = 1 if draw.random() < 0.4 or len(entities) < 2 else int(draw.choice(list(CLASSES)))
            box = (left, top, int(draw.integers(3, 6)), int(draw.integers(3, 6)))
            entities.append((number, category, box, draw.random() < 0.1 and len(entities) > 2))
            number += 1
        made.append((1000 + 7 * n, entities))
    return made


def actions(made, seed=6):
    """The published form: {action: (ann_id, image_id, label, [ids by role])}, and pairs by image."""
    draw = np.random.default_rng(seed)
    columns = {name: {'ann_id': [], 'image_id': [], 'label': [], 'ids': []} for name in ACTIONS}
    pairs = {image: [] for image, _ in made}
    for image, entities in made:
        things = [entity for entity in entities if not entity[3]]
        people = [entity for entity in things if entity[1] == 1 and draw.random() < 0.9]
        for person in people:
            others = [entity for entity in things if entity[0] != person[0]]
            for name, roles in ACTIONS.items():
                label = int(draw.random() < 0.5)
                objects = [
                    others[int(draw.integers(len(others)))] if label and others and draw.random() < 0.8 else None
                    for _ in roles
                ]
                column = columns[name]
                column['ann_id'].append(person[0])
                column['image_id'].append(image)
                column['label'].append(label)
                column['ids'].append([each[0] if each else 0 for each in objects])
                for role, each in zip(roles, objects, strict=True):
                    if each:
                        pairs[image].append((person, each, RELATIONS.index(f'{name} {role}')))
    return columns, pairs


def write(folder: pathlib.Path) -> pathlib.Path:
    """Writes pictures, `instances.json`, `vcoco.json`, `pairs.json`, `panoptic.json` and `panoptic/`."""
    made = truth()
    columns, pairs = actions(made)
    for name in ('images', 'panoptic'):
        (folder / name).mkdir(parents=True, exist_ok=True)
    draw, images, annotations, panoptic = np.random.default_rng(6), [], [], []
    for n, (image, entities) in enumerate(made):
        name = f'COCO_val2014_{image:012d}.jpg'
        images.append({'id': image, 'file_name': name, 'height': SIZE[0], 'width': SIZE[1]})
        picture = Image.fromarray(draw.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
        picture.save(folder / 'images' / (name if n % 2 else f'{image:012d}.jpg'))
        numbers, segments = np.zeros(SIZE, np.int64), []
        for k, (number, category, box, crowd) in enumerate(entities):
            entity = {'id': number, 'category_id': category, 'bbox': list(box), 'iscrowd': int(crowd)}
            annotations.append({**entity, 'image_id': image, 'segmentation': drawn(box, 2 if crowd else k % 3)})
            colour = 3_000_000 + number
            numbers[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = colour
            segments.append({**entity, 'id': colour})
        colours = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], -1).astype(np.uint8)
        Image.fromarray(colours).save(folder / 'panoptic' / f'{image}.png')
        panoptic.append({'image_id': image, 'file_name': f'{image}.png', 'segments_info': segments})
    categories = [{'id': number, 'name': name} for number, name in CLASSES.items()]
    shared = {'images': images, 'categories': categories}
    dump(folder / 'instances.json', {**shared, 'annotations': annotations})
    dump(folder / 'panoptic.json', {**shared, 'annotations': panoptic})
    dump(folder / 'vcoco.json', [published(name, columns[name]) for name in ACTIONS])
    dump(folder / 'pairs.json', as_pairs(pairs))
    return folder


def published(name, column):
    """An action as V-COCO's file has it: ids role after role, the agents' first."""
    roles = [column['ann_id'], *map(list, zip(*column['ids'], strict=True))] if ACTIONS[name] else [column['ann_id']]
    return {
        'action_name': name,
        'role_name': ['agent', *ACTIONS[name]],
        'include': [[]] * (1 + len(ACTIONS[name])),
        **{key: column[key] for key in ('ann_id', 'image_id', 'label')},
        'role_object_id': [number for role in roles for number in role],
    }


def as_pairs(pairs):
    """The form as pairs: corners of boxes, as published a little off."""
    corners = lambda box: [box[0] + 0.3, box[1], box[0] + box[2] - 0.2, float(box[1] + box[3])]
    classes = list(CLASSES.values())
    return {
        'annotations': [
            {
                'boxes_h': [corners(person[2]) for person, _, _ in each],
                'boxes_o': [corners(thing[2]) for _, thing, _ in each],
                'actions': [kind for _, _, kind in each],
                'objects': [1 + classes.index(CLASSES[thing[1]]) for _, thing, _ in each],
                'file_name': f'COCO_val2014_{image:012d}.jpg',
            }
            for image, each in pairs.items()
        ],
        'classes': RELATIONS,
        'objects': ['background', *classes],
        'images': list(pairs),
    }


def dump(path, data):
    path.write_text(json.dumps(data))


if __name__ == '__main__':
    print(write(pathlib.Path(sys.argv[1])))


def read(folder, annotations='vcoco.json', masks='instances.json', **arguments):
    """The reader on the extract that `write` has put there."""
    pngs = folder / 'panoptic' if masks == 'panoptic.json' else None
    return VcocoScenes(folder / annotations, folder / masks, folder / 'images', pngs=pngs, **arguments)
