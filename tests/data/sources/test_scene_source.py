"""Scene logs and their batches: pure functions of the index that travel to workers, own and simulated."""

import json
import pickle

import numpy as np
import pytest

from jaxrec.data.images import log as log_module
from jaxrec.data.images.augment import augment, read_augmentation
from jaxrec.data.images.geometry import fit
from jaxrec.data.images.log import FOLDER_READER, SceneLog, compile_scenes, own_images
from jaxrec.data.images.record_writer import write_folder
from jaxrec.data.images.records import ImageFolder
from jaxrec.data.images.targets import TargetOptions, encode
from jaxrec.data.sources.behaviour_source import make_loader
from jaxrec.data.sources.from_config import make_source, open_log, stored
from jaxrec.data.sources.scene_source import SceneSource
from tests.data.images.worlds import VOCABULARY, assert_same, random_scene

SPLITS = ['train'] * 5 + ['validation'] * 2 + ['test'] * 3
SETTINGS = {'image_size': (16, 24), 'part': 'train', 'batch_size': 2, 'entities': 6, 'relations': 9}


@pytest.fixture(scope='module')
def own(tmp_path_factory):
    """A log of ten images and the scenes in it."""
    folder = tmp_path_factory.mktemp('own')
    scenes = [random_scene(seed) for seed in range(10)]
    write_folder(folder / 'images', VOCABULARY, scenes, SPLITS)
    return own_images(folder / 'log', str(folder / 'images')), scenes


def test_a_log_knows_its_images(own):
    log, scenes = own
    assert isinstance(log, SceneLog) and len(log) == 10
    assert log.names == VOCABULARY
    assert log.events['part'].tolist() == [0] * 5 + [1] * 2 + [2] * 3
    assert log.manifest['counts']['entities'] == 50
    assert log.manifest['provenance'] == 'real'
    for row in range(10):
        assert_same(log.scene(row), scenes[row])
    again = own_images(log.folder, log.manifest['arguments']['folder'])
    assert again.manifest == log.manifest
    assert stored('', str(log.folder)).names == VOCABULARY
    assert pickle.loads(pickle.dumps(log)).names == VOCABULARY


def test_batches_are_the_encoded_scenes(own):
    log, scenes = own
    source = make_source(log, **SETTINGS, shuffle=False, remainder='pad')
    assert (source.examples, source.steps, len(source)) == (5, 3, 3)
    options = TargetOptions(4, 6, 9)
    for index, rows in enumerate(([0, 1], [2, 3], [4])):
        batch = source[index]
        for place, row in enumerate(rows):
            for name, array in encode(fit(scenes[row], (16, 24)), options, classes=3).items():
                np.testing.assert_array_equal(batch[name][place], array, err_msg=name)
    assert batch['valid'].tolist() == [1, 0] and batch['valid'].dtype == np.float32
    assert batch['host/event'].tolist() == [4, -1] and batch['host/event'].dtype == np.int64
    assert not batch['entity/valid'][1].any()


def test_parts_of_the_log_are_apart(own):
    seen = {}
    for part in ('train', 'validation', 'test'):
        source = make_source(own[0], **(SETTINGS | {'part': part, 'batch_size': 1}), shuffle=False)
        seen[part] = [int(source[i]['host/event'][0]) for i in range(len(source))]
    own_split = make_source(own[0], **SETTINGS, split={})
    assert own_split.examples == 5
    assert seen == {'train': [0, 1, 2, 3, 4], 'validation': [5, 6], 'test': [7, 8, 9]}


def test_another_split_may_be_asked_for(own):
    source = make_source(own[0], **SETTINGS, split={'kind': 'row_holdout', 'validation': 0.1, 'test': 0.2})
    assert source.examples == 7


