"""Role AP of a run on V-COCO: what a network that errs nowhere gets, and who is refused."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from jaxrec.data.readers.images.vcoco import compile_vcoco
from jaxrec.evaluation.segmentation.role_ap import role_ap
from jaxrec.models.sms.challenge.vcoco import judge_part, to_text
from jaxrec.runs.build import build
from tests.data.extracts import vcoco as extract
from tests.evaluation.segmentation.cases import found
from tests.models.sms.run_worlds import tiny


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Stands in for an experiment, of which the log alone is read."""
    folder = tmp_path_factory.mktemp('vcoco')
    extract.write(folder)
    files = (folder / name for name in ('vcoco.json', 'instances.json', 'images'))
    return SimpleNamespace(log=compile_vcoco(folder / 'log', *files, irregular='drop'))


def perfect(run, unseen=True):
    """Finds in a picture what is true of it; without `unseen`, deeds to what is in the picture alone."""
    reader, told = run.log.reader, {}
    for number in range(len(reader)):
        scene, agents = reader.with_agents(number)
        told[scene.image.tobytes()] = found(
            list(zip(scene.categories.tolist(), scene.masks, strict=True)),
            [(*deed, set(), 0.9) for deed in agents.deeds.tolist() if unseen or deed[1] >= 0],
            size=scene.image.shape[:2],
        )
    return lambda pictures: [told[picture.tobytes()] for picture in pictures]


def test_a_network_that_errs_nowhere_has_a_role_ap_of_one(run):
    judged = judge_part(run, perfect(run, unseen=False), 'train')
    assert len(judged) == 24
    lines = to_text(judged, run.log.names).splitlines()
    assert len(lines) == 2 + len(extract.RELATIONS) and lines[-1].split()[:2] == ['role', 'AP']
    whole = to_text(judge_part(run, perfect(run), 'train'), run.log.names)
    assert whole.splitlines()[-1].split()[2:] == ['1.0000', '1.0000']
    # Of deeds to what is not in the picture a network that always names an object finds none.
    assert float(lines[-1].split()[2]) < 1


def test_boxes_far_off_are_worth_nothing(run):
    find = perfect(run)
    moved = lambda pictures: [dataclasses.replace(each, masks=np.roll(each.masks, 9, 1)) for each in find(pictures)]
    judged = judge_part(run, moved, 'train')
    assert np.nanmean(role_ap(judged, len(extract.RELATIONS), 1)) < 0.3


def test_other_logs_and_empty_parts_are_refused(run, tmp_path):
    with pytest.raises(ValueError, match="has no images of part 'test': name another part"):
        judge_part(run, perfect(run), 'test')
    scenes = build(tiny('SMS', tmp_path))
    with pytest.raises(ValueError, match='is no log of V-COCO, to whose agents role AP belongs'):
        judge_part(scenes, lambda pictures: [], 'test')
