"""The prior of classes from a config to a table's figures: image options, names, true masks, the judge."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxrec.data.images.scene import UNKNOWN_PART
from jaxrec.data.images.targets import unpack_masks
from jaxrec.models.sms.comparison import KEPT, OF_MASKS, judge
from jaxrec.models.sms.images.finder import trained_of
from jaxrec.models.sms.prior import PerfectMasks
from jaxrec.runs.build import build
from jaxrec.runs.comparison.cells import Cell, run_cell
from jaxrec.runs.comparison.tables import side_by_side
from jaxrec.runs.fit import fit
from jaxrec.runs.restore import restore_model, score
from tests.models.sms.run_worlds import tiny


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('prior')
    run = build(tiny('prior', folder / 'logs'))
    fit(run, folder / 'run')
    return run, folder / 'run'


def test_a_config_gives_the_source_its_options(trained):
    run, _ = trained
    assert run.data['image_size'] == 64 and run.data['stride'] == 4 and run.data['centre'] == 'inside'
    batch = run.source('train', shuffle=True)[0]
    assert batch['image'].shape == (4, 64, 64, 3)
    assert batch['entity/mask'].shape == (4, 20, 32, 32) and batch['relation/parts'].shape == (4, 24, 16)
    assert run.setup.task.vocabulary == run.log.names


def test_what_training_counts_is_what_scenes_hold(trained):
    run, workdir = trained
    state, step = restore_model(run, workdir)
    assert step == 3
    want = np.zeros((16, 16, 12))
    for row in range(12):  # all training scenes, once
        scene = run.log.scene(row)
        for subject, target, relation in scene.relations.tolist():
            want[scene.categories[subject], scene.categories[target], relation] += 1
    np.testing.assert_array_equal(state.model_state['relation'], want)


def test_masks_are_perfect_and_the_rest_is_not(trained):
    run, workdir = trained
    evaluator, _ = score(run, workdir)
    found = evaluator.compute()
    assert found['images'] == 4 and found['entity_ap'] == pytest.approx(1) and found['part_miou'] == 1
    assert found['error_missed_entity'] == 0 and found['recall_100_75'] == found['recall_100_25'] > 0
    assert found['recall_G_50'] < 1
    shown = side_by_side({'prior': found, 'again': found}).splitlines()
    assert len(shown) == 1 + len(found) and shown[0].split() == ['prior', 'again']
    assert shown[1 + list(found).index('images')].split() == ['images', '4.0000', '4.0000']


def test_the_judge_tells_what_the_table_shows(trained):
    run, workdir = trained
    state, evaluator = restore_model(run, workdir)[0], score(run, workdir)[0]
    told = judge(run, state, evaluator)
    # It looks at no image: true masks and parts are shown.
    assert set(told) <= set(KEPT) - set(OF_MASKS) and 'fps' not in told
    assert all(map(math.isfinite, told.values())) and json.dumps(told, allow_nan=False)
    assert told['recall_G_50'] == evaluator.compute()['recall_G_50']


@pytest.mark.slow
def test_the_judge_of_a_network_tells_of_its_masks_and_its_speed(tmp_path):
    run = build(tiny('boxes', tmp_path / 'logs'))
    fit(run, tmp_path / 'run')
    evaluator, step = score(run, tmp_path / 'run')
    told = judge(run, restore_model(run, tmp_path / 'run', step)[0], evaluator)
    assert {'entity_ap', 'part_miou', 'fps', 'recall_100_50'} <= set(told) <= {*KEPT, 'fps'}
    assert told['fps'] > 0 and told['entity_ap'] == evaluator.compute()['entity_ap'] < 1


@pytest.mark.slow
def test_a_cell_that_only_counts_is_not_asked_whether_it_is_trained(tmp_path):
    config = tiny('prior', tmp_path / 'logs')
    base, row = (
        ConfigDict({key: config[key] for key in keys})
        for keys in (('features', 'data', 'train', 'mesh'), ('task', 'model'))
    )
    result = run_cell(Cell(tmp_path / 'cell', base, row, 0, {}, test=False), None)
    assert result['parameters'] == 0 and 'trained' not in result


def test_the_evaluator_wants_full_masks(trained):
    run, _ = trained
    batch = run.source('validation')[0]
    assert unpack_masks(batch['host/mask'], 64).shape == (4, 20, 64, 64)
    with pytest.raises(ValueError, match="the batch has no 'host/mask': evaluate host batches"):
        PerfectMasks(None).add({'valid': batch['valid']}, {})


def test_a_prior_finds_nothing_in_pictures(trained):
    run, workdir = trained
    with pytest.raises(ValueError, match=r'PriorTask on .* finds nothing in pictures: name a network'):
        trained_of(run, restore_model(run, workdir)[0])


def test_an_image_size_is_wanted(tmp_path):
    config = tiny('prior', tmp_path)
    del config.data.image_size
    with pytest.raises(ValueError, match='image_size None with stride 4: give a multiple of the stride'):
        build(config).source('train')


def test_images_without_parts_are_counted_and_kept(tmp_path):
    """Checkpoints hold no array without elements."""
    run = build(tiny('prior', tmp_path / 'logs'))
    words = dataclasses.replace(run.log.names, parts=(), mirrored=())
    task = dataclasses.replace(run.setup.task, vocabulary=words)
    batch = run.source('train', shuffle=True)[0]
    batch['relation/parts'] = batch['relation/parts'][..., :0]
    batch['part'] = np.full_like(batch['part'], UNKNOWN_PART)
    params, state = task.init(jax.random.key(0), batch)
    _, (_, after) = task.loss(params, state, {}, batch, jax.random.key(0))
    assert all(array.size for array in jax.tree.leaves(after)) and after['relation'].sum() > 0
    found = task.predict(params, after, {}, batch)
    assert found['triplet/parts'].shape[-1] == 0 and (found['triplet/score'] > 0).any()