def test_augmented_examples_are_those_of_seed_epoch_and_row(own):
    log, scenes = own
    source = make_source(log, **SETTINGS, epochs=2, seed=3, augment={'shift': 0.2})
    for index in (0, 3):
        batch = source[index]
        row = int(batch['host/event'][1])
        changed = augment(scenes[row], VOCABULARY, read_augmentation({'shift': 0.2}), 3, index // 2, row)
        expected = encode(fit(changed, (16, 24)), TargetOptions(4, 6, 9), judged=False)
        assert batch.keys() == {*expected, 'valid', 'host/event'}
        for name, array in expected.items():
            np.testing.assert_array_equal(batch[name][1], array, err_msg=name)
    still = make_source(log, **SETTINGS, shuffle=False, augment={'shift': 0.2})
    np.testing.assert_array_equal(still[0]['image'][0], fit(scenes[0], (16, 24)).image)


def test_a_source_travels_and_resumes(own):
    source = make_source(own[0], **SETTINGS, epochs=3, augment={})
    copy = pickle.loads(pickle.dumps(source))
    loader = make_loader(source)
    next(loader)
    state = loader.get_state()
    ahead = next(loader)
    loader.set_state(state)
    for other in (copy[1], next(loader)):
        assert other.keys() == ahead.keys()
        for name, array in ahead.items():
            np.testing.assert_array_equal(other[name], array, err_msg=name)
    loader.close()


def test_processes_share_a_batch(own):
    settings = SETTINGS | {'batch_size': 4}
    whole = make_source(own[0], **settings, seed=1, remainder='pad')
    shares = [
        make_source(own[0], **settings, seed=1, remainder='pad', process_index=p, process_count=2) for p in (0, 1)
    ]
    for index in range(2):  # the second batch holds one example, and the second process none of it
        for name, array in whole[index].items():
            joined = np.concatenate([share[index][name] for share in shares])
            np.testing.assert_array_equal(joined, array, err_msg=name)


def test_what_gets_too_small_is_counted(own):
    source = make_source(own[0], **(SETTINGS | {'image_size': 4, 'batch_size': 5}), shuffle=False)
    lost = [int((~fit(scene, (4, 4)).masks.any((1, 2))).sum()) for scene in own[1][:5]]
    assert sum(lost) > 0
    assert source[0]['host/dropped'][:, 0].tolist() == lost


def test_what_is_beyond_the_caps_is_counted(own):
    source = make_source(own[0], **(SETTINGS | {'entities': 3}), shuffle=False)
    assert (source[0]['host/dropped'][:, 0] == 2).all()


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'image_size': 30}, 'image_size 30 with stride 4: give a multiple of the stride'),
        ({'image_size': (16, 18)}, r'image_size \(16, 18\) with stride 4'),
        ({'image_size': (16, 16, 3)}, 'image_size'),
        ({'image_size': 'large'}, "image_size 'large'"),
        ({'stride': 0}, 'with stride 0'),
        ({'augment': {'zoom': 2}}, 'augment.zoom is not an option'),
        ({'label': {'kind': 'rating'}}, 'is a scene log, it has no features, labels or pairs: leave them out'),
        ({'features': {'user': ('user',)}}, 'is a scene log, it has no features'),
        ({'centre': 'top'}, "centre 'top' is unknown"),
        ({'part': 'dev'}, "part 'dev' is unknown"),
        (
            {'split': {'kind': 'by_column', 'column': 'part', 'test': (2,)}, 'part': 'validation'},
            r"""has no images of part 'validation': give some "split": "validation" in annotations\.json""",
        ),
        ({'history_length': 3}, 'is a scene log, whose batches have no history_length'),
    ],
)
def test_arguments_that_do_not_fit_are_refused(own, changes, message):
    with pytest.raises(ValueError, match=message):
        make_source(own[0], **(SETTINGS | changes))


def test_broken_images_are_refused_or_counted(tmp_path):
    write_folder(tmp_path / 'images', VOCABULARY, [random_scene(s) for s in range(4)], ['train'] * 4)
    (tmp_path / 'images/images/000001.png').write_bytes(b'')
    with pytest.raises(ValueError, match=r'images\[1\] \(images/000001.png\) file: .* cannot be read'):
        own_images(tmp_path / 'log', str(tmp_path / 'images'))
    log = own_images(tmp_path / 'log', str(tmp_path / 'images'), broken='skip')
    assert log.manifest['dropped'] == {'broken image': 1}
    assert log.events['number'].tolist() == [0, 2, 3]
    assert_same(log.scene(1), random_scene(2))
    with pytest.raises(ValueError, match="broken 'ignore' is unknown: use 'refuse' or 'skip'"):
        own_images(tmp_path / 'log', str(tmp_path / 'images'), broken='ignore')


