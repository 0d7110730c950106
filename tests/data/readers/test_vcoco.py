"""The V-COCO reader on an extract in the published formats, against a reader that was written without it."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from jaxrec.data.images.pixels import rle_encode
from jaxrec.data.images.scene import UNKNOWN_PART
from jaxrec.data.readers.vcoco import VcocoScenes
from jaxrec.evaluation.relation_segmentation import judge_roles, role_ap
from tests.data.extracts import vcoco as extract
from tests.evaluation.segmentation.cases import found
from tests.oracles import vcoco as oracle


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return extract.write(tmp_path_factory.mktemp('vcoco'))


def read(folder, annotations='vcoco.json', masks='instances.json', **arguments):
    pngs = folder / 'panoptic' if masks == 'panoptic.json' else None
    return VcocoScenes(folder / annotations, folder / masks, folder / 'images', pngs=pngs, **arguments)


def box_of(mask):
    rows, columns = np.nonzero(mask)
    box = (columns.min(), rows.min(), columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min())
    assert mask.sum() == box[2] * box[3]  # a rectangle, as drawn
    return tuple(int(side) for side in box)


def numbers_of(scene, image, names):
    """Annotation of each entity, by its class and rectangle."""
    known = {value: number for number, value in (image['entities'] | image['crowds']).items()}
    return [known[names[c], box_of(m)] for c, m in zip(scene.categories, scene.masks, strict=True)]


def test_the_extract_is_rich(folder):
    images = list(oracle.images(folder).values())
    deeds = [deed for image in images for deed in image['deeds']]
    assert len(images) == 24 and len(deeds) > 100 and sum(len(image['crowds']) for image in images) >= 3
    assert 10 < sum(number == 0 for _, number, _ in deeds) < 60
    people = sum(name == 'person' for image in images for name, _ in image['entities'].values())
    assert people - sum(len(image['people']) for image in images) >= 3
    assert sum(len(action['ann_id']) for action in json.loads((folder / 'vcoco.json').read_text())) > 200


@pytest.mark.parametrize(
    ('annotations', 'masks'),
    [
        ('vcoco.json', 'instances.json'),
        ('pairs.json', 'instances.json'),
        ('pairs.json', 'panoptic.json'),
    ],
)
def test_scenes_and_agents_are_those_of_the_files(folder, annotations, masks):
    scenes, images = read(folder, annotations, masks), oracle.images(folder)
    assert scenes.vocabulary.relations == tuple(extract.RELATIONS)
    for index, image in enumerate(scenes.ids):
        scene, agents = scenes.with_agents(index)
        scene.check(scenes.vocabulary)
        numbers = numbers_of(scene, images[image], scenes.vocabulary.entities)
        assert sorted(numbers) == sorted(images[image]['entities'] | images[image]['crowds'])
        name = lambda kind: extract.RELATIONS[kind]
        deeds = {(numbers[s], 0 if o < 0 else numbers[o], name(k)) for s, o, k in agents.deeds.tolist()}
        expected = images[image]['deeds']
        seen = {deed for deed in expected if deed[1]}
        assert deeds == (expected if annotations == 'vcoco.json' else seen)
        assert {(numbers[s], numbers[o], name(k)) for s, o, k in scene.relations.tolist()} == seen
        known = {numbers[row] for row in agents.rows[agents.known]}
        people = {n for n, (c, _) in images[image]['entities'].items() if c == 'person'}
        assert known == (images[image]['people'] if annotations == 'vcoco.json' else people)
        assert (scene.parts == UNKNOWN_PART).all() and scene.image.std() > 20
        without = numbers_of(scenes[index], images[image], scenes.vocabulary.entities)
        assert sorted(without) == sorted(images[image]['entities'])
        assert len(scenes[index].relations) == len(scene.relations)
    crowds = sum(len(image['crowds']) for image in images.values())
    assert len(list(scenes)) == 24 and scenes.dropped == {'crowds left out': crowds}


def test_a_pair_whose_person_lies_in_a_crowd_is_no_person_s_deed(folder, tmp_path):
    """With panoptic masks the box of a person may fit that of a crowd of people alone."""
    shutil.copytree(folder, tmp_path / 'crowd')
    before, images = read(folder, 'pairs.json', 'panoptic.json'), oracle.images(folder)
    image = next(each for each in before.ids if images[each]['people'])
    scene, agents = before.with_agents(index := before.ids.index(image))
    subject = int(agents.deeds[0, 0])
    number = numbers_of(scene, images[image], before.vocabulary.entities)[subject]
    file = tmp_path / 'crowd' / 'panoptic.json'
    listed = json.loads(file.read_text())
    segments = [each for entry in listed['annotations'] for each in entry['segments_info']]
    next(each for each in segments if each['id'] == 3_000_000 + number)['iscrowd'] = 1
    file.write_text(json.dumps(listed))
    scenes = read(tmp_path / 'crowd', 'pairs.json', 'panoptic.json', irregular='drop')
    _, found = scenes.with_agents(index)
    assert not found.known[found.rows.tolist().index(subject)]
    np.testing.assert_array_equal(found.deeds, agents.deeds[agents.deeds[:, 0] != subject])
    lost = {tuple(deed) for deed in agents.deeds.tolist() if subject in deed[:2]}
    assert scenes.read(index)[1]['relations of crowds left out'] == len(lost)


def test_a_deed_done_to_a_crowd_counts_for_role_ap_alone(folder, tmp_path):
    listed = json.loads((folder / 'vcoco.json').read_text())
    images = oracle.images(folder)
    number = next(n for n, image in enumerate(listed[0]['image_id']) if images[image]['crowds'])
    image, person = listed[0]['image_id'][number], listed[0]['ann_id'][number]
    crowd = next(iter(images[image]['crowds']))
    listed[0]['label'][number] = 1
    listed[0]['role_object_id'][len(listed[0]['ann_id']) + number] = crowd
    shutil.copytree(folder, tmp_path / 'crowded')
    (tmp_path / 'crowded' / 'vcoco.json').write_text(json.dumps(listed))
    scenes = read(tmp_path / 'crowded')
    index = scenes.ids.index(image)
    scene, agents = scenes.with_agents(index)
    numbers = numbers_of(scene, images[image], scenes.vocabulary.entities)
    deed = (numbers.index(person), numbers.index(crowd), 0)
    assert deed in set(map(tuple, agents.deeds.tolist())) and deed in set(
        map(tuple, scene.relations.tolist())
    )
    unknown = {numbers[row] for row in agents.rows[~agents.known]}
    crowds_of_people = {n for n, (name, _) in images[image]['crowds'].items() if name == 'person'}
    assert crowds_of_people <= unknown
    assert len(list(scenes)) == 24 and scenes.dropped['relations of crowds left out'] == 1


def test_perfect_predictions_have_a_role_ap_of_one(folder):
    scenes, judged = read(folder), []
    person = scenes.vocabulary.entities.index('person')
    for index in range(len(scenes)):
        scene, agents = scenes.with_agents(index)
        guess = found(
            list(zip(scene.categories.tolist(), scene.masks, strict=True)),
            [(*deed, set(), 1.0) for deed in agents.deeds.tolist()],
            size=extract.SIZE,
        )
        judged.append(judge_roles(scene, agents, guess, person))
    assert role_ap(judged, 4, 1).tolist() == role_ap(judged, 4, 2).tolist() == [1, 1, 1, 1]


def in_two(folder):
    """The published file and COCO's in two, at image 10; the second of each holds the test images."""
    listed = json.loads((folder / 'instances.json').read_text())
    first = {image['id'] for image in listed['images'][:10]}
    for name, chosen in (('a', lambda image: image in first), ('b', lambda image: image not in first)):
        coco = {
            'categories': listed['categories'],
            'images': [each for each in listed['images'] if chosen(each['id'])],
            'annotations': [each for each in listed['annotations'] if chosen(each['image_id'])],
        }
        (folder / f'instances_{name}.json').write_text(json.dumps(coco))
        actions = json.loads((folder / 'vcoco.json').read_text())
        for action in actions:
            kept = [n for n, image in enumerate(action['image_id']) if chosen(image)]
            count = len(action['image_id'])
            roles = range(len(action['role_name']))
            action['role_object_id'] = [action['role_object_id'][r * count + n] for r in roles for n in kept]
            for key in ('ann_id', 'image_id', 'label'):
                action[key] = [action[key][n] for n in kept]
        (folder / f'vcoco_{name}.json').write_text(json.dumps(actions))
    return folder


