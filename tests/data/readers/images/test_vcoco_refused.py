"""What the V-COCO reader refuses, by name and remedy, and what it drops on request."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from jaxrec.data.images.pixels import rle_encode
from jaxrec.data.readers.images.vcoco import VcocoScenes
from tests.data.extracts import vcoco as extract
from tests.data.extracts.pictures import save_turned
from tests.data.extracts.vcoco import read


def edited(name, change, annotations='vcoco.json', **arguments):
    def call(folder):
        path = folder / name
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))
        return list(read(folder, annotations, **arguments))

    return call


def annotation(n=0, **values):
    return edited('instances.json', lambda data: data['annotations'][n].update(values))


def first_hold(data):
    """Sets the object of the first person who holds one."""
    return next(
        n for n, (label, number) in enumerate(zip(data[0]['label'], objects(data), strict=True)) if label and number
    )


def objects(data):
    return data[0]['role_object_id'][len(data[0]['ann_id']) :]


def hold(number):
    def change(data):
        n, count = first_hold(data), len(data[0]['ann_id'])
        data[0]['role_object_id'][count + n] = data[0]['ann_id'][n] if number is None else number

    return change


def spoil_picture(change):
    def call(folder):
        change(folder / 'images' / f'{1000:012d}.jpg')
        return read(folder)[0]

    return call


BAD = {
    'no file': (lambda folder: (folder / 'vcoco.json').unlink() or read(folder), r'vcoco\.json is missing: take'),
    'cut file': (
        lambda folder: (folder / 'instances.json').write_text('{"images": [') and read(folder),
        r'instances\.json is no JSON .*Fetch it again',
    ),
    'no COCO file': (
        lambda folder: (folder / 'instances.json').write_text('[]') and read(folder),
        r'instances\.json is no COCO file of "images".*fetch the annotations',
    ),
    'no V-COCO file': (edited('vcoco.json', lambda d: d[0].pop('label')), r"no V-COCO file \(KeyError\('label'"),
    'ids that do not fit': (edited('vcoco.json', lambda d: d[2]['role_object_id'].pop()), 'no V-COCO file.*reshape'),
    'an action of no number': (
        edited('pairs.json', lambda d: d['annotations'][0]['actions'].__setitem__(0, 9), 'pairs.json'),
        'image 1000 has action 9 and object',
    ),
    'panoptic without PNGs': (
        lambda folder: VcocoScenes(folder / 'pairs.json', folder / 'panoptic.json', folder / 'images'),
        'is panoptic: give the folder of its PNGs',
    ),
    'an id without end': (
        edited('vcoco.json', lambda d: d[2]['role_object_id'].__setitem__(0, float('inf'))),
        r'vcoco\.json is no V-COCO file \(OverflowError',
    ),
    'a box of three numbers': (
        edited('pairs.json', lambda d: d['annotations'][0]['boxes_h'].__setitem__(0, [0, 0, 1]), 'pairs.json'),
        r'pairs\.json is no V-COCO file .*image 1000 has \[0, 0, 1\] for a box of 4 numbers',
    ),
    'a word for a box': (
        edited('pairs.json', lambda d: d['annotations'][0]['boxes_o'].__setitem__(0, 'x'), 'pairs.json'),
        "image 1000 has 'x' for a box of 4 numbers",
    ),
    'an object without a name': (
        edited('pairs.json', lambda d: d['objects'].append([]), 'pairs.json'),
        r'pairs\.json is no V-COCO file .*\[\] is no name of an object or action',
    ),
    'a file without people': (
        edited('instances.json', lambda d: [c.update(name=c['name'][:3]) for c in d['categories']]),
        r"vcoco\.json with .*instances\.json: no class is named 'person'",
    ),
    'no masks of an image': (
        edited('instances.json', lambda d: d['images'].pop(0)),
        r"names image 1000, of which .*instances\.json has no masks: .*irregular='drop'",
    ),
    'id without mask': (edited('vcoco.json', hold(99_999)), "'hold obj' names 99999, which has no mask: mend"),
    'box without mask': (
        edited('pairs.json', lambda d: d['annotations'][0]['boxes_o'].__setitem__(0, [0, 0, 1, 1]), 'pairs.json'),
        r"image 1000, relation .* names \('.*', \(0, 0, 1, 1\)\), which has no mask",
    ),
    'itself': (edited('vcoco.json', hold(None)), 'joins entity 1.. with itself: mend it'),
    'no such class': (annotation(category_id=5), 'annotation 100 is of category 5, which is none'),
    'no box': (annotation(bbox=[]), 'annotation 100 has no bbox of 4 numbers: add it'),
    'null for a box': (annotation(bbox=None), 'annotation 100 has no bbox of 4 numbers: add it'),
    'a word in a box': (annotation(bbox=['a', 0, 1, 1]), 'annotation 100 has no bbox of 4 numbers: add it'),
    'a word in a mask': (annotation(segmentation=[['a', 0, 1, 1, 2, 2]]), 'annotation 100 has no mask of pol'),
    'no height': (
        edited('instances.json', lambda d: d['images'][1].pop('height')),
        r'instances\.json: images\[1\] has no id, height, width that can be used: fetch',
    ),
    'no pixel high': (
        edited('instances.json', lambda d: d['images'][1].update(height=0)),
        r'images\[1\] has no id, height, width that can be used',
    ),
    'an id beyond 64 bits': (
        edited('instances.json', lambda d: d['annotations'][0].update(id=2**63)),
        'an annotation of image 1000 has no id, or a segment without one: fetch',
    ),
    'no name': (
        edited('instances.json', lambda d: d['images'][0].pop('file_name')),
        r'instances\.json: image 1000 has no file_name: fetch',
    ),
    'no class': (
        edited('instances.json', lambda d: d['categories'][0].pop('name')),
        r'categories\[0\] has no id, name that',
    ),
    'of no image': (
        edited('instances.json', lambda d: d['annotations'][3].pop('image_id')),
        r'annotations\[3\] has no image_id that',
    ),
    'no id': (
        edited('instances.json', lambda d: d['annotations'][0].pop('id')),
        'an annotation of image 1000 has no id, or a segment without one: fetch',
    ),
    'no mask': (annotation(segmentation=None), 'annotation 100 has no mask of polygons'),
    'two points': (annotation(segmentation=[[1, 1, 2, 2]]), 'annotation 100 has no mask of polygons'),
    'nothing drawn': (annotation(segmentation=[]), "annotation 100 of image 1000 has no pixel: draw it.*'drop'"),
    'another size': (annotation(segmentation={'size': [24, 30], 'counts': [720]}), 'annotation 100.*24, 30'),
    'counts that do not fit': (annotation(segmentation={'size': [24, 32], 'counts': [7]}), 'annotation 100'),
    'no picture': (spoil_picture(pathlib.Path.unlink), r'has no COCO_val2014_000000001000\.jpg nor 000000001000'),
    'cut picture': (
        spoil_picture(lambda path: path.write_bytes(path.read_bytes()[:90])),
        r'000000001000\.jpg cannot be read .*truncated',
    ),
    'turned picture': (
        spoil_picture(lambda path: save_turned(path, (32, 24))),
        r'is \(32, 24\) once it stands upright but its masks are \(24, 32\): .* save it without EXIF',
    ),
    'picture of another size': (
        spoil_picture(lambda path: Image.new('RGB', (30, 24)).save(path)),
        r'000000001000\.jpg is \(24, 30\) but its masks are \(24, 32\)',
    ),
}


@pytest.mark.parametrize('case', BAD)
def test_bad_files_are_refused(case, tmp_path):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call(extract.write(tmp_path))


def test_a_panoptic_png_of_another_size_or_without_a_segment_is_refused(tmp_path):
    path = extract.write(tmp_path) / 'panoptic' / '1000.png'
    Image.new('RGB', extract.SIZE[::-1]).save(path)
    with pytest.raises(ValueError, match=r'annotation 30001\d\d of image 1000 has no pixel'):
        read(tmp_path, 'pairs.json', 'panoptic.json')[0]
    Image.new('RGB', (8, 8)).save(path)
    with pytest.raises(ValueError, match=r'1000\.png is \(8, 8\) but .* gives image 1000 as \(24, 32\)'):
        read(tmp_path, 'pairs.json', 'panoptic.json')[0]


def test_what_cannot_be_used_is_dropped_on_request(tmp_path):
    extract.write(tmp_path)
    edited('vcoco.json', hold(99_999), irregular='drop')(tmp_path)
    path = tmp_path / 'instances.json'
    data = json.loads(path.read_text())
    data['images'].pop()
    data['annotations'][0]['segmentation'] = []
    run = data['annotations'][1]
    run['segmentation'] = rle_encode(np.ones(extract.SIZE, bool))  # compressed
    path.write_text(json.dumps(data))
    (tmp_path / 'images' / f'COCO_val2014_{1007:012d}.jpg').unlink()
    scenes = read(tmp_path, irregular='drop')
    assert len(scenes) == 23 and len(scenes.usable()) == 22 and 1 not in scenes.usable()
    assert scenes[0].masks.all((1, 2)).sum() == 1
    dropped = scenes.dropped
    assert dropped['images whose masks are not there'] == dropped['entities without pixels'] == 1
    assert dropped['images that cannot be read'] == 1 and dropped['relations of an entity without mask'] > 1