def test_a_long_list_of_problems_is_cut(tmp_path):
    write_folder(tmp_path / 'images', VOCABULARY, [random_scene(0)] * 23, ['train'] * 23)
    for file in (tmp_path / 'images/images').iterdir():
        file.write_bytes(b'')
    with pytest.raises(ValueError, match='and 3 more'):
        own_images(tmp_path / 'log', str(tmp_path / 'images'))
    with pytest.raises(ValueError, match=r'all 23 images are broken: .*cannot be read'):
        own_images(tmp_path / 'log', str(tmp_path / 'images'), broken='skip')


def test_a_log_whose_images_changed_is_refused(tmp_path):
    write_folder(tmp_path / 'images', VOCABULARY, [random_scene(0), random_scene(1)], ['train'] * 2)
    log = own_images(tmp_path / 'log', str(tmp_path / 'images'))
    path = tmp_path / 'images/annotations.json'
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {'images': content['images'][:1]}))
    with pytest.raises(ValueError, match='knows image 1, but there are 1: delete the folder'):
        SceneLog(log.folder)
    path.write_text(json.dumps(content | {'symmetric': []}))
    with pytest.raises(ValueError, match='has other names than what it reads'):
        SceneLog(log.folder)
    with pytest.raises(ValueError, match='holds a log of other content or settings'):
        own_images(tmp_path / 'log', str(tmp_path / 'images'))


def test_own_images_are_not_read_again(tmp_path, monkeypatch):
    write_folder(tmp_path / 'images', VOCABULARY, [random_scene(s) for s in range(3)], ['train'] * 3)
    log = own_images(tmp_path / 'log', str(tmp_path / 'images'))
    monkeypatch.setattr(ImageFolder, 'read', None)
    assert own_images(log.folder, str(tmp_path / 'images')).manifest == log.manifest
    with pytest.raises(ValueError, match='holds a log of other content or settings'):
        own_images(log.folder, str(tmp_path / 'images'), broken='skip')
    with pytest.raises(ValueError, match='path is empty: name the folder of the images'):
        own_images(tmp_path / 'other', '')


def test_a_process_opens_a_reader_once_for_all_that_read(own, monkeypatch):
    folder = own[0].folder
    log = SceneLog(folder)
    sources = [make_source(log, **(SETTINGS | {'part': part})) for part in ('train', 'validation')]
    opened = []
    monkeypatch.setattr(ImageFolder, '__init__', lambda *_, **__: opened.append(1))
    assert all(source.log.reader is log.reader for source in sources)
    assert pickle.loads(pickle.dumps(sources[0])).log.reader is log.reader and not opened
    with pytest.raises(AttributeError):  # what is checked is opened anew
        SceneLog(folder)
    assert opened
    monkeypatch.undo()
    assert SceneLog(folder).reader is SceneLog(folder, check_ids=False).reader is not log.reader
    for number in range(3):
        manifest = log.manifest | {'fingerprint': str(number)}
        other = SceneLog(folder, check_ids=False)
        other.manifest = manifest
        assert other.reader is not log.reader
    assert len(log_module._READERS) == log_module.KEPT


def test_a_reader_of_a_folder_refuses_what_is_broken(tmp_path):
    write_folder(tmp_path / 'images', VOCABULARY, [random_scene(s) for s in range(3)], ['train'] * 3)
    arguments = {'folder': str(tmp_path / 'images')}
    assert len(compile_scenes(tmp_path / 'log', FOLDER_READER, arguments)) == 3
    (tmp_path / 'images/images/000001.png').write_bytes(b'')
    with pytest.raises(ValueError, match=r'images\[1\] .* cannot be read'):
        compile_scenes(tmp_path / 'other', FOLDER_READER, arguments)


def test_readers_are_named_by_their_import_path(tmp_path):
    with pytest.raises(ValueError, match='there is no module'):
        compile_scenes(tmp_path / 'log', 'jaxrec.data.images.nothing:Reader', {})


def test_simulated_scenes_are_a_log_too(tmp_path):
    config = {
        'log': 'jaxrec.data.simulators.scenes:simulate',
        'arguments': {'train': 4, 'validation': 2, 'test': 2, 'size': 64},
    }
    log = open_log(config, tmp_path / 'log')
    assert isinstance(log, SceneLog) and log.manifest['provenance'] == 'simulated'
    source = make_source(log, image_size=64, part='test', batch_size=2, shuffle=False)
    assert isinstance(source, SceneSource)
    assert source[0]['image'].shape == (2, 64, 64, 3)
    assert source[0]['relation/parts'].shape == (2, 64, 16)
