"""A folder of one's own images is checked, counted and drawn by one command."""

import dataclasses
import importlib
import re
import subprocess
import sys

import pytest

from jaxrec.data.images.record_writer import write_folder
from jaxrec.data.images.records import COUNTED, Findings, ImageFolder
from jaxrec.data.images.scene import Vocabulary
from jaxrec.models.sms.checks import BATCH, NETWORK, TARGETS, advice, mirrored_wrongly
from jaxrec.models.sms.custom import folder_config
from jaxrec.models.sms.images import drawing as showing
from jaxrec.models.sms.network.options import Network, read_network
from jaxrec.models.sms.task import network_of
from tests.conftest import REPOSITORY
from tests.data.images.worlds import VOCABULARY, random_scene


@pytest.fixture
def album(tmp_path):
    write_folder(tmp_path / 'album', VOCABULARY, [random_scene(seed) for seed in range(3)], ['train'] * 3)
    return tmp_path / 'album'


def test_one_broken_image_is_told_and_the_others_are_drawn(album, tmp_path):
    broken = album / 'images/000001.png'
    broken.write_bytes(broken.read_bytes()[:60])
    given = [f'--input={album}', f'--output={tmp_path / "drawn"}', '--images=2']
    command = [sys.executable, '-m', 'jaxrec', 'sms', 'check', *given]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2
    assert 'annotations.json images[1] (images/000001.png) file: ' in done.stderr
    assert f'1 problems in 1 of 3 images of {album}, see above: mend them' in done.stderr
    assert '3 images: 1 broken, 0 without people' in done.stdout and 'next:' not in done.stdout
    assert sorted(path.name for path in (tmp_path / 'drawn').iterdir()) == ['000000.png', '000002.png']


def test_nothing_is_drawn_into_the_folder_that_is_read(album):
    given = [f'--input={album}', f'--output={album / "images" / "drawn"}']
    command = [sys.executable, '-m', 'jaxrec', 'sms', 'check', *given]
    before = sorted(album.rglob('*'))
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2 and 'lies in the folder that is read: give another' in done.stderr
    assert sorted(album.rglob('*')) == before


def test_what_costs_something_is_told_before_what_comes_next():
    counts = dict.fromkeys(COUNTED, 0) | {'train': 5, 'validation': 1, 'of validation': 2}
    words = Vocabulary(('human', 'ball'), ('hold', 'upright on'), person='human')
    found = Findings([], counts, [], words, {})
    command = '--model=SMS --log=album --workdir=runs/mine'
    assert advice(found, 'album') == [f'next: jaxrec train {command} --set=train.batch_size=5']
    config = folder_config('', 'SMS')
    assert config.train.batch_size == BATCH
    assert (config.data.entities, config.data.relations) == (TARGETS.entities, TARGETS.relations)
    of_config = network_of(config.model)
    for field in ('keep', 'points', 'triplets', 'any_subject'):
        assert getattr(of_config, field) == getattr(NETWORK, field)
    counts.update({'of others': 2, 'turned': 3, 'train': 8})
    others, turned, following = advice(found, 'album')
    assert others.startswith('2 relations have a subject that is no human: they are learned with --set=')
    assert turned.startswith('3 pictures are marked by their camera as turned')
    assert following.endswith(f'{command} --set=model.any_subject=True')
    assert "'--log=my album'" in advice(found, 'my album')[-1]
    counts['relations in one image at most'] = folder_config('', 'SMS').data.relations
    assert len(advice(found, 'album')) == 3
    counts['relations in one image at most'] += 6
    assert advice(found, 'album')[2].endswith(
        'has 70 relations, of which a batch holds 64 and a network gives 100: train with '
        '--set=data.relations=70, else the others count as missed'
    )
    assert advice(found, 'album')[-1].endswith('--set=model.any_subject=True --set=data.relations=70')
    counts['relations in one image at most'] = 120
    more = '--set=data.relations=120 --set=model.points=120 --set=model.triplets=120'
    assert f'train with {more}, else' in advice(found, 'album')[2]
    assert Network(points=120, triplets=120)
    counts['entities in one image at most'] = 45
    crowded = advice(found, 'album')[2]
    assert crowded.endswith('train with --set=model.keep=45, else the others count as missed')
    counts['entities in one image at most'] = 60
    assert '--set=data.entities=60 --set=model.keep=60, else' in advice(found, 'album')[2]
    counts['entities in one image at most'] = NETWORK.keep
    counts['relations in one image at most'] = 0
    counts['of validation'] = 0
    assert advice(found, 'album')[2].startswith('no image for validation has a relation: recall is not a')
    counts['validation'] = 0
    assert advice(found, 'album')[-1].startswith('no image is for validation: give some of them that "split"')


