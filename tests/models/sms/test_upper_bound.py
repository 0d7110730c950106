"""The ceiling of a world of scenes against hand-written loops over cells, and what has none."""

import numpy as np
import pytest

from jaxrec.data.simulators.scenes import VOCABULARY
from jaxrec.data.sources.splits import TEST
from jaxrec.models.sms.upper_bound import SHOWN, ceilings
from jaxrec.runs.build import build
from jaxrec.runs.comparison.tables import side_by_side
from tests.models.sms.run_worlds import tiny
from tests.oracles.ceilings import found_relations

PERSON = VOCABULARY.entities.index('person')
DECODED = {'any_subject': False, 'keep': 40, 'points': 60, 'triplets': 60, 'read_stride': 2, 'tries': 1}


@pytest.mark.parametrize(('shift', 'each'), [(1 / 3, False), (2 / 3, True), (0.8, False)])
def test_the_ceiling_is_what_cells_hold(shift, each, tmp_path):
    config = tiny('SMS', tmp_path)
    config.data.soft_masks = False  # the loops hold a cell or do not
    config.model.update(DECODED)
    config.model.update({'shift': shift, 'ends_by_relation': each, 'object_class': each})
    run = build(config)
    found = {where: evaluator.compute() for where, evaluator in ceilings(run, 'test').items()}
    scenes = [run.log.scene(row) for row in np.flatnonzero(np.asarray(run.log.events['part']) == TEST)]
    assert len(scenes) == 4 and tuple(found) == ('shifted', 'midpoint')
    for where, on_the_way in (('shifted', shift), ('midpoint', 1 / 2)):
        place = {'shift': on_the_way, 'centre': 'inside', 'ends_by_relation': each}
        for at in (25, 50, 75):
            told = [found_relations(scene, PERSON, at / 100, **place) for scene in scenes]
            want = np.mean([each.mean() for each in told if len(each)])
            assert found[where][f'recall_100_{at}'] == pytest.approx(want)
    assert found['shifted']['recall_100_50'] >= found['midpoint']['recall_100_50'] > 0
    shown = side_by_side({where: {name: told[name] for name in SHOWN} for where, told in found.items()})
    assert 'recall_100_50_parts' in shown


@pytest.mark.parametrize(
    ('row', 'places'), [('subject', {'subject': 0.0, 'midpoint': 0.5}), ('midpoint', {'midpoint': 0.5})]
)
def test_points_are_painted_where_the_config_has_them(row, places, tmp_path):
    config = tiny(row, tmp_path)
    config.data.soft_masks = False
    config.model.update(DECODED)
    run = build(config)
    found = {where: evaluator.compute() for where, evaluator in ceilings(run, 'test').items()}
    assert tuple(found) == tuple(places)
    scenes = [run.log.scene(row) for row in np.flatnonzero(np.asarray(run.log.events['part']) == TEST)]
    ends = {'centre': 'inside', 'ends_by_relation': run.setup.task.network.ends_by_relation}
    for where, shift in places.items():
        told = [found_relations(scene, PERSON, 0.5, shift=shift, **ends) for scene in scenes]
        want = np.mean([each.mean() for each in told if len(each)])
        assert found[where]['recall_100_50'] == pytest.approx(want)


def test_two_stages_have_no_points_to_paint(tmp_path):
    with pytest.raises(ValueError, match='TwoStageTask has no relation points to paint: give the row SMS'):
        ceilings(build(tiny('two-stage', tmp_path)), 'test')