def test_files_of_several_parts_make_one_set(folder, tmp_path):
    root, whole = in_two(extract.write(tmp_path)), read(folder)
    scenes = VcocoScenes(
        {'train': root / 'vcoco_a.json', 'test': root / 'vcoco_b.json'},
        [root / 'instances_a.json', root / 'instances_b.json'],
        [root / 'none', root / 'images'],
    )
    assert scenes.splits.tolist() == [0] * 10 + [2] * 14 and len(scenes.sources()) == 4
    for index in (0, 9, 10, 23):
        again, agents = scenes.with_agents(index)
        scene, expected = whole.with_agents(whole.ids.index(scenes.ids[index]))
        np.testing.assert_array_equal(again.masks, scene.masks)
        np.testing.assert_array_equal(agents.deeds, expected.deeds)
        np.testing.assert_array_equal(scenes.scene(index).image, scene.image)
    arguments = ([root / 'instances.json'], root / 'images')
    with pytest.raises(ValueError, match='names image 1000, which another part has: take it out'):
        VcocoScenes({'train': root / 'vcoco_a.json', 'test': root / 'vcoco.json'}, *arguments)
    with pytest.raises(ValueError, match='other classes or actions than the other files'):
        actions = json.loads((root / 'vcoco_b.json').read_text())
        (root / 'vcoco_b.json').write_text(json.dumps(actions[1:]))
        VcocoScenes({'train': root / 'vcoco_a.json', 'test': root / 'vcoco_b.json'}, *arguments)
    with pytest.raises(
        ValueError, match="annotations of the part 'val': the parts are train, validation, test"
    ):
        VcocoScenes({'val': root / 'vcoco_a.json'}, *arguments)


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
        n
        for n, (label, number) in enumerate(zip(data[0]['label'], objects(data), strict=True))
        if label and number
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


