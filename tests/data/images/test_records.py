"""The format of one's own images: written and read alike, and everything that can be wrong is said."""

import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image

from jaxrec.data.images.record_writer import write_folder
from jaxrec.data.images.records import ANNOTATIONS, ImageFolder, check_folder
from jaxrec.data.images.scene import UNKNOWN_PART
from tests.data.images.worlds import VOCABULARY, assert_same, random_scene


def apart(seed, name='apart'):
    """A scene whose masks do not overlap."""
    scene = random_scene(seed, name=name)
    before = np.cumsum(scene.masks, 0) - scene.masks
    scene.masks[before > 0] = False
    scene.masks[np.arange(5), np.arange(5), 0] = True
    scene.masks[:, :5, 0] &= np.eye(5, dtype=bool)
    return scene


@pytest.fixture
def folder(tmp_path):
    """Three scenes: masks apart, overlapping, and none."""
    scenes = [apart(0), random_scene(1), random_scene(2, count=0)]
    write_folder(tmp_path / 'own', VOCABULARY, scenes, ['train', 'validation', 'test'])
    return tmp_path / 'own', scenes


def change(folder, spoil):
    """Changes the annotations."""
    path = folder / ANNOTATIONS
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(content))


def test_what_is_written_is_read(folder):
    path, scenes = folder
    records = ImageFolder(path)
    assert records.vocabulary == VOCABULARY
    assert len(records) == 3
    assert records.splits.tolist() == [0, 1, 2]
    for index, scene in enumerate(scenes):
        assert_same(records.scene(index), scene)
    assert records.scene(0).name == 'images/000000.png'
    assert records.sources() == [path / ANNOTATIONS]


def test_masks_that_overlap_are_run_lengths_and_others_are_not(folder):
    content = json.loads((folder[0] / ANNOTATIONS).read_text())
    assert not any('mask' in entity for entity in content['images'][0]['entities'])
    assert any('mask' in entity for entity in content['images'][1]['entities'])


def test_a_sound_folder_is_counted(folder):
    path, scenes = folder
    found = check_folder(path)
    assert found.problems == [] and found.broken == []
    people = [int((scene.categories == 0).sum()) for scene in scenes]
    assert found.counts == {
        'images': 3, 'broken': 0, 'without people': people.count(0), 'without relations': 1, 'turned': 0,
        'train': 1, 'validation': 1, 'test': 1,
        'entities': 10, 'people': sum(people), 'relations': sum(len(scene.relations) for scene in scenes),
        'of others': sum(scene.categories[r[0]] != 0 for scene in scenes for r in scene.relations),
        'of validation': len(scenes[1].relations), 'unlisted': 0,
        'entities in one image at most': max(len(scene.categories) for scene in scenes),
        'relations in one image at most': max(len(scene.relations) for scene in scenes),
    }  # fmt: skip
    assert found.vocabulary == VOCABULARY
    assert found.counts['without people'] >= 1
    for kind, numbers in (
        ('entities', [scene.categories for scene in scenes]),
        ('relations', [scene.relations[:, 2] for scene in scenes]),
        ('parts', [np.nonzero(scene.relation_parts)[1] for scene in scenes]),
    ):
        names = getattr(VOCABULARY, kind)
        counted = np.bincount(np.concatenate(numbers), minlength=len(names))
        assert found.uses[kind] == dict(zip(names, counted.tolist(), strict=True))


def test_ids_that_no_entity_has_are_counted(tmp_path):
    write_folder(tmp_path, VOCABULARY, [random_scene(0), random_scene(1)], ['train'] * 2)
    content = json.loads((tmp_path / ANNOTATIONS).read_text())
    path = tmp_path / content['images'][0]['instances']
    numbers = np.array(Image.open(path))
    rows, columns = np.nonzero(numbers == 0)
    numbers[rows[0], columns[0]], numbers[rows[-1], columns[-1]] = 98, 99
    Image.fromarray(numbers).save(path)
    found = check_folder(tmp_path)
    assert found.counts['unlisted'] == 2 and not found.problems


def test_progress_is_shown_image_by_image(folder):
    seen = []
    check_folder(folder[0], lambda numbers: (seen.append(n) or n for n in numbers))
    assert seen == [0, 1, 2]


