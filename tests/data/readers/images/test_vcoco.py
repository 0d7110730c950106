"""The V-COCO reader on an extract in the published formats, against a reader that was written without it."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest

from jaxrec.data.images.scene import UNKNOWN_PART
from jaxrec.data.readers.images.vcoco import VcocoScenes
from jaxrec.evaluation.relation_segmentation import judge_roles, role_ap
from tests.data.extracts import vcoco as extract
from tests.data.extracts.vcoco import read
from tests.evaluation.segmentation.cases import found
from tests.oracles import vcoco as oracle


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return extract.write(tmp_path_factory.mktemp('vcoco'))


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
    [('vcoco.json', 'instances.json'), ('pairs.json', 'instances.json'), ('pairs.json', 'panoptic.json')],
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
    assert deed in set(map(tuple, agents.deeds.tolist())) and deed in set(map(tuple, scene.relations.tolist()))
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
    with pytest.raises(ValueError, match="annotations of the part 'val': the parts are train, validation, test"):
        VcocoScenes({'val': root / 'vcoco_a.json'}, *arguments)


def test_the_shared_photograph_of_riders():
    root = pathlib.Path(os.environ.get('JAXREC_DATA', ''))
    coco = root / 'coco-people'
    if not (coco / 'panoptic_examples.json').is_file() or not (root / 'vcoco').is_dir():
        pytest.skip('needs vcoco and coco-people under JAXREC_DATA')
    scenes = VcocoScenes(
        root / 'vcoco' / 'instances_vcoco_test.json', coco / 'panoptic_examples.json', coco,
        pngs=coco, irregular='drop',
    )  # fmt: skip
    assert scenes.names == ['000000439180.jpg'] and scenes.dropped == {'images whose masks are not there': 4945}
    scene, agents = scenes.with_agents(0)
    scene.check(scenes.vocabulary)
    names, relations = scenes.vocabulary.entities, scenes.vocabulary.relations
    told = [(names[scene.categories[s]], relations[k], names[scene.categories[o]]) for s, o, k in scene.relations]
    assert len(told) == 14 and told.count(('person', 'ride instr', 'horse')) == 5
    assert len(agents.rows) == 14 and agents.known.sum() == 13  # a crowd of people, and one of horses
    for each, horses in ((scene, 12), (scenes[0], 11)):
        assert (each.categories == names.index('horse')).sum() == horses
