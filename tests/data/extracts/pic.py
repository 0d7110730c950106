"""An extract in the format of Person in Context, made here: 30 images of 20 x 28 with some 240 relations.

    python -m tests.data.extracts.pic FOLDER

With what the published files hold: names with and without a prefix, an instance without a semantic value that
covers most of an image, masks of two semantic values, pixels of no entity, pairs with several relations and
their mirrors, an image without people, one without relations, grey and CMYK JPEGs, a name known to be broken.
`spoil` adds what cannot be used.
"""

import json
import pathlib
import sys

import numpy as np
from PIL import Image

SIZE = (20, 28)
HUMAN, BALL, TREE = 1, 18, 97
IMAGES = 30


def names():
    """Every third of a kind."""
    prefixes = ('indoor_', 'outdoor_', '')
    return [f'{prefixes[n % 3]}{10_000 + n if n % 3 == 2 else f"{n:05d}"}.jpg' for n in range(IMAGES)]


def maps(n, draw):
    """Instance and semantic map of image n: boxes over each other, then one mask of two classes."""
    instance, semantic = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    if n == 4:
        instance[:] = 9  # most of the image is an entity that has no class
    for number in range(1, 7):
        top, left = int(draw.integers(0, 14)), int(draw.integers(0, 20))
        category = int(draw.choice([HUMAN, BALL, TREE])) if number > 1 else HUMAN
        place = np.s_[top : top + int(draw.integers(4, 8)), left : left + int(draw.integers(4, 9))]
        instance[place], semantic[place] = number * 3, BALL if n == 7 and category == HUMAN else category
    for number in np.unique(instance[instance > 0])[::2]:
        first = np.argwhere(instance == number)[0]
        semantic[tuple(first)] = 120  # one pixel of a larger class
    return instance, semantic


def entries(draw, instances):
    """Entries of the relations file: every ordered pair has zero to three relations."""
    made = []
    for n, (name, instance) in enumerate(zip(names(), instances, strict=True)):
        present = np.unique(instance[instance > 0]).tolist()
        relations: list[dict] = []
        while present and len(relations) < 8 and n != 5:
            subject, target = draw.choice(present, 2, replace=False).tolist()
            new = {'subject': subject, 'object': target, 'relation': int(draw.integers(1, 31))}
            mirror = {'subject': target, 'object': subject, 'relation': 4}
            relations += [each for each in (new, mirror) if each not in relations]
        made.append({'name': name, 'image_id': n, 'relations': relations})
    return made


def write(folder, layout=2, split='train', labels=None):
    """Writes the set, in the layout of edition 1 or 2; returns its root."""
    draw = np.random.default_rng(5)
    made = [maps(n, draw) for n in range(IMAGES)]
    listed = entries(draw, [instance for instance, _ in made])
    places = places_of(folder, layout, split)
    for place in places.values():
        (place if place.suffix == '' else place.parent).mkdir(parents=True, exist_ok=True)
    for n, (name, (instance, semantic)) in enumerate(zip(names(), made, strict=True)):
        picture = Image.fromarray(draw.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
        picture.convert({2: 'L', 3: 'CMYK'}.get(n, 'RGB')).save(places['image'] / name, quality=95)
        for kind, numbers in (('instance', instance), ('semantic', semantic)):
            Image.fromarray(numbers).save(places[kind] / f'{pathlib.Path(name).stem}.png')
    listed.append({'name': 'indoor_03336.jpg', 'image_id': 99, 'relations': []})  # known to be broken, no files
    places['relations'].write_text(json.dumps(listed))
    if labels is not None:
        (folder / 'categories_list').mkdir(exist_ok=True)
        listed_labels = [{'name': name, 'id': n} for n, name in enumerate(labels, 1)]
        (folder / 'categories_list' / 'label_categories.json').write_text(json.dumps(listed_labels))
    return folder


def places_of(folder, layout, split='train'):
    """Where the files of a layout lie."""
    if layout == 1:
        kinds = {kind: folder / 'segmentation' / split / kind for kind in ('instance', 'semantic')}
        return {
            'image': folder / 'image' / split,
            **kinds,
            'relations': folder / 'relation' / f'relations_{split}.json',
        }
    return {
        **{kind: folder / kind for kind in ('image', 'instance', 'semantic')},
        'relations': folder / f'relations_{split}.json',
    }


def spoil(folder: pathlib.Path) -> dict[str, int]:
    """Makes four images unreadable and adds relations that cannot be used; returns {reason: how many}."""
    places, listed = places_of(folder, 2), json.loads((folder / 'relations_train.json').read_text())
    stems = [pathlib.Path(name).stem for name in names()]
    (places['instance'] / f'{stems[10]}.png').unlink()
    whole = places['semantic'] / f'{stems[11]}.png'
    whole.write_bytes(whole.read_bytes()[:60])
    Image.fromarray(np.zeros((20, 27), np.uint8)).save(places['semantic'] / f'{stems[12]}.png')
    Image.new('RGB', (27, 20)).save(places['image'] / f'{stems[13]}.jpg')
    good = listed[0]['relations'][0]
    listed[0]['relations'] += [
        {**good, 'subject': 200},
        {**good, 'object': 201},
        {**good, 'object': good['subject']},
        {**good, 'relation': 31},
        {**good, 'relation': 0},
        dict(good),
    ]
    (folder / 'relations_train.json').write_text(json.dumps([*listed, listed[1]]))
    return {
        'images that cannot be read': 4,
        'images known to be broken': 1,
        'images listed twice': 1,
        'relations listed twice': 1,
        'relations of a kind that there is not': 2,
        'relations of an entity with itself': 1,
        'relations of an entity without pixels': 2,
    }


if __name__ == '__main__':
    print(write(pathlib.Path(sys.argv[1])))