def test_the_example_of_the_documentation_is_read(tmp_path):
    from jaxrec.data.images import records

    text = records.__doc__[records.__doc__.index('    {"format"') : records.__doc__.index("An entity's mask")]
    content = json.loads(text)
    content['images'][0]['entities'][2]['mask'] = {'size': [4, 6], 'counts': [10, 4, 10]}
    for name in ('images', 'masks', 'parts'):
        (tmp_path / name).mkdir()
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / 'images/park.jpg')
    ids = np.zeros((4, 6), np.uint8)
    ids[1], ids[2] = 1, 2
    Image.fromarray(ids).save(tmp_path / 'masks/park.png')
    Image.fromarray(ids).save(tmp_path / 'parts/park.png')
    (tmp_path / ANNOTATIONS).write_text(json.dumps(content))
    scene = ImageFolder(tmp_path).scene(0)
    assert scene.relations.tolist() == [[0, 2, 0]]
    assert scene.relation_parts.tolist() == [[False, True, False, False, False]]
    assert scene.masks.sum((1, 2)).tolist() == [6, 6, 4]


@pytest.mark.parametrize('mode', ['L', 'RGBA'])
def test_grey_and_transparent_pictures_are_converted(folder, mode):
    path, scenes = folder
    Image.fromarray(scenes[0].image).convert(mode).save(path / 'images/000000.png')
    assert_same(ImageFolder(path).scene(0), scenes[0], but=('image',))


def test_without_a_part_map_all_parts_are_unknown(folder):
    path, _ = folder
    change(path, lambda content: content['images'][0].pop('parts'))
    assert (ImageFolder(path).scene(0).parts == UNKNOWN_PART).all()


def entry(key, value, place=0):
    return lambda content: content['images'][place].__setitem__(key, value)


def within(kind, number, key, value):
    return lambda content: content['images'][0][kind][number].__setitem__(key, value)


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (entry('file', 'images/none.png'), r'images\[0\] .*file: .*none.png is missing'),
        (entry('file', 3), r'images\[0\] .*has no "file": name the picture'),
        (entry('instances', 'masks/none.png'), 'instances: .*none.png is missing'),
        (entry('parts', 'parts/none.png'), 'parts: .*none.png is missing'),
        (entry('parts', ['x.png']), r"parts is \['x.png'\]: name a PNG, or leave it out"),
        (entry('masks', 'x'), "has the unknown key 'masks': use entities, file"),
        (entry('entities', 'x'), 'has entities that are no list of objects'),
        (within('entities', 0, 'class', 'cat'), r"entities\[0\] is of class 'cat', which is none of"),
        (within('entities', 0, 'id', 0), r'entities\[0\] has the id 0: give each entity a number of its own'),
        (within('entities', 1, 'id', 1), r'entities\[1\] has the id 1: give each'),
        (within('entities', 4, 'id', 77), r'entities\[4\] has the id 77, which has no pixel in masks/'),
        (within('entities', 0, 'klass', 1), r"entities\[0\] has the unknown key 'klass'"),
        (within('entities', 0, 'mask', {'size': [2, 2], 'counts': [4]}), r'\[0\] is a mask of \[2, 2\]'),
        (within('entities', 0, 'mask', {'size': 5, 'counts': [4]}), r'\[0\] has the size 5: write \[height'),
        (within('entities', 0, 'mask', {'size': [24, 32], 'counts': [768]}), 'has no pixel in mask: draw it'),
        (within('relations', 0, 'subject', 9), r'relations\[0\] names the entity 9: use an id of this image'),
        (within('relations', 0, 'object', [1]), r'relations\[0\] names the entity \[1\]'),
        (within('relations', 0, 'object', 1), r'relations\[0\] joins the entity 1 to itself'),
        (within('relations', 0, 'relation', 'eat'), r"relations\[0\] is 'eat', which is none of hold, kick"),
        (
            lambda content: content['images'][0]['relations'].append(content['images'][0]['relations'][0]),
            r'relations\[\d+\] says what relations\[0\] says: name all its parts in one',
        ),
        (within('relations', 0, 'parts', ['ear']), r"relations\[0\] has the part 'ear', which is none"),
        (within('relations', 0, 'parts', 'head'), r'relations\[0\] has parts that are no list'),
        (lambda content: content['images'][0].pop('instances'), r'entities\[0\] has no mask: name a PNG'),
        (lambda content: content['images'].__setitem__(0, 'x'), r'images\[0\] has no "file"'),
    ],
)  # fmt: skip
def test_everything_wrong_is_said_by_place(folder, spoil, message):
    path, scenes = folder
    assert scenes[0].relations[0, 0] == 0
    change(path, spoil)
    found = check_folder(path)
    assert found.broken == [0]
    assert any(re.search(message, problem) for problem in found.problems)
    assert all(problem.startswith(f'{path / ANNOTATIONS} images[0]') for problem in found.problems)
    with pytest.raises(ValueError, match=message):
        ImageFolder(path).scene(0)
    assert_same(ImageFolder(path).scene(1), scenes[1])


