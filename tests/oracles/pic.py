"""PIC's files read the slow way, pixel by pixel, without the project's reader.

python -m tests.oracles.pic FOLDER
"""

import json
import math
import pathlib
import sys

import numpy as np
from PIL import Image


def nearest(place, source, target):
    """OpenCV's nearest neighbour: `inv_scale = 1. / (target / source)`, `min(floor(x * inv_scale), last)`."""
    return min(math.floor(place * (1.0 / (target / source))), source - 1)


def scenes(folder, category='max', size=None):
    """Yields {'name', 'entities': {number: (class, pixels)}, 'relations': [(subject, object, kind), ...]}."""
    folder = pathlib.Path(folder)
    for entry in json.loads((folder / 'relations_train.json').read_text()):
        stem = entry['name'].removesuffix('.jpg')
        if not (folder / 'instance' / f'{stem}.png').exists():
            continue
        instance, semantic = (
            np.array(Image.open(folder / kind / f'{stem}.png')).tolist() for kind in ('instance', 'semantic')
        )
        height, width = size or (len(instance), len(instance[0]))
        inside: dict[int, list] = {}
        for i in range(height):
            for j in range(width):
                row, column = nearest(i, len(instance), height), nearest(j, len(instance[0]), width)
                if number := instance[row][column]:
                    inside.setdefault(number, []).append((i, j, semantic[row][column]))
        entities = {}
        for number, pixels in inside.items():
            values = [value for _, _, value in pixels]
            best = max(values) if category == 'max' else max(sorted(set(values)), key=values.count)
            entities[number] = (best, {(i, j) for i, j, _ in pixels})
        relations = [(r['subject'], r['object'], r['relation']) for r in entry['relations']]
        yield {'name': entry['name'], 'entities': entities, 'relations': relations}


def counts(folder: pathlib.Path) -> dict[str, int]:
    """What a folder holds."""
    found = list(scenes(folder))
    pairs = [(s['name'], *r[:2]) for s in found for r in s['relations']]
    return {
        'images': len(found),
        'entities': sum(len(s['entities']) for s in found),
        'relations': len(pairs),
        'people': sum(category == 1 for s in found for category, _ in s['entities'].values()),
        'unlabelled': sum(category == 0 for s in found for category, _ in s['entities'].values()),
        'without_people': sum(1 not in {c for c, _ in s['entities'].values()} for s in found),
        'without_relations': sum(not s['relations'] for s in found),
        'pairs_with_several': len({pair for pair in pairs if pairs.count(pair) > 1}),
        'pairs_with_mirror': sum((name, target, subject) in pairs for name, subject, target in set(pairs)),
    }


if __name__ == '__main__':
    print(json.dumps(counts(pathlib.Path(sys.argv[1])), indent=1))
