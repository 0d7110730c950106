"""Pictures in, overlays and JSON out; one bad file among them; scenes drawn beside their truth."""

import dataclasses
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from jaxrec.data.images.geometry import unfit
from jaxrec.data.images.pixels import read_picture, rle_decode
from jaxrec.data.sources.behaviour_source import make_loader
from jaxrec.evaluation.segmentation.found import NOTHING, Found, truth_of
from jaxrec.models.sms.images import finder as looking
from jaxrec.models.sms.images.album import Limits, apart_from, look, pictures_of
from jaxrec.models.sms.images.drawing import show
from jaxrec.models.sms.images.examples import read_examples
from jaxrec.models.sms.images.finder import image_size, make_finder, names_of, read_trained, surest, trained_of
from jaxrec.models.sms.weights.state_transfer import Description, load_network, save_network
from jaxrec.runs.build import build
from jaxrec.runs.fit import start_from
from jaxrec.runs.run import Run
from jaxrec.runs.workdir import claim, open_checkpoints, table_rows
from jaxrec.training.state import init_state
from tests.conftest import REPOSITORY
from tests.models.sms.run_worlds import tiny
from tests.models.sms.scenes import draw


@pytest.fixture(scope='module')
def untrained(tmp_path_factory):
    """A workdir whose checkpoint holds drawn parameters: what is found matters less here than that it is."""
    folder = tmp_path_factory.mktemp('sms')
    run = build(tiny('SMS', folder / 'logs', schedule={}))
    source, workdir = run.source('train', shuffle=True), folder / 'run'
    workdir.mkdir()
    claim(workdir, run.config)
    example = run.example(source)
    params, model_state = draw(run.setup.task, example)
    with pytest.MonkeyPatch.context() as patch:  # modules' own draws take long to compile
        patch.setattr(type(run.setup.task), 'init', lambda task, rng, batch: (params, model_state))
        state = init_state(run.setup, example, 0)
    loader = make_loader(source)
    with open_checkpoints(run, workdir) as checkpoints:
        checkpoints.save(state, {}, table_rows=table_rows(run), data=loader, metrics={run.train['monitor']: 0.5})
    loader.close()
    return run, workdir, state


@pytest.fixture(scope='module')
def album(tmp_path_factory):
    """A tall JPEG, a grey one, a PNG with transparency, and one cut short."""
    folder = tmp_path_factory.mktemp('album')
    pixels = np.random.default_rng(0).integers(0, 256, (90, 60, 3), np.uint8)
    Image.fromarray(pixels).save(folder / 'a.jpg')
    Image.fromarray(pixels[..., 0]).save(folder / 'b.JPEG')
    Image.fromarray(np.dstack([pixels, pixels[..., :1]])[:50]).save(folder / 'c.png')
    (folder / 'd.png').write_bytes((folder / 'c.png').read_bytes()[:300])
    (folder / 'notes.txt').write_text('no picture')
    return folder


@pytest.fixture(scope='module')
def find(untrained):
    run, _, state = untrained
    return make_finder(trained_of(run, state), 2)


@pytest.mark.slow
def test_devices_need_not_divide_the_pictures(untrained, album, tmp_path):
    script = 'import jax; jax.config.update("jax_num_cpu_devices", 8); from absl import app; '
    script += 'from jaxrec.cli.sms import predict as m; app.run(m.main)'
    command = [sys.executable, '-c', script, f'--workdir={untrained[1]}', '--mesh=8,1', '--batch_size=3']
    command += [f'--input={album / "a.jpg"}', f'--output={tmp_path / "out"}']
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'relations in 1 pictures by step 0' in done.stdout


def test_overlays_are_not_written_among_the_pictures(album, tmp_path):
    apart_from(tmp_path, pictures_of([str(album)]))
    with pytest.raises(ValueError, match=r'holds a\.jpg, which is read: give another folder'):
        apart_from(album / 'x' / '..', pictures_of([str(album / 'a.jpg')]))


def test_full_size_is_for_one_picture_at_a_time(find, monkeypatch):
    enlarged = []
    monkeypatch.setattr(looking, 'unfit', lambda maps, sides: enlarged.append(sides) or unfit(maps, sides))
    sizes = [(90, 60), (50, 60), (64, 64)]
    found = find([np.zeros((*size, 3), np.uint8) for size in sizes])
    assert not enlarged
    for number, size in enumerate(sizes):
        assert next(found).masks.shape[1:] == size
        assert enlarged == [one for one in sizes[: number + 1] for _ in ('masks', 'parts')]
    assert next(found, None) is None


