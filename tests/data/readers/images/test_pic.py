"""The PIC reader on an extract in the published format, against a reader that was written without it."""

import itertools
import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from configs.sms.pic import get_config
from jaxrec.data.images.scene import UNKNOWN_PART
from jaxrec.data.readers.images.pic import PicScenes, pic_vocabulary
from jaxrec.data.readers.images.pic_files import read_relations
from jaxrec.data.readers.images.pic_lists import CHOSEN_PARTS, CHOSEN_RELATIONS, ENTITIES, MIRRORED_PARTS, RELATIONS
from tests.data.extracts import pic as extract
from tests.data.extracts.pictures import save_turned
from tests.oracles import pic as oracle


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return extract.write(tmp_path_factory.mktemp('pic') / 'PIC_2.0')


def same_scene(scene, expected):
    """Every mask, class and relation of the files, in any order of entities."""
    assert scene.name == expected['name']
    masks = [frozenset(map(tuple, np.argwhere(mask).tolist())) for mask in scene.masks]
    wanted = {frozenset(pixels): number for number, (_, pixels) in expected['entities'].items()}
    numbers = [wanted[mask] for mask in masks]
    assert sorted(numbers) == sorted(expected['entities'])
    assert scene.categories.tolist() == [expected['entities'][number][0] for number in numbers]
    relations = [(numbers[s], numbers[o], kind + 1) for s, o, kind in scene.relations.tolist()]
    assert relations == expected['relations']


def test_the_extract_has_the_counts_of_an_independent_script(folder):
    counts, scenes = oracle.counts(folder), PicScenes(folder.parent)
    assert counts['images'] == 30 == len(scenes) and counts['relations'] > 200
    assert min(counts[key] for key in counts) > 0  # each irregularity is there
    read = list(scenes)
    assert sum(len(scene.relations) for scene in read) == counts['relations']
    assert sum(len(scene.masks) for scene in read) == counts['entities']
    people = scenes.vocabulary.entities.index('human')
    assert sum((scene.categories == people).sum() for scene in read) == counts['people']
    assert scenes.dropped == {'images known to be broken': 1}


@pytest.mark.parametrize('category', ['max', 'majority'])
def test_scenes_are_those_of_the_files(folder, category):
    for scene, expected in zip(PicScenes(folder, category=category), oracle.scenes(folder, category), strict=True):
        same_scene(scene, expected)
        scene.check(pic_vocabulary())
        assert scene.image.shape == (*extract.SIZE, 3) and (scene.parts == UNKNOWN_PART).all()


def test_classes_are_taken_after_the_resize(folder):
    size, scenes = (7, 9), PicScenes(folder, size=(7, 9))
    for scene, expected in zip(scenes, oracle.scenes(folder, size=size), strict=True):
        found = {
            frozenset(map(tuple, np.argwhere(m).tolist())): c
            for m, c in zip(scene.masks, scene.categories, strict=True)
        }
        for category, pixels in expected['entities'].values():
            assert found[frozenset(pixels)] == category
        assert scene.image.shape == (*size, 3) and len(scene.relations) == len(expected['relations'])


def test_both_layouts_give_the_same(folder, tmp_path):
    first = extract.write(tmp_path / 'any', layout=1, split='val', labels=ENTITIES[2])
    with pytest.raises(ValueError, match=r'relations_train\.json is in none of'):
        PicScenes(first)
    for a, b in itertools.islice(zip(PicScenes(first, 'val'), PicScenes(folder), strict=True), 6):
        np.testing.assert_array_equal(a.masks, b.masks)
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.relations, b.relations)


def test_both_splits_are_read_as_the_parts_of_one_set(folder, tmp_path):
    root = extract.write(tmp_path / 'PIC', split='val')
    listed = json.loads((root / 'relations_val.json').read_text())
    (root / 'relations_train.json').write_text(json.dumps(listed[:10]))
    (root / 'relations_val.json').write_text(json.dumps(listed[10:]))
    scenes = PicScenes(root, 'trainval')
    assert scenes.splits.tolist() == [0] * 10 + [1] * 20 and scenes.splits.dtype == np.int8
    assert [path.name for path in scenes.sources()] == ['relations_train.json', 'relations_val.json']
    np.testing.assert_array_equal(scenes.scene(12).masks, PicScenes(folder)[12].masks)