def test_names_of_sides_that_a_mirror_leaves_are_told():
    counts = dict.fromkeys(COUNTED, 0) | {'train': 9, 'validation': 1, 'of validation': 2}
    parts = ('left hand', 'right hand', 'l', 'left_eye', 'right_eye', 'left knee')
    words = Vocabulary(
        ('person', 'left shoe', 'leftovers'),
        ('left of', 'hold', 'right of'),
        parts,
        mirrored=(('left hand', 'right hand'),),
    )
    told = advice(Findings([], counts, [], words, {}), 'album')
    assert [line.split(' say left or right')[0] for line in told[:3]] == [
        'parts left_eye, right_eye, left knee', 'entities left shoe', 'relations left of, right of',
    ]  # fmt: skip
    assert ' and stand in no pair of "mirrored"' in told[0] and len(told) == 4
    assert all(line.count('--set=data.augment.flip=0') == 1 for line in told)
    assert folder_config('', 'SMS').data.augment.flip == 0.5


@pytest.mark.parametrize(
    'pair', [('LEFT HAND', 'RIGHT HAND'), ('L_hand', 'R_hand'), ('lefthand', 'righthand'), ('hand l', 'hand r')]
)
def test_sides_are_told_however_they_are_written(pair):
    words = lambda **more: Vocabulary(('person',), ('hold', 'upright on'), (*pair, 'lip', 'rib'), **more)
    (told,) = mirrored_wrongly(words())
    assert told.text.startswith(f'parts {pair[0]}, {pair[1]} say left or right and stand in no pair')
    assert not mirrored_wrongly(words(mirrored=(pair,)))


def test_all_relations_are_drawn_and_large_pictures_made_small(album, tmp_path, monkeypatch):
    records, drawn = ImageFolder(album), []
    monkeypatch.setattr(showing, 'draw', lambda image, scene, words, limit: drawn.append((image.shape, limit)) or image)
    showing.show_folder(records, [0, 2], tmp_path)
    showing.show_folder(records, [0], tmp_path, largest=16)
    first, third = records.scene(0), records.scene(2)
    height, width = first.image.shape[:2]
    assert width > height and [limit for _, limit in drawn] == [
        len(first.relations), len(third.relations), len(first.relations),
    ]  # fmt: skip
    assert [size for size, _ in drawn] == [
        first.image.shape, third.image.shape, (round(16 * height / width), 16, 3),
    ]  # fmt: skip


@pytest.mark.parametrize('file', ['pic', 'vcoco', 'scenes', 'photographs'])
def test_a_size_is_chosen_by_a_flag_and_what_the_file_says_stays(file):
    config = importlib.import_module(f'configs.sms.{file}').get_config('SMS')
    said = {name for name in config.model if name not in ('size', 'weights')}
    of_file, config.model.size = network_of(config.model), 'tiny'
    tiny = dataclasses.asdict(network_of(config.model))
    for name, value in dataclasses.asdict(read_network({'size': 'tiny'})).items():
        assert tiny[name] == (getattr(of_file, name) if name in said else value), name
    assert set(config.data) >= {'entities', 'relations', 'mask_stride', 'image_size'}


def test_what_is_advised_can_be_done():
    """Every flag that the pages and messages of SMS name is one of the config that they name it for."""
    texts = [
        path.read_text() for part in ('cli', 'models') for path in (REPOSITORY / 'jaxrec' / part / 'sms').rglob('*.py')
    ]
    flags = {flag for text in texts for flag in re.findall(r'--(?:config\.|set=)([a-z_.]+[a-z_])', text)}
    many = {f'{name} in one image at most': 999 for name in ('entities', 'relations')}
    counts = dict.fromkeys(COUNTED, 1) | many
    words = Vocabulary(('person', 'left shoe'), ('left of',), ('left hand',))
    flags |= set(re.findall(r'--set=([a-z_.]+)=', advice(Findings([], counts, [], words, {}), 'album')[-1]))
    wanted = {'model.any_subject', 'data.augment.flip', 'train.batch_size', 'data.entities', 'data.relations'}
    assert wanted | {'model.keep', 'model.points', 'model.triplets'} <= flags
    config, options = (
        folder_config('album', 'SMS'),
        {field.name for field in dataclasses.fields(Network)} | {'weights'},
    )
    for flag in flags:
        section = config
        if flag.startswith('model.'):
            assert flag.removeprefix('model.') in options, flag
            continue
        for key in flag.split('.'):
            assert key in section, flag
            section = section[key]