def test_a_folder_with_one_bad_file_is_finished(untrained, find, album, tmp_path):
    run, out = untrained[0], tmp_path / 'out'
    looked = look(find, pictures_of([str(album)]), out, run.log.names, Limits(0.0, 5, 2, 45), 2)
    assert looked.pictures == 3 and looked.relations > 0
    assert len(looked.broken) == 1 and f'{album / "d.png"} cannot be read' in looked.broken[0]
    names = sorted(file.name for file in out.iterdir())
    assert names == sorted(f'{n}.{kind}' for n in ('a.jpg', 'b.JPEG', 'c.png') for kind in ('json', 'png'))
    for name, size in (('a.jpg', (90, 60)), ('b.JPEG', (90, 60)), ('c.png', (50, 60))):
        told = json.loads((out / f'{name}.json').read_text())
        assert (told['name'], told['height'], told['width']) == (name, *size)
        assert told['entities'] and len(told['relations']) <= 5
        for entity in told['entities']:
            assert entity['category'] in run.log.names.entities and 0 <= entity['score'] <= 1
            assert rle_decode(entity['mask'], size, name).any()
        for relation in told['relations']:
            assert relation['relation'] in run.log.names.relations
            assert {relation['subject'], relation['object']} < set(range(len(told['entities'])))
        height, width = read_picture(out / f'{name}.png').shape[:2]
        assert height * size[1] == pytest.approx(width * size[0], rel=0.05)


def test_names_that_files_cannot_have_cost_their_picture_alone(untrained, find, tmp_path):
    pixels = np.zeros((20, 30, 3), np.uint8)
    odd, long = os.fsdecode(b'M\xfcller.png'), f'{"x" * 246}.png'  # no text; no room for .json
    for name in (odd, long, 'z.png'):
        Image.fromarray(pixels).save(tmp_path / name)
    looked = look(find, pictures_of([str(tmp_path)]), tmp_path / 'out', untrained[0].log.names)
    assert looked.pictures == 2 and len(looked.broken) == 1 and 'its name is too long' in looked.broken[0]
    assert {odd + '.json', odd + '.png', 'z.png.json', 'z.png.png'} == set(os.listdir(tmp_path / 'out'))
    assert json.loads((tmp_path / 'out' / f'{odd}.json').read_text())['name'] == 'M\\udcfcller.png'


@pytest.mark.slow
def test_the_main_names_what_it_leaves_out(untrained, album, tmp_path):
    command = [sys.executable, '-m', 'jaxrec', 'sms', 'predict', f'--workdir={untrained[1]}', '--mesh=1,1']
    command += [f'--input={album}', f'--output={tmp_path / "out"}']
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f'left out: {album / "d.png"} cannot be read' in done.stderr
    assert 'relations in 3 pictures by step 0' in done.stdout and '1 pictures left out' in done.stdout


