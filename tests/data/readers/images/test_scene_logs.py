"""Scene logs of the published sets of images: what cannot be used is counted and never met in a batch."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxrec.data.images.log import SceneLog
from jaxrec.data.readers.images.annotated_images import AnnotatedImages
from jaxrec.data.readers.images.pic import PicScenes
from jaxrec.data.readers.images.vcoco import VcocoScenes
from jaxrec.data.sources.from_config import make_source, open_log
from tests.data.extracts import pic, vcoco

CUT = 3  # the image whose picture is cut short


def pic_config(folder):
    root = pic.write(folder / 'PIC_2.0')
    arguments = {'data_dir': str(folder), 'split': 'train', 'irregular': 'drop', 'size': (24, 32)}
    return root / 'image', 'jaxrec.data.readers.images.pic:compile_pic', arguments


def vcoco_config(folder):
    vcoco.write(folder)
    arguments = {
        'annotations': {'train': str(folder / 'vcoco.json')},
        'masks': [str(folder / 'instances.json')],
        'images': str(folder / 'images'),
        'irregular': 'drop',
    }
    return folder / 'images', 'jaxrec.data.readers.images.vcoco:compile_vcoco', arguments


def unread(self, index):
    raise AssertionError(f'image {index} of {self} was read again')


@pytest.mark.parametrize('config_of', [pic_config, vcoco_config])
def test_a_log_holds_what_can_be_read(config_of, tmp_path, monkeypatch):
    pictures, compiler, arguments = config_of(tmp_path)
    sorted(pictures.rglob('*.jpg'))[CUT].write_bytes(b'cut')
    config = ConfigDict({'log': compiler, 'arguments': arguments})
    config.arguments.irregular = 'refuse'
    with pytest.raises(ValueError, match='cannot be read'):
        open_log(config, tmp_path / 'log')
    config.arguments.irregular = 'drop'
    log = open_log(config, tmp_path / 'log')
    assert isinstance(log, SceneLog)
    unread_one = set(range(len(log.reader))) - set(log.events['number'].tolist())
    assert len(unread_one) == 1 and log.manifest['dropped']['images that cannot be read'] == 1
    with pytest.raises(ValueError, match='cannot be read'):
        log.reader.scene(unread_one.pop())
    source = make_source(log, image_size=(24, 32), part='train', batch_size=8, remainder='pad')
    seen = np.concatenate([source[index]['host/event'] for index in range(len(source))])
    assert sorted(seen[seen >= 0].tolist()) == list(range(len(log)))
    for reader in (PicScenes, VcocoScenes):
        monkeypatch.setattr(reader, 'read', unread)
    assert open_log(config, tmp_path / 'log').manifest == log.manifest
    (source_file,) = [path for path in log.reader.sources() if path.name.startswith(('relations', 'vcoco'))]
    source_file.write_text(json.dumps(json.loads(source_file.read_text()), indent=1))
    with pytest.raises(ValueError, match='holds a log of other content or settings'):
        open_log(config, tmp_path / 'log')  # before any image is read
    with pytest.raises(AssertionError, match='was read again'):
        open_log(config, tmp_path / 'other')


def test_usable_images_are_in_order_whatever_was_read_before(tmp_path):
    scenes: AnnotatedImages = PicScenes(pic.write(tmp_path / 'PIC'))
    scenes.scene(7)
    assert scenes.usable() == list(range(30))