def test_edition_1_numbers_relations_otherwise_and_has_classes_of_its_own(tmp_path):
    root = extract.write(tmp_path / 'first', layout=1, labels=('person', *ENTITIES[2][1:]))
    scenes = PicScenes(root, edition=1)
    assert scenes.vocabulary.person == 'person' and len(scenes.vocabulary.entities) == 144
    assert scenes.vocabulary.geometric == ('in-front-of', 'next-to', 'on-top-of', 'behind', 'on', 'in')
    assert scenes.vocabulary.relations[3] == 'eat' and scenes.vocabulary.symmetric == ('next-to',)
    (root / 'categories_list' / 'label_categories.json').unlink()  # then the published list holds
    scenes = PicScenes(root, edition=1, irregular='drop')
    words = scenes.vocabulary
    assert words.person == 'human' and len(words.entities) == 85 and words.entities[74] == 'balls'
    with pytest.raises(ValueError, match=r'holds class \d+; there are 1 to 84'):
        PicScenes(root, edition=1).read(0)


def test_an_edition_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match='edition 3 of PIC'):
        pic_vocabulary(3)


def test_an_instance_without_class_survives(folder):
    scene = PicScenes(folder)[4]
    unlabelled = scene.categories == 0
    assert unlabelled.sum() == 1 and scene.masks[unlabelled].mean() > 0.3


def test_grey_and_cmyk_pictures_become_red_green_blue(folder):
    scenes = PicScenes(folder)
    assert np.ptp(scenes[2].image, axis=-1).max() == 0 and np.ptp(scenes[3].image, axis=-1).max() > 50


def test_a_choice_of_names_leaves_the_others_out_and_counts_them(folder):
    kinds = CHOSEN_RELATIONS[:5]
    scenes = PicScenes(folder, entities=('ball', 'human'), relations=kinds, images=False)
    numbers = {18: 0, 1: 1}
    dropped = {'entities': 0, 'kinds': 0, 'joined': 0}
    for scene, expected in zip(scenes, oracle.scenes(folder), strict=True):
        kept = [c for c, _ in expected['entities'].values() if c in numbers]
        assert sorted(scene.categories.tolist()) == sorted(numbers[c] for c in kept)
        assert not scene.image.any()
        dropped['entities'] += len(expected['entities']) - len(kept)
        for subject, target, number in expected['relations']:
            fine = RELATIONS[2][number - 1] in kinds
            joins = all(expected['entities'][each][0] in numbers for each in (subject, target))
            dropped['kinds'] += not fine
            dropped['joined'] += fine and not joins
        scene.check(scenes.vocabulary)
    assert min(dropped.values()) > 0
    assert scenes.dropped == {
        'entities of classes left out': dropped['entities'],
        'images known to be broken': 1,
        'relations of entities left out': dropped['joined'],
        'relations of kinds left out': dropped['kinds'],
    }


def test_what_cannot_be_used_is_dropped_on_request_and_counted_once(tmp_path):
    root = extract.write(tmp_path / 'PIC')
    spoiled = extract.spoil(root)
    scenes = PicScenes(root, irregular='drop')
    assert len(scenes.usable()) == 26 == len(list(scenes)) and scenes.dropped == spoiled
    assert {10, 11, 12, 13}.isdisjoint(scenes.usable())
    with pytest.raises(ValueError, match=r'instance.outdoor_00010\.png is missing: put the file there'):
        scenes[10]
    assert scenes[-1].name == scenes.names[-1]
    with pytest.raises(IndexError):
        scenes[30]
    with pytest.raises(ValueError, match=r'relation \d+ names entity 200, which has no pixel .* irregular='):
        list(PicScenes(root))


def test_of_an_image_that_is_listed_twice_the_first_counts_and_for_the_challenge_the_last(tmp_path):
    root = extract.write(tmp_path / 'PIC_2.0')
    path = root / 'relations_train.json'
    entries = json.loads(path.read_text())
    again = entries[0] | {'relations': entries[0]['relations'][:1]}
    path.write_text(json.dumps([*entries, again]))
    once, every = PicScenes(root, skip=()), PicScenes(root, skip=(), every=True)
    assert once.names == every.names and len(every[0].relations) == 1 < len(once[0].relations)
    assert once.dropped['images listed twice'] == every.dropped['images listed twice'] == 1