@pytest.mark.slow
def test_a_network_is_written_for_other_classes_and_pictures(untrained, album, tmp_path):
    run, workdir, state = untrained
    file = tmp_path / 'network.npz'
    command = [sys.executable, '-m', 'jaxrec', 'sms', 'export', f'--workdir={workdir}', f'--output={file}']
    done = subprocess.run([*command, '--mesh=1,1'], cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f'the network of step 0 of {workdir}' in done.stdout
    words = run.setup.task.vocabulary
    given = state.params, state.model_state
    new = jax.tree.map(np.zeros_like, given)
    *found, known = load_network(file, run.setup.task.network, words, *new)
    jax.tree.map(np.testing.assert_array_equal, tuple(found), given)
    assert known['relations'] == len(words.relations)
    predict = [sys.executable, '-m', 'jaxrec', 'sms', 'predict', f'--network={file}', '--mesh=1,1']
    done = subprocess.run(
        [*predict, f'--input={album / "a.jpg"}', f'--output={tmp_path / "out"}'],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert f'relations in 1 pictures by {file}' in done.stdout


def test_a_file_sees_what_its_run_sees(untrained, find, album, tmp_path):
    run, _, state = untrained
    task, file = run.setup.task, tmp_path / 'network.npz'
    save_network(file, Description(task.network, task.vocabulary, image_size(run)), state.params, state.model_state)
    read = read_trained(file, run.setup.mesh)
    assert (read.setup.task.network, read.names, read.size) == (task.network, run.log.names, (64, 64))
    pictures = [read_picture(album / name) for name in ('a.jpg', 'c.png')]
    for ours, theirs in zip(make_finder(read, 2)(pictures), find(pictures), strict=True):
        assert len(ours.triplets)
        jax.tree.map(np.testing.assert_array_equal, dataclasses.asdict(ours), dataclasses.asdict(theirs))


def test_bad_inputs_are_refused(album, tmp_path):
    for inputs, message in (
        (['nowhere.jpg'], r'nowhere\.jpg does not exist: give a picture or a folder of pictures'),
        ([tmp_path], 'is a folder without pictures: they end in'),
        ([album, album / 'a.jpg'], r"two inputs are called 'a\.jpg'"),
    ):
        with pytest.raises(ValueError, match=message):
            pictures_of([str(path) for path in inputs])


def some_found():
    masks = np.zeros((4, 6, 8), bool)
    masks[[0, 1, 2], [0, 1, 2]] = True  # the last entity is empty
    return Found(
        masks=masks,
        categories=np.arange(4, dtype=np.int32),
        scores=np.float32([0.9, 0.01, 0.02, 0.8]),
        triplets=np.int32([[0, 3, 0], [0, 2, 1], [1, 0, 2], [0, 1, 3]]),
        triplet_scores=np.float32([0.7, 0.3, 0.5, 0.05]),
        triplet_parts=np.eye(4, 5, dtype=bool),
        parts=np.zeros((6, 8), np.uint8),
    )


def test_the_surest_are_kept_with_what_they_join():
    kept = surest(some_found(), 0.1, 100)
    # The surest triplet joins an entity without a pixel; entity 2 stays for the third one's sake.
    assert kept.triplets.tolist() == [[1, 0, 2], [0, 2, 1]] and kept.categories.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(kept.triplet_parts, np.eye(4, 5, dtype=bool)[[2, 1]])
    few = surest(some_found(), 0.0, 2)
    assert few.triplets.tolist() == [[1, 0, 2]] and len(surest(some_found(), 0.95, 100).scores) == 0


def test_who_acts_on_nothing_stays_so():
    found = some_found()
    alone = dataclasses.replace(found, triplets=np.where([[0, 1, 0]], NOTHING, found.triplets).astype(np.int32))
    assert surest(alone, 0.1, 100).triplets.tolist() == [[0, NOTHING, 0], [1, NOTHING, 2], [0, NOTHING, 1]]


def seen(scene):
    """The truth as a network would tell it."""
    count = len(scene.relations)
    return Found(
        scene.masks, scene.categories, np.ones(len(scene.masks), np.float32), scene.relations,
        np.ones(count, np.float32), scene.relation_parts, np.where(scene.parts == 255, 0, scene.parts),
    )  # fmt: skip


def test_what_is_right_is_counted_beside_the_truth(untrained, tmp_path):
    run, _, _ = untrained
    batch = run.source('test')[0]
    scenes = iter([truth_of(batch, row) for row in range(3)])
    told = show(run, lambda pictures: [seen(next(scenes))], 'test', 3, tmp_path)
    count = [len(run.log.scene(16 + row).relations) for row in range(3)]
    assert told[:3] == [f'test {n}: {k} of {k} triplets wholly right' for n, k in enumerate(count)]
    assert told[3] == f'{sum(count)} of {sum(count)} triplets of 3 scenes are wholly right'
    assert sorted(file.name for file in tmp_path.iterdir()) == [f'test_{n:03d}.png' for n in range(3)]
    picture = read_picture(tmp_path / 'test_000.png')
    assert picture.shape[1] > 1.9 * (picture.shape[0] - 40)  # two beside each other


def test_examples_are_scenes_of_the_log_with_what_is_found_in_them(untrained, find):
    run, workdir, _ = untrained
    examples = read_examples(Run(workdir), 'test', 3)
    assert len(examples) == 3 and len(read_examples(Run(workdir), 'test', 9)) == 4  # all there are
    for row, (scene, found) in enumerate(examples):
        wanted = run.log.scene(16 + row)
        np.testing.assert_array_equal(scene.image, wanted.image)
        assert scene.relations.tolist() == wanted.relations.tolist()
        (alone,) = find([scene.image])
        np.testing.assert_allclose(found.triplet_scores, alone.triplet_scores, rtol=1e-4)
        assert found.masks.shape[1:] == scene.image.shape[:2] and len(found.triplets)


def test_what_no_batch_holds_is_counted_too(untrained, tmp_path):
    run, _, _ = untrained
    few = dataclasses.replace(run, data=run.data | {'relations': 1})
    batch = few.source('test')[0]
    scenes = iter([truth_of(batch, row) for row in range(2)])
    told = show(few, lambda pictures: [seen(next(scenes))], 'test', 2, tmp_path)
    count = [len(run.log.scene(16 + row).relations) for row in range(2)]
    assert min(count) > 1 and told[-1] == f'2 of {sum(count)} triplets of 2 scenes are wholly right'


def test_a_start_from_other_coordinates_is_refused(untrained):
    run, workdir, _ = untrained
    config = run.config.copy_and_resolve_references()
    config.model.divisor, config.train.init_from, config.train.schedule = 7.5, str(workdir), {}
    other = build(config)
    with pytest.raises(ValueError, match=r'another network: model\.divisor is 8\.0 there and 7\.5 here'):
        start_from(other, workdir, other.example(other.source('train', shuffle=True)))


def test_names_are_those_of_the_log(untrained):
    run, _, state = untrained
    assert names_of(run) is run.log.names
    (found,) = make_finder(trained_of(run, state))([run.log.scene(0).image])
    assert found.categories.max() < len(run.log.names.entities) and found.parts.shape == (64, 64)
