"""The challenge's metric of a run by way of its files: no error, masks that overlap, what is refused."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from configs.sms.pic import get_config
from jaxrec.data.readers.images.pic import PicScenes, compile_pic
from jaxrec.data.readers.images.pic_lists import GEOMETRIC, RELATIONS
from jaxrec.evaluation.segmentation.challenge_files import write_predictions
from jaxrec.models.sms.challenge.pic import find_all, judge_files, open_split, to_text
from jaxrec.runs.build import build
from tests.data.extracts import pic as extract
from tests.evaluation.segmentation.cases import box, found
from tests.models.sms.run_worlds import tiny

NAMES = ('human', 'ball', 'tree')
HUMAN, BALL, TREE = range(3)


def of_log(folder, name='log', **options):
    """Stands in for an experiment, of which the log alone is read."""
    return SimpleNamespace(log=compile_pic(folder / name, folder / 'PIC', 'train', **options))


def truthful(pictures):
    """Finds in a picture what is true of it."""
    told = {}
    for scene in pictures:
        told[scene.image.tobytes()] = found(
            list(zip(scene.categories.tolist(), scene.masks, strict=True)),
            [(*relation, set(), 0.5) for relation in scene.relations.tolist()],
            size=scene.image.shape[:2],
        )
    return lambda images: [told[image.tobytes()] for image in images]


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp('challenge')
    extract.write(folder / 'PIC')
    return folder


def judged(run, output):
    split = open_split(run, 'train')
    images = find_all(split.pictures, truthful(split.pictures))
    written = write_predictions(output, images, split.pictures)
    return split, written, judge_files(split.truth, written)


def test_a_network_that_errs_nowhere_has_all(made, tmp_path):
    split, written, scores = judged(of_log(made), tmp_path / 'out')
    assert scores['official'].final == scores['strict'].final == 1.0
    assert [place.name for place in written] == ['relations.json', 'instance', 'semantic']  # as the script asks
    listed = json.loads(written.relations.read_text())
    assert [entry['name'] for entry in listed] == split.truth.names and len(listed) == extract.IMAGES
    assert Image.open(written.instance / 'indoor_00000.png').size == extract.SIZE[::-1]
    lines = to_text(scores, split.truth.vocabulary).splitlines()
    assert lines[-2:] == ['official: 1.0000', 'strict: 1.0000'] and lines[1].split()[-3:] == ['1.0000'] * 3
    assert sum(line.startswith('  ') and line.endswith('1.0000') for line in lines) > 20  # relations
    # What only others leave out counts, and what else is to be left out is named.
    skipped = open_split(of_log(made), 'train', ['indoor_00000', '10002'])
    assert len(skipped.truth) == len(skipped.pictures) == extract.IMAGES - 2
    assert skipped.truth.dropped == {'images known to be broken': 3}


def test_names_that_the_network_lacks_are_missed(made, tmp_path):
    kinds = ('talk', 'hold', 'next to', 'on', 'look')
    run = of_log(made, 'few', entities=NAMES, relations=kinds, category='majority')
    split, written, scores = judged(run, tmp_path / 'out')
    assert len(split.truth.vocabulary.relations) == 30 and 0 < scores['official'].final < 0.9
    values = [np.unique(np.array(Image.open(file))) for file in written.semantic.iterdir()]
    assert set(np.concatenate(values).tolist()) == {0, extract.HUMAN, extract.BALL, extract.TREE}
    told = {r['relation'] for entry in json.loads(written.relations.read_text()) for r in entry['relations']}
    assert told == {split.truth.vocabulary.relations.index(kind) + 1 for kind in kinds}


def test_the_lists_of_the_challenge_have_both_groups_of_its_metric():
    relations = {text: set(get_config(text).data.arguments.relations) for text in ('SMS', 'SMS,challenge')}
    assert not relations['SMS'] & set(GEOMETRIC[2]) and len(relations['SMS']) == 23
    assert relations['SMS,challenge'] == set(RELATIONS[2]) > set(GEOMETRIC[2])
    assert get_config('boxes,challenge').model.masks is False
    with pytest.raises(ValueError, match="after the row stands 'all': give nothing, or one of"):
        get_config('SMS,all')


def test_pictures_that_cannot_be_read_are_counted(tmp_path, caplog):
    extract.spoil(extract.write(tmp_path / 'PIC'))
    split, written, scores = judged(of_log(tmp_path, irregular='drop'), tmp_path / 'out')
    # Of the four one has sound masks, so the truth holds it.
    assert len(json.loads(written.relations.read_text())) == extract.IMAGES
    assert len(list(split.truth)) == extract.IMAGES - 3 and 0.9 < scores['official'].final < 1
    assert sum('nothing is found in' in record.message for record in caplog.records) == 4


def test_the_surer_mask_lies_above(made, tmp_path):
    names = PicScenes(made / 'PIC', entities=NAMES, images=False)
    whole, corner = box(0, 0, 4, 4), box(0, 0, 2, 2)
    guessed = found(
        [(HUMAN, whole), (BALL, corner), (TREE, corner), (BALL, box(6, 6, 0, 0)), (BALL, box(6, 6, 1, 1))],
        [
            (0, 1, 4, set(), 0.4),
            (0, 2, 4, set(), 0.9),  # covered by the ball: the next ones take its place
            (0, 3, 4, set(), 0.8),  # without a pixel
            (0, -1, 4, set(), 0.7),
            (1, 0, 3, set(), 0.6),
            (0, 4, 3, set(), 0.1),
        ],
        scores=[0.5, 0.9, 0.8, 1.0, 1.0],
    )
    written = write_predictions(tmp_path, [('a.jpg', guessed)], names, limit=2)
    (entry,) = json.loads(written.relations.read_text())
    instance, semantic = (np.array(Image.open(place / 'a.png')) for place in written[1:])
    human, ball = instance[3, 3], instance[0, 0]
    assert (semantic[3, 3], semantic[0, 0], semantic[7, 7]) == (extract.HUMAN, extract.BALL, 0)
    assert (instance == human).sum() == 12 and (instance == ball).sum() == 4 and len(np.unique(instance)) == 3
    told = [(r['subject'], r['object'], r['relation']) for r in entry['relations']]
    assert told == [(ball, human, 4), (human, ball, 5)]
    assert [r['score'] for r in entry['relations']] == pytest.approx([0.6, 0.4])


def test_what_is_refused(made, tmp_path):
    names = PicScenes(made / 'PIC', entities=NAMES, images=False)
    many = found([(HUMAN, box(0, 0, 1, 1))] * 300, [(n, n + 1, 0, set(), 0.5) for n in range(299)])
    with pytest.raises(ValueError, match=r'a\.jpg: 300 entities, but a PNG numbers 255: give a smaller'):
        write_predictions(tmp_path, [('a.jpg', many)], names, limit=300)
    assert not (tmp_path / 'relations.json').exists()
    with pytest.raises(ValueError, match=r'is what the set is read from: give predictions another folder'):
        write_predictions(made / 'x' / '..' / 'PIC', [], names)
    with pytest.raises(ValueError, match=r'instance is what the set is read from'):
        write_predictions(made / 'PIC', [], names)
    (tmp_path / 'semantic').mkdir(exist_ok=True)
    (tmp_path / 'semantic' / 'of_before.png').touch()
    with pytest.raises(ValueError, match=r'semantic/of_before\.png is of no image that is judged: give'):
        write_predictions(tmp_path, [], names)
    scenes = build(tiny('SMS', tmp_path))
    with pytest.raises(ValueError, match='is no log of Person in Context, to which the metric belongs'):
        open_split(scenes)


def test_a_picture_that_went_missing_is_refused(tmp_path):
    extract.write(tmp_path / 'PIC')
    pictures = open_split(of_log(tmp_path), 'train').pictures
    (tmp_path / 'PIC' / 'image' / pictures.names[0]).unlink()
    with pytest.raises(ValueError, match=r'indoor_00000\.jpg is missing: put the file there'):
        next(find_all(pictures, lambda images: []))