def save_turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.new('RGB', (32, 24)).save(path, exif=exif)


BAD = {
    'no file': (
        lambda folder: (folder / 'vcoco.json').unlink() or read(folder),
        r'vcoco\.json is missing: take',
    ),
    'cut file': (
        lambda folder: (folder / 'instances.json').write_text('{"images": [') and read(folder),
        r'instances\.json is no JSON .*Fetch it again',
    ),
    'no COCO file': (
        lambda folder: (folder / 'instances.json').write_text('[]') and read(folder),
        r'instances\.json is no COCO file of "images".*fetch the annotations',
    ),
    'no V-COCO file': (
        edited('vcoco.json', lambda d: d[0].pop('label')),
        r"no V-COCO file \(KeyError\('label'",
    ),
    'ids that do not fit': (
        edited('vcoco.json', lambda d: d[2]['role_object_id'].pop()),
        'no V-COCO file.*reshape',
    ),
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
        edited(
            'pairs.json', lambda d: d['annotations'][0]['boxes_h'].__setitem__(0, [0, 0, 1]), 'pairs.json'
        ),
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
    'id without mask': (
        edited('vcoco.json', hold(99_999)),
        "'hold obj' names 99999, which has no mask: mend",
    ),
    'box without mask': (
        edited(
            'pairs.json', lambda d: d['annotations'][0]['boxes_o'].__setitem__(0, [0, 0, 1, 1]), 'pairs.json'
        ),
        r"image 1000, relation .* names \('.*', \(0, 0, 1, 1\)\), which has no mask",
    ),
    'itself': (edited('vcoco.json', hold(None)), 'joins entity 1.. with itself: mend it'),
    'no such class': (annotation(category_id=5), 'annotation 100 is of category 5, which is none'),
    'no box': (annotation(bbox=[]), 'annotation 100 has no bbox of 4 numbers: add it'),
    'null for a box': (annotation(bbox=None), 'annotation 100 has no bbox of 4 numbers: add it'),
    'a word in a box': (annotation(bbox=['a', 0, 1, 1]), 'annotation 100 has no bbox of 4 numbers: add it'),
    'a word in a mask': (
        annotation(segmentation=[['a', 0, 1, 1, 2, 2]]),
        'annotation 100 has no mask of pol',
    ),
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
    'nothing drawn': (
        annotation(segmentation=[]),
        "annotation 100 of image 1000 has no pixel: draw it.*'drop'",
    ),
    'another size': (annotation(segmentation={'size': [24, 30], 'counts': [720]}), 'annotation 100.*24, 30'),
    'counts that do not fit': (annotation(segmentation={'size': [24, 32], 'counts': [7]}), 'annotation 100'),
    'no picture': (
        spoil_picture(pathlib.Path.unlink),
        r'has no COCO_val2014_000000001000\.jpg nor 000000001000',
    ),
    'cut picture': (
        spoil_picture(lambda path: path.write_bytes(path.read_bytes()[:90])),
        r'000000001000\.jpg cannot be read .*truncated',
    ),
    'turned picture': (
        spoil_picture(lambda path: save_turned(path)),
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


def test_the_shared_photograph_of_riders():
    root = pathlib.Path(os.environ.get('JAXREC_DATA', ''))
    coco = root / 'coco-people'
    if not (coco / 'panoptic_examples.json').is_file() or not (root / 'vcoco').is_dir():
        pytest.skip('needs vcoco and coco-people under JAXREC_DATA')
    scenes = VcocoScenes(
        root / 'vcoco' / 'instances_vcoco_test.json', coco / 'panoptic_examples.json', coco,
        pngs=coco, irregular='drop',
    )  # fmt: skip
    assert scenes.names == ['000000439180.jpg'] and scenes.dropped == {
        'images whose masks are not there': 4945
    }
    scene, agents = scenes.with_agents(0)
    scene.check(scenes.vocabulary)
    names, relations = scenes.vocabulary.entities, scenes.vocabulary.relations
    told = [
        (names[scene.categories[s]], relations[k], names[scene.categories[o]]) for s, o, k in scene.relations
    ]
    assert len(told) == 14 and told.count(('person', 'ride instr', 'horse')) == 5
    assert len(agents.rows) == 14 and agents.known.sum() == 13  # a crowd of people, and one of horses
    for each, horses in ((scene, 12), (scenes[0], 11)):
        assert (each.categories == names.index('horse')).sum() == horses
