"""A folder of one's own images is checked, counted and drawn by one command."""

import subprocess
import sys

import numpy as np
import pytest

from experiments.sms.pictures.showing import show_folder
from jaxrec.data.images.pixels import read_picture
from jaxrec.data.images.record_writer import write_folder
from jaxrec.data.images.records import ImageFolder
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
    command = [sys.executable, '-m', 'experiments.sms.check', *given]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2
    assert 'annotations.json images[1] (images/000001.png) file: ' in done.stderr
    assert f'1 problems in 1 of 3 images of {album}, see above: mend them' in done.stderr
    assert '3 images: 1 broken, 0 without people' in done.stdout and 'next:' not in done.stdout
    assert sorted(path.name for path in (tmp_path / 'drawn').iterdir()) == ['000000.png', '000002.png']


def test_all_relations_are_drawn_and_large_pictures_made_small(album, tmp_path):
    records = ImageFolder(album)
    height, width = records.scene(0).image.shape[:2]
    show_folder(records, [0, 2], tmp_path / 'whole')
    show_folder(records, [0], tmp_path / 'small', largest=width // 2)
    whole, small = (read_picture(tmp_path / kind / '000000.png') for kind in ('whole', 'small'))
    assert np.ptp(whole, (0, 1)).any()
    ratio = height / width
    assert small.shape[0] / small.shape[1] == pytest.approx(whole.shape[0] / whole.shape[1], rel=0.05)
    assert whole.shape[0] / whole.shape[1] == pytest.approx(ratio, rel=0.01)
