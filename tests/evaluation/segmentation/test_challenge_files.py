"""Predictions in the challenge's own files, judged as it judges them, against the independent slow judge."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from jaxrec.data.readers.images.pic import PicScenes
from jaxrec.evaluation.relation_segmentation import evaluate_challenge
from jaxrec.evaluation.segmentation import challenge_files
from jaxrec.evaluation.segmentation.challenge_files import PicPredictions
from jaxrec.evaluation.segmentation.found import Found
from tests.data.extracts import pic as extract
from tests.oracles import pic as files_oracle
from tests.oracles import relation_segmentation as oracle

SIZE, GEOMETRIC = (10, 12), {0, 1, 3, 12, 23, 24}


def confuse(root):
    """What a list of relations may hold: one twice, one of an entity with itself, one of no pixel."""
    path = root / 'relations_train.json'
    there = lambda entry: (root / 'instance' / entry['name']).with_suffix('.png').exists()
    entries = [entry for entry in json.loads(path.read_text()) if there(entry)]
    for n, entry in enumerate(entries):
        if relations := entry['relations']:
            first = relations[0]
            relations += [first] * (n % 3)
            relations.append(first | {'object': first['subject']})
            relations.append(first | {'object': 100})
    entries[1]['name'] = entries[1]['name'].replace('00001', '02278')  # known to be broken, yet counted
    for kind in ('instance', 'semantic'):
        (root / kind / 'outdoor_00001.png').rename(root / kind / 'outdoor_02278.png')
    path.write_text(json.dumps(entries))


def predict(root, folder, **options):
    """Predictions: the truth with pixels changed, numbers of its own, relations guessed; an absent number."""
    draw = np.random.default_rng(1)
    entries = json.loads((root / 'relations_train.json').read_text())
    for kind in ('instance', 'semantic'):
        shutil.copytree(root / kind, folder / kind)
    for path in sorted((folder / 'instance').iterdir()):
        numbers = np.array(Image.open(path))
        noise = draw.random(numbers.shape) < 0.06
        Image.fromarray(np.where(noise, 0, np.where(numbers > 0, numbers + 40, 0)).astype(np.uint8)).save(path)
    for entry in entries:
        for relation in entry['relations']:
            for key in ('subject', 'object'):
                relation[key] += 40
            relation['relation'] = int(draw.integers(1, 31)) if draw.random() < 0.3 else relation['relation']
            relation['score'] = float(draw.integers(1, 5))
        entry['relations'].append({'subject': 200, 'object': 41, 'relation': 2, 'score': 9})
    (folder / 'relations_train.json').write_text(json.dumps(entries))
    return PicPredictions(
        PicScenes(root, size=SIZE, images=False, **options),
        folder / 'relations_train.json', folder / 'instance', folder / 'semantic',
    )  # fmt: skip


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp('challenge')
    root = extract.write(folder / 'PIC')
    return root, folder / 'found', predict(root, folder / 'found')


def plain(scene, is_truth, scores):
    """An image of the files as the slow judge wants it; entities that no pixel is of are empty."""
    numbers = sorted({*scene['entities'], *(n for r in scene['relations'] for n in r[:2])})
    entities = [scene['entities'].get(n, (-1, set())) for n in numbers]
    entities = [(category, frozenset(pixels)) for category, pixels in entities]
    relations = [(numbers.index(s), numbers.index(o), kind - 1, frozenset()) for s, o, kind in scene['relations']]
    if is_truth:
        return {'truth': entities, 'relations': relations}
    return {'found': entities, 'triplets': [(*r, score) for r, score in zip(relations, scores, strict=True)]}


@pytest.fixture(scope='module')
def confused(tmp_path_factory):
    folder = tmp_path_factory.mktemp('confused')
    root = extract.write(folder / 'PIC')
    confuse(root)
    return root, folder / 'found', predict(root, folder / 'found', skip=(), every=True)


def test_every_relation_counts_as_the_script_counts_it(confused):
    root, _, predictions = confused
    truth, listed = predictions.truth, json.loads((root / 'relations_train.json').read_text())
    assert [len(truth[n].relations) for n in range(len(truth))] == [len(e['relations']) for e in listed]
    with pytest.raises(ValueError, match='joins entity 6 with itself: mend it'):
        PicScenes(root, images=False)[0]
    assert len(PicScenes(root, images=False)) == len(truth) - 1
    entry = listed[2]['relations']
    assert entry.count(entry[0]) == 3  # if it is found, so are both others
    found = files_oracle.scenes(root)
    assert sum(100 in relation[:2] for scene in found for relation in scene['relations']) > 20


@pytest.mark.parametrize('which', ['made', 'confused'])
def test_the_metric_from_files_is_that_of_the_slow_judge(which, request):
    root, folder, predictions = request.getfixturevalue(which)
    entries = json.loads((folder / 'relations_train.json').read_text())
    scores = {entry['name']: [r['score'] for r in entry['relations']] for entry in entries}
    images = [
        plain(truth, True, None) | plain(guess, False, scores[guess['name']])
        for truth, guess in zip(
            files_oracle.scenes(root, size=SIZE), files_oracle.scenes(folder, size=SIZE), strict=True
        )
    ]
    found = evaluate_challenge(predictions, GEOMETRIC, 30)
    for rule in ('official', 'strict'):
        expected, final = oracle.challenge(images, GEOMETRIC, range(30), rule == 'strict')
        assert found[rule].final == pytest.approx(float(final), abs=1e-12) and 0.1 < final < 0.9
        for t, (geometric, other) in expected.items():
            assert found[rule].geometric[float(t)] == pytest.approx(float(geometric), abs=1e-12)
            assert found[rule].other[float(t)] == pytest.approx(float(other), abs=1e-12)


def test_an_absent_number_keeps_its_place(made):
    _, _, predictions = made
    found = predictions.found('indoor_00000.jpg')
    best = int(found.triplet_scores.argmax())
    subject = found.triplets[best, 0]
    assert found.categories[subject] == -1 and not found.masks[subject].any()


def test_scores_keep_their_order_beyond_float32(made, tmp_path):
    root, folder, _ = made
    shutil.copytree(folder, tmp_path / 'found')
    path = tmp_path / 'found' / 'relations_train.json'
    entries = json.loads(path.read_text())
    scores = [1 - 1e-12 * (each % 4) if each % 2 else 1e-60 * each for each in range(6)]
    entries[0]['relations'] = [entries[0]['relations'][0] | {'score': score} for score in scores]
    path.write_text(json.dumps(entries))
    folders = [tmp_path / 'found' / kind for kind in ('instance', 'semantic')]
    read = PicPredictions(PicScenes(root, size=SIZE, images=False), path, *folders)
    found = read.found(entries[0]['name']).triplet_scores
    assert np.argsort(-found, kind='stable').tolist() == [1, 5, 3, 4, 2, 0] and len(set(found.tolist())) == 6


def change(key, value):
    def apply(folder):
        path = folder / 'relations_train.json'
        entries = json.loads(path.read_text())
        if key == 'twice':
            entries.append(entries[0])
        elif key == 'name':
            entries[0]['name'] = value
        else:
            entries[0]['relations'][0][key] = value
        path.write_text(json.dumps(entries))

    return apply


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (change('twice', None), r'lists indoor_00000\.jpg twice: join its predictions'),
        (change('name', 'other.jpg'), r'has no entry of indoor_00000\.jpg: give it one'),
        (change('relation', 31), 'is of kind 31; there are 1 to 30'),
        (change('score', None), 'has the score None: give each prediction a finite one'),
        (lambda folder: (folder / 'semantic' / 'indoor_00000.png').unlink(), r'indoor_00000\.png is missing'),
    ],
)
def test_files_that_cannot_be_used_are_refused(made, tmp_path, spoil, message):
    root, folder, _ = made
    shutil.copytree(folder, tmp_path / 'found')
    folder = tmp_path / 'found'
    spoil(folder)
    with pytest.raises(ValueError, match=message):
        PicPredictions(
            PicScenes(root, size=SIZE, images=False),
            folder / 'relations_train.json', folder / 'instance', folder / 'semantic',
        ).found('indoor_00000.jpg')  # fmt: skip


def test_what_is_covered_makes_room_for_the_next(tmp_path):
    """Entity 0 lies under 1, whose score is larger: its relation is no loss to those behind the limit."""
    masks = np.zeros((3, 4, 6), bool)
    masks[0, :2, :2], masks[1, :3, :3], masks[2, :, 4:] = True, True, True
    found = Found(
        masks,
        np.zeros(3, np.int32),
        np.array([0.5, 0.9, 0.7], np.float32),
        np.array([[0, 2, 0], [1, 2, 0], [2, 1, 0]], np.int32),
        np.array([0.9, 0.8, 0.7], np.float32),
        np.zeros((3, 0), bool),
        np.zeros((4, 6), np.uint8),
    )
    assert challenge_files._painted(found, 1, 'a.jpg')[2].tolist() == [0]  # entity 1 is not painted
    for limit, kept in ((2, [1, 2]), (3, [1, 2])):
        instance, rows, best = challenge_files._painted(found, limit, 'a.jpg')
        assert best.tolist() == kept and rows.tolist() == [1, 2]
        assert np.unique(instance).tolist() == [0, 1, 2]
