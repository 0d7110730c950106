"""V-COCO's published file beside COCO's instances, read the slow way, without the project's reader."""

import json
import pathlib


def images(folder: pathlib.Path):
    """By image: entities and crowds {annotation: (class, box)}, people, deeds {(person, object, name)}."""
    coco = json.loads((folder / 'instances.json').read_text())
    names = {category['id']: category['name'] for category in coco['categories']}
    found: dict[int, dict] = {
        image['id']: {'entities': {}, 'crowds': {}, 'people': set(), 'deeds': set()} for image in coco['images']
    }
    for annotation in coco['annotations']:
        image = found[annotation['image_id']]
        kind = 'crowds' if annotation['iscrowd'] else 'entities'
        image[kind][annotation['id']] = (names[annotation['category_id']], tuple(annotation['bbox']))
    for action in json.loads((folder / 'vcoco.json').read_text()):
        count = len(action['ann_id'])
        for n in range(count):
            image = found[action['image_id'][n]]
            image['people'].add(action['ann_id'][n])
            if action['label'][n]:
                for r, role in enumerate(action['role_name'][1:], 1):
                    number = action['role_object_id'][r * count + n]
                    image['deeds'].add((action['ann_id'][n], number, f'{action["action_name"]} {role}'))
    return found
