"""Sizes and switches: what a config may say, and what is refused by name; the rows of the tables build."""

import jax
import numpy as np
import pytest

from jaxrec.configurable import resolve
from jaxrec.models.sms import make_task
from jaxrec.models.sms.network.backbones import TRUNKS
from jaxrec.models.sms.network.options import SIZES, Network, read_network
from jaxrec.models.sms.presets import COMPARED, ROWS
from tests.models.sms.scenes import WORDS, make_batch


def test_sizes_are_defaults_that_a_config_changes():
    assert read_network({}) == Network() and Network().mask_weights == 169
    assert read_network({'point_hidden': 300}).point_width == 300 and Network().point_width == 256
    small = read_network({'size': 'small', 'neck': 48, 'mean': [0.5, 0.5, 0.5]})
    assert (small.trunk, small.neck, small.mean) == ('dla_small', 48, (0.5, 0.5, 0.5))
    assert [read_network({'size': size}).trunk for size in SIZES] == ['dla34', 'dla_small', 'dla_tiny']


def test_points_lie_where_the_name_says():
    fractions = [read_network({'relation_point': x}).fraction for x in ('midpoint', 'shifted', 'subject')]
    assert fractions == [0.5, 1 / 3, 0.0]
    assert read_network({'shift': 0.25}).fraction == 0.25


def test_a_trunk_is_made_thinner_in_steps_of_eight():
    assert TRUNKS['dla34'].scaled(0.5).widths == (8, 16, 32, 64, 128, 256)
    assert TRUNKS['resnet18'].scaled(0.3).widths == (16, 40, 80, 152)
    assert (TRUNKS['resnet_fine'].scaled(0.5).stem, TRUNKS['resnet_folded'].scaled(2).stem) == (16, 0)
    assert {name: trunk.coarsest for name, trunk in TRUNKS.items()} == {
        'dla34': 32, 'resnet18': 32, 'resnet50': 32, 'dla_small': 32, 'dla_tiny': 8,
        'resnet_folded': 16, 'resnet_fine': 16,
    }  # fmt: skip


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'size': 'huge'}, "model.size = 'huge' does not exist; choose one of"),
        ({'trunc': 'dla34'}, "model.trunc is not an option; did you mean 'trunk'"),
        ({'trunk': 'vgg'}, "model.trunk = 'vgg' does not exist; choose of"),
        ({'norm': 'layer'}, "model.norm = 'layer'"),
        ({'relation_point': 'object'}, "model.relation_point = 'object'"),
        ({'mask_stride': 1}, 'model.mask_stride = 1 does not exist'),
        ({'read_stride': 3}, 'model.read_stride = 3'),
        ({'mask_stride': 2, 'read_stride': 4}, 'model.read_stride = 4 is coarser than masks, 2: lower it'),
        ({'keep': 0}, 'model.keep = 0: give at least 1'),
        ({'clamp': 0.5}, 'model.clamp = 0.5 is outside'),
        ({'predicted_pairs': 1.1}, r'model.predicted_pairs = 1.1 is outside \[0, 1\]'),
        ({'point_hidden': -1}, 'model.point_hidden = -1: give a number from 0 on'),
        ({'least_radius': -1}, 'model.least_radius = -1: give a number from 0 on'),
        ({'match_scale': 0.0}, 'model.match_scale = 0.0 is not between 0 and 1000'),
        ({'shift': 0.5}, 'model.shift = 0.5 is the midpoint, which both directions share: give less or more'),
        ({'shift': 0.4996}, 'model.shift = 0.4996 is the midpoint, .* by at least 0.01, or set'),
        ({'shift': 0.505}, 'model.shift = 0.505 is the midpoint'),
        ({'shift': 1.0}, 'model.shift = 1.0 is not between 0 and 1'),
        ({'relation_power': 0.0}, 'model.relation_power = 0.0 is not between 0 and 10'),
        ({'class_weight': -0.1}, 'model.class_weight = -0.1: give a number from 0 on'),
        ({'std': (0.1, 0.0, 0.1)}, 'give three each, of pixels from 0 to 1 .*std above 0'),
        ({'std': (), 'mean': ()}, 'give three each'),
        ({'mean': (-0.1, 0.1, 0.1)}, 'give three each, of pixels from 0 to 1'),
        ({'mean': (123.7, 116.3, 103.5)}, r'divide those of 0 to 255 by 255'),
        ({'mask_weight': -1.0}, 'model.mask_weight = -1.0: give a number from 0 on'),
        ({'part_weight': float('nan')}, 'model.part_weight = nan: give a number from 0 on'),
        ({'points': 10}, 'model.triplets = 100 of 10 that are made: raise model.points'),
        ({'points': 10, 'tries': 2, 'triplets': 31}, 'model.triplets = 31 of 30 that are made'),
        ({'tries': 0}, 'model.tries = 0: give at least 1'),
        ({'trunk': 'resnet_folded', 'mask_fine': True}, "'resnet_folded' has no map of stride 2"),
        ({'mask_context': 8}, 'model.mask_context = 8 is of masks of stride 2 that read the trunk'),
        ({'mask_context': -1}, 'model.mask_context = -1: give a number from 0 on'),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        read_network(options)


def test_the_rows_of_the_tables_build():
    assert set(COMPARED) <= set(ROWS)
    batch = make_batch()
    shapes = {}
    for name, row in ROWS.items():
        task = resolve(row['task'], 'task')({'size': 'tiny'} | row['model'], WORDS)
        shapes[name] = jax.eval_shape(task.init, jax.random.key(0), batch)[0]
    assert set(shapes['SMS']) - set(shapes['boxes']) == {'mask_branch'}
    assert set(shapes['SMS']) - set(shapes['no-parsing']) == {'parsing'}
    assert set(shapes['two-stage']) == {'first', 'second'} and not shapes['prior']
    for name in ('midpoint', 'midpoint-both', 'subject'):  # they differ in what is learnt, not in parameters
        assert jax.tree.map(np.shape, shapes[name]) == jax.tree.map(np.shape, shapes['SMS'])


@pytest.mark.parametrize('width', [17, 34, 70])
def test_any_width_has_groups(width):
    task = make_task({'size': 'tiny', 'norm': 'group', 'neck': width, 'mask_width': width}, WORDS)
    jax.eval_shape(task.init, jax.random.key(0), make_batch())


def test_targets_of_another_map_are_refused():
    task = make_task({'size': 'tiny', 'mask_stride': 2}, WORDS)
    task.check_data({'stride': 4, 'mask_stride': 2})
    with pytest.raises(ValueError, match=r'data.stride = 8: a cell of the network is 4 pixels wide'):
        task.check_data({'stride': 8, 'mask_stride': 2})
    for given, fine in ((0, 4), (4, 4), (8, 8)):
        with pytest.raises(ValueError, match=rf'data.mask_stride = {fine}: masks .* at a stride of 2'):
            task.check_data({'stride': 4, 'mask_stride': given})