def test_parts_have_names_and_no_labels(folder):
    scenes = PicScenes(folder, parts=CHOSEN_PARTS)
    assert scenes.vocabulary.parts == CHOSEN_PARTS and scenes.vocabulary.mirrored == MIRRORED_PARTS
    scene = next(scene for scene in scenes if len(scene.relations))
    scene.check(scenes.vocabulary)
    assert scene.relation_parts.shape == (len(scene.relations), 25) and not scene.relation_parts.any()
    assert (scene.parts == UNKNOWN_PART).all()
    assert PicScenes(folder, parts=('hip', 'left hand')).vocabulary.mirrored == ()


def test_the_config_has_the_classes_of_the_paper():
    arguments = get_config().data.arguments
    assert [len(arguments[name]) for name in ('entities', 'relations', 'parts')] == [141, 23, 25]


def test_the_lists_have_the_published_lengths():
    assert [len(names[edition]) for names in (ENTITIES, RELATIONS) for edition in (1, 2)] == [84, 143, 30, 30]
    assert RELATIONS[1][27] == 'lie-in' and RELATIONS[2][0] == 'in front of'
    assert (len(CHOSEN_RELATIONS), len(CHOSEN_PARTS), len(set(CHOSEN_PARTS))) == (23, 25, 25)
    assert {part for pair in MIRRORED_PARTS for part in pair} < set(CHOSEN_PARTS)
    numbers = {name: RELATIONS[2].index(name) + 1 for name in pic_vocabulary(2).geometric}
    assert sorted(numbers.values()) == [1, 2, 4, 13, 24, 25]
    assert [ENTITIES[2].index(name) + 1 for name in ('human', 'train', 'property', 'squirrel')] == [1, 65, 80, 143]


def edited(change):
    def call(root):
        path = root / 'relations_train.json'
        entries = json.loads(path.read_text())
        change(entries)
        path.write_text(json.dumps(entries))
        return PicScenes(root)[0]

    return call


def file(kind, change):
    def call(root):
        place = extract.places_of(root, 2)[kind]
        change(place / f'indoor_00000.{"jpg" if kind == "image" else "png"}')
        return PicScenes(root)[0]

    return call


def cut(path: pathlib.Path):
    path.write_bytes(path.read_bytes()[:70])


def of_size(path: pathlib.Path):
    Image.new('RGB' if path.suffix == '.jpg' else 'L', (27, 20)).save(path)


def labels(text):
    def call(root):
        (root / 'categories_list').mkdir()
        (root / 'categories_list' / 'label_categories.json').write_text(text)
        return PicScenes(root)

    return call


def numbered(names, edition):
    def call(root):
        (root / 'categories_list').mkdir()
        listed = [{'name': name, 'id': number} for number, name in enumerate(names, 1)]
        (root / 'categories_list' / 'relation_categories.json').write_text(json.dumps(listed))
        return PicScenes(root, edition=edition)

    return call


