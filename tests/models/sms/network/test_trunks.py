"""DLA, ResNet and the neck against loops over places, trees and rounds."""

import jax
import numpy as np
import pytest

from jaxrec.models.sms.network.dla import Dla, Neck
from jaxrec.models.sms.network.heads import MaskBranch
from jaxrec.models.sms.network.layers import ConvNorm, MapHead, PointHead, Style, When
from jaxrec.models.sms.network.options import read_network
from jaxrec.models.sms.network.resnet import ResNet
from tests.oracles import trunks as oracle

IMAGE = np.random.default_rng(0).normal(size=(1, 32, 64, 3)).astype(np.float32)


def drawn(module, x):
    """(parameters, statistics) with no zeros or ones among them, and what comes of them in one program."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x, When()))

    def draw(path, leaf):
        kind = path[-1].key
        if kind in ('scale', 'var'):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        size = leaf.size / leaf.shape[-1] if len(leaf.shape) == 4 else 10
        return (rng.normal(size=leaf.shape) * size**-0.5).astype(np.float32)

    variables = jax.tree_util.tree_map_with_path(draw, shapes)
    found = jax.device_get(jax.jit(lambda v, x: module.apply(v, x, When()))(variables, x))
    wide = jax.tree.map(lambda x: x.astype(np.float64), dict(variables))
    return wide['params'], wide['batch_stats'], found


def same(found, want):
    assert [x.shape[1:] for x in found] == [x.shape for x in want]
    for x, y in zip(found, want, strict=True):
        np.testing.assert_allclose(x[0], y, rtol=1e-4, atol=1e-4)
        assert y.std() > 0.05


@pytest.mark.parametrize(
    ('blocks', 'bottleneck', 'folded'), [((2, 1, 1), False, False), ((1, 2), True, False), ((1, 1), False, True)]
)
def test_a_resnet_is_the_loop(blocks, bottleneck, folded):
    widths = (4, 5, 6)[: len(blocks)]
    params, stats, found = drawn(ResNet(blocks, widths, bottleneck, folded, Style()), IMAGE)
    same(found, oracle.resnet(params, stats, IMAGE[0].astype(float), blocks, bottleneck, folded))
    assert found[0].shape == (1, 8, 16, 4 * widths[0] if bottleneck else widths[0])


@pytest.mark.parametrize(('folded', 'stem'), [(True, 5), (False, 0)])
def test_a_resnet_gives_its_map_of_stride_2(folded, stem):
    params, stats, found = drawn(ResNet((1, 1), (4, 6), False, folded, Style(), stem, True), IMAGE)
    image = IMAGE[0].astype(float)
    same(found, oracle.resnet(params, stats, image, (1, 1), False, folded, stem > 0, True))
    assert [x.shape[1:] for x in found] == [(16, 32, stem or 4), (8, 16, 4), (4, 8, 6)]


def test_a_folded_resnet_without_a_stem_has_no_map_of_stride_2():
    with pytest.raises(ValueError, match='without a stem has no map of stride 2: give it one'):
        drawn(ResNet((1,), (4,), False, True, Style(), 0, True), IMAGE)


def test_a_dla_gives_its_map_of_stride_2():
    params, stats, found = drawn(Dla((1, 2, 1), (3, 4, 5), Style(), True), IMAGE)
    same(found, oracle.dla(params, stats, IMAGE[0].astype(float), (1, 2, 1), True))
    assert [x.shape[1:] for x in found] == [(16, 32, 4), (8, 16, 5)]


def test_a_dla_is_the_loop():
    depths, widths = (1, 2, 1, 2, 1), (3, 4, 5, 6, 7)
    params, stats, found = drawn(Dla(depths, widths, Style()), IMAGE)
    same(found, oracle.dla(params, stats, IMAGE[0].astype(float), depths))
    assert [x.shape[1:] for x in found] == [(8, 16, 5), (4, 8, 6), (2, 4, 7)]


@pytest.mark.parametrize(('widths', 'kernel'), [((4, 5, 6, 7), 1), ((4, 3, 6), 3), ((5, 6), 1)])
def test_a_neck_is_the_loop(widths, kernel):
    rng = np.random.default_rng(2)
    maps = [
        rng.normal(size=(1, 16 >> i, 24 >> i, width)).astype(np.float32)
        for i, width in enumerate((4, 5, 6, 7)[: len(widths)])
    ]
    params, stats, found = drawn(Neck(widths, kernel, Style()), maps)
    same([found], [oracle.neck(params, stats, [x[0].astype(float) for x in maps])])
    assert found.shape == (1, 16, 24, widths[0])


@pytest.mark.parametrize(('width', 'groups'), [(8, 1), (24, 1), (32, 4), (64, 8), (256, 32)])
def test_groups_have_channels_enough(width, groups):
    """So that a map of one cell is not all zeros, as it is where each channel is a group."""
    x = np.random.default_rng(0).normal(size=(2, 1, 1, 3)).astype(np.float32)
    module = ConvNorm(width, 1, 1, Style('group'), active=False)
    variables = module.init(jax.random.key(0), x, When())
    found = np.asarray(module.apply(variables, x, When())).reshape(2, groups, -1)
    np.testing.assert_allclose(found.mean(-1), 0, atol=1e-4)
    np.testing.assert_allclose(found.std(-1), 1, atol=2e-2)


def test_logits_are_float32_whatever_activations_are():
    """Of bfloat16 ones with 8 bits many neighbours are equal, and every one of them is a peak."""
    x = np.random.default_rng(0).normal(size=(1, 32, 32, 4)).astype(np.float32)
    dense, point = MapHead(8, 3, -2.19, 'bfloat16'), PointHead(8, {'size': 2}, dtype='bfloat16')
    heat = np.asarray(dense.apply(dense.init(jax.random.key(0), x), x))
    read = np.asarray(point.apply(point.init(jax.random.key(0), x), x)['size'])
    for logits in (heat, read):
        assert logits.dtype == np.float32 and len(np.unique(logits)) > 0.95 * logits.size


def test_masks_join_the_trunk_where_it_is():
    """Each cell of the neck gives four places, which stand beside the trunk's own of stride 2."""
    options = {'trunk': 'resnet_fine', 'mask_fine': True, 'mask_stride': 2, 'mask_width': 5, 'mask_depth': 2}
    branch = MaskBranch(read_network({'mask_context': 3, 'mask_features': 4, **options}))
    rng = np.random.default_rng(2)
    x, fine = (rng.normal(size=shape).astype(np.float32) for shape in ((1, 3, 4, 6), (1, 6, 8, 2)))
    variables = branch.init(jax.random.key(0), x, fine, When())
    params, stats = variables['params'], variables['batch_stats']
    wide = oracle.conv_norm(params['context'], stats['context'], x[0])  # [3, 4, 2 x 2 x 3]
    y = np.zeros((6, 8, 5))
    for row, column in np.ndindex(6, 8):
        place = 2 * (row % 2) + column % 2
        y[row, column] = [*wide[row // 2, column // 2, 3 * place : 3 * place + 3], *fine[0, row, column]]
    for name in ('conv_0', 'conv_1'):
        y = oracle.conv_norm(params[name], stats[name], y)
    found = np.asarray(branch.apply(variables, x, fine, When()))
    np.testing.assert_allclose(found[0], y @ params['out']['kernel'] + params['out']['bias'], atol=1e-4)