def test_all_problems_are_collected(folder):
    path, _ = folder
    image = path / 'images/000001.png'
    image.write_bytes(image.read_bytes()[:100])
    Image.fromarray(np.zeros((10, 12), np.uint8)).save(path / 'masks/000000.png')
    Image.fromarray(np.full((24, 32), 9, np.uint8)).save(path / 'parts/000000.png')
    change(path, within('relations', 0, 'relation', 'eat'))
    found = check_folder(path)
    assert found.broken == [0, 1]
    assert found.counts['broken'] == 2
    assert found.counts['entities'] == 0
    told = '\n'.join(found.problems)
    assert 'images[0] (images/000000.png) instances: masks/000000.png is 10 x 12, but the picture is 24 x 32' in told
    assert 'parts: parts/000000.png holds 9 in row 0, column 0: use 0 to 5, and 255 for unknown' in told
    assert "is 'eat'" in told
    assert '000001.png cannot be read' in told


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda c: c.update(format='coco'), 'is not of this format: begin it with "format": "jaxrec.images"'),
        (lambda c: c.update(version=2), 'is not of this format'),
        (lambda c: c.pop('images'), 'has no list "images"'),
        (lambda c: c.pop('relations'), 'has no relations: list their names'),
        (lambda c: c.update(entities=[]), 'has no entities'),
        (lambda c: c.update(parts='head'), 'parts is str: write a list of names'),
        (lambda c: c.update(mirrored=[['left hand']]), 'mirrored holds pairs of parts'),
        (lambda c: c.update(entities=['person', 3]), 'a name is no text'),
        (lambda c: c.update(person='man'), "person 'man' is no entity class"),
        (lambda c: c.update(geometric=['near']), "geometric names the relation 'near'"),
        (lambda c: c.update(geometrics=[]), "has the unknown key 'geometrics': use entities, format"),
        (entry('split', ['train']), r"images\[0\] has the split \['train'\]: use one of train"),
        (entry('split', 'dev'), r"images\[0\] has the split 'dev': use one of train, validation, test"),
    ],
)
def test_annotations_of_another_kind_are_refused(folder, spoil, message):
    change(folder[0], spoil)
    with pytest.raises(ValueError, match=message):
        ImageFolder(folder[0])


def test_annotations_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'annotations.json is missing'):
        ImageFolder(tmp_path)
    (tmp_path / ANNOTATIONS).write_text('{"format": ')
    with pytest.raises(ValueError, match=r'annotations.json is no JSON'):
        ImageFolder(tmp_path)
    (tmp_path / ANNOTATIONS).write_text('[' * 100_000)
    with pytest.raises(ValueError, match=r'annotations.json is no JSON \(maximum recursion'):
        ImageFolder(tmp_path)
    (tmp_path / ANNOTATIONS).write_text('[]')
    with pytest.raises(ValueError, match='is not of this format'):
        ImageFolder(tmp_path)
    (tmp_path / ANNOTATIONS).unlink()
    (tmp_path / ANNOTATIONS).mkdir()
    with pytest.raises(ValueError, match=r'annotations.json is a folder, not a file'):
        ImageFolder(tmp_path)


def test_writing_refuses_what_it_could_not_read(folder, tmp_path):
    path, scenes = folder
    with pytest.raises(ValueError, match='exists and will not be overwritten: give another folder'):
        write_folder(path, VOCABULARY, scenes[:1], ['train'])
    with pytest.raises(ValueError, match="has the split 'dev'"):
        write_folder(tmp_path / 'b', VOCABULARY, scenes[:1], ['dev'])
    none = dataclasses.replace(VOCABULARY, relations=(), geometric=(), symmetric=())
    with pytest.raises(ValueError, match='would have no relations, and could not be read'):
        write_folder(tmp_path / 'd', none, scenes[:0], [])
    scenes[1].masks[2] = False
    with pytest.raises(ValueError, match='entity 2 has no pixel'):
        write_folder(tmp_path / 'c', VOCABULARY, scenes[1:2], ['train'])