BAD = {
    'no file': (lambda root: PicScenes(root / 'x'), r'relations_train\.json is in none of .*picdataset'),
    'test labels': (lambda root: PicScenes(root, 'test'), 'labels of test images are not published'),
    'no folder': (
        lambda root: (root / 'semantic').rename(root / 'other') and PicScenes(root),
        'no folder of semantic files; looked for .*place its folders',
    ),
    'no such edition': (lambda root: PicScenes(root, edition=3), 'edition 3'),
    'no such rule': (lambda root: PicScenes(root, irregular='keep'), "irregular='keep'.*refuse or drop"),
    'no such category': (lambda root: PicScenes(root, category='min')[0], "category='min'.*max or majority"),
    'no such name': (lambda root: PicScenes(root, entities=('human', 'dodo')), "'dodo' is no name of PIC"),
    'cut list': (lambda root: cut(root / 'relations_train.json') or PicScenes(root), 'is no JSON .*Fetch it'),
    'no list': (lambda root: (root / 'relations_train.json').write_text('{}') and PicScenes(root), 'holds a dict'),
    'no name': (edited(lambda e: e[3].pop('name')), 'entry 3 has no "name" with a list of "relations": repair'),
    'a half relation': (edited(lambda e: e[0]['relations'][2].pop('object')), 'relation 2 of indoor_00000.*whole'),
    'a true relation': (edited(lambda e: e[0]['relations'][1].update(subject=True)), 'relation 1 of indoor_00000'),
    'id without pixels': (
        edited(lambda e: e[0]['relations'][0].update(subject=77)),
        r"indoor_00000\.jpg: relation 0 names entity 77, which has no pixel .*irregular='drop'",
    ),
    'itself': (
        edited(lambda e: e[0]['relations'][0].update(subject=3, object=3)),
        "relation 0 joins entity 3 with itself: mend it, or give irregular='drop'",
    ),
    'no kind': (edited(lambda e: e[0]['relations'][0].update(relation=31)), 'is of kind 31; there are 1 to 30'),
    'missing PNG': (file('instance', pathlib.Path.unlink), r'instance.indoor_00000\.png is missing'),
    'cut PNG': (file('semantic', cut), r'semantic.indoor_00000\.png cannot be read .*truncated'),
    'cut JPEG': (file('image', cut), r'image.indoor_00000\.jpg cannot be read .*truncated'),
    'no JPEG': (file('image', pathlib.Path.unlink), r'image.indoor_00000\.jpg is missing'),
    'PNGs of two sizes': (file('semantic', of_size), r'\(20, 28\) and .*\(20, 27\): both must be of one size'),
    'JPEG of another size': (file('image', of_size), r'\(20, 27\) but its mask .* is \(20, 28\)'),
    'PNG in colours': (
        file('instance', lambda path: Image.new('RGB', (28, 20)).save(path)),
        r'instance.indoor_00000\.png is in colours',
    ),
    'no such class': (
        file('semantic', lambda path: Image.new('L', (28, 20), 144).save(path)),
        'holds class 144; there are 1 to 143: mend it',
    ),
    'labels: no list': (labels('{"a": 1}'), r'label_categories\.json is no list'),
    'labels: cut': (labels('[{"name"'), r'label_categories\.json is no JSON .*Fetch it again'),
    'edition 1 as 2': (
        numbered([name.replace('-', '_') for name in RELATIONS[1]], 2),
        r'relation_categories\.json numbers relations as edition 1 does, .* read as of 2: give edition=1',
    ),
    'edition 2 as 1': (numbered(RELATIONS[2], 1), 'as edition 2 does, .* read as of 1: give edition=2'),
    'labels: a gap': (labels('[{"name": "human", "id": 1}, {"name": "hat", "id": 3}]'), 'names no class 2'),
    'labels: nobody': (labels('[{"name": "hat", "id": 1}]'), "json names no class 'human' or 'person'"),
    'labels: no number': (labels('[{"name": "hat", "id": Infinity}]'), r'label_categories\.json is no list'),
    'turned JPEG': (
        file('image', lambda path: save_turned(path, (28, 20))),
        r'is \(28, 20\) once it stands upright but its mask .* or save the picture without EXIF',
    ),
}


@pytest.mark.parametrize('edition', [1, 2])
def test_the_set_s_own_list_of_relations_may_say_which_edition_it_is(edition, tmp_path):
    names = [name.replace('-', ' ').title() for name in RELATIONS[edition]]
    root = extract.write(tmp_path / 'PIC_2.0')
    assert numbered([*names[:-2], 'a', 'b'], edition)(root).vocabulary.relations == RELATIONS[edition]


@pytest.mark.parametrize('case', BAD)
def test_bad_files_and_arguments_are_refused(case, tmp_path):
    call, message = BAD[case]
    root = extract.write(tmp_path / 'PIC_2.0')
    with pytest.raises(ValueError, match=message):
        call(root)


@pytest.mark.parametrize('score', [None, 'high', float('nan'), True, 10**400, float('-inf')])
def test_predictions_need_a_score(tmp_path, score):
    relation = {'subject': 1, 'object': 2, 'relation': 3, 'score': score}
    (tmp_path / 'r.json').write_text(json.dumps([{'name': 'a.jpg', 'relations': [relation]}]))
    with pytest.raises(ValueError, match=r'relation 0 of a\.jpg has the score .*: give each prediction a finite'):
        read_relations(tmp_path / 'r.json', scored=True)
