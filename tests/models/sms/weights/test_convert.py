"""Published weights land where they belong, from every format; what does not fit is named; no pickle runs."""

import itertools
import os
import pickle
import struct
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrec.embeddings import make_row_optimizer
from jaxrec.models.sms import make_task, prior, two_stage
from jaxrec.models.sms.network.backbones import TRUNKS, make_trunk
from jaxrec.models.sms.network.layers import Style, When
from jaxrec.models.sms.weights.convert import convert, load_trunk, torch_name
from jaxrec.models.sms.weights.torch_files import read_tensors
from jaxrec.parallel import make_mesh
from jaxrec.training.state import Setup, abstract_state, init_state
from tests.models.sms import torch_format
from tests.models.sms.scenes import WORDS, draw, make_batch

RNG = np.random.default_rng(0)
FEW = {'a': RNG.normal(size=(2, 3)).astype(np.float32), 'b': np.arange(4), 'c': np.float32([[[7]]])}


def shapes_of(name):
    """{'params', 'batch_stats'} of a trunk, abstract."""
    module = make_trunk(TRUNKS[name], Style())
    return jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)), When()))


def file_of(shapes, extra=(), prefix=''):
    """{PyTorch's name: array in its order} of a trunk."""
    found = {}
    for path, x in jax.tree_util.tree_leaves_with_path(shapes):
        shape = (*x.shape[:1:-1], *x.shape[:2]) if x.ndim == 4 else x.shape
        name = torch_name(tuple(step.key for step in path[1:]))
        drawn = RNG.normal(size=shape)
        found[prefix + name] = np.abs(drawn) if name.endswith('running_var') else drawn
    assert len(found) == len(jax.tree.leaves(shapes))  # no name twice
    return {name: x.astype(np.float32) for name, x in found.items()} | {name: np.zeros(3, np.float32) for name in extra}


@pytest.mark.parametrize(
    ('name', 'published'),
    # The whole classifier of a thousand classes, as timm and torchvision count it, less its last layer.
    [('dla34', 15_742_104 - 513_000), ('resnet18', 11_689_512 - 513_000), ('resnet50', 25_557_032 - 2_049_000)],
)
def test_trunks_have_as_many_parameters_as_published(name, published):
    assert sum(x.size for x in jax.tree.leaves(shapes_of(name)['params'])) == published


@pytest.mark.parametrize(
    ('name', 'known'),
    [
        (
            'dla34',
            {
                'base_layer.0.weight': (16, 3, 7, 7), 'base_layer.1.running_var': (16,),
                'level0.0.weight': (16, 16, 3, 3), 'level1.1.bias': (32,),
                'level2.tree1.conv1.weight': (64, 32, 3, 3), 'level2.project.0.weight': (64, 32, 1, 1),
                'level2.root.conv.weight': (64, 128, 1, 1), 'level2.root.bn.running_mean': (64,),
                'level3.tree1.tree1.bn2.weight': (128,), 'level3.tree1.root.conv.weight': (128, 256, 1, 1),
                'level3.tree1.project.1.bias': (128,), 'level3.tree2.root.conv.weight': (128, 448, 1, 1),
                'level4.tree2.root.conv.weight': (256, 896, 1, 1),
                'level5.root.conv.weight': (512, 1280, 1, 1),
            },
        ),
        (
            'resnet18',
            {
                'conv1.weight': (64, 3, 7, 7), 'bn1.running_mean': (64,),
                'layer1.0.conv2.weight': (64, 64, 3, 3), 'layer2.0.downsample.0.weight': (128, 64, 1, 1),
                'layer2.0.downsample.1.running_var': (128,), 'layer4.1.bn2.bias': (512,),
            },
        ),
        (
            'resnet50',
            {
                'layer1.0.conv1.weight': (64, 64, 1, 1), 'layer1.0.downsample.0.weight': (256, 64, 1, 1),
                'layer3.5.conv3.weight': (1024, 256, 1, 1), 'layer4.0.conv2.weight': (512, 512, 3, 3),
                'layer4.2.bn3.running_var': (2048,),
            },
        ),
    ],
)  # fmt: skip
def test_names_and_shapes_are_the_published_ones(name, known):
    found = {key: x.shape for key, x in file_of(shapes_of(name)).items()}
    assert {key: found.get(key) for key in known} == known


@pytest.mark.parametrize('kind', ['zip', 'old', 'safetensors'])
def test_every_format_is_read(kind, tmp_path):
    path = tmp_path / f'weights.{"safetensors" if kind == "safetensors" else "pth"}'
    if kind == 'safetensors':
        torch_format.write_safetensors(path, FEW)
    else:
        write = torch_format.write_zip if kind == 'zip' else torch_format.write_old
        write(path, {'epoch': 3, 'state_dict': torch_format.tensors(FEW)})
    found = read_tensors(path)
    assert set(found) == set(FEW)
    for name, x in FEW.items():
        assert found[name].dtype == x.dtype
        np.testing.assert_array_equal(found[name], x)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 3])
    with pytest.raises(ValueError, match=r'weights\.\w+ is cut short'):
        read_tensors(path)


def test_views_of_one_storage_keep_their_strides(tmp_path):
    stored = torch_format.Stored('0', np.arange(12, dtype=np.float32))
    turned = torch_format.Tensor(stored, (3, 2), (1, 4), 1)
    torch_format.write_zip(tmp_path / 'x.pth', {'turned': turned, 'whole': torch_format.Tensor(stored, (12,))})
    found = read_tensors(tmp_path / 'x.pth')
    np.testing.assert_array_equal(found['turned'], [[1, 5], [2, 6], [3, 7]])
    np.testing.assert_array_equal(found['whole'], np.arange(12))
    torch_format.write_zip(tmp_path / 'y.pth', {'far': torch_format.Tensor(stored, (13,))})
    with pytest.raises(ValueError, match='far reaches past its 12 numbers'):
        read_tensors(tmp_path / 'y.pth')
    # The last number lies inside, others do not; or what is read lies before the first.
    for tensor in (((2, 5), (-1, 2), 0), ((2,), (1,), -3)):
        torch_format.write_zip(tmp_path / 'z.pth', {'back': torch_format.Tensor(stored, *tensor)})
        with pytest.raises(ValueError, match='back reaches past its 12 numbers'):
            read_tensors(tmp_path / 'z.pth')


@pytest.mark.parametrize('member', ['weights/data.pkl', 'weights/byteorder', 'weights/data/0'])
def test_a_damaged_archive_is_named(member, tmp_path):
    path = tmp_path / 'x.pth'
    torch_format.write_zip(path, torch_format.tensors(FEW))
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo(member).header_offset + 30 + len(member)
    content[start] ^= 1  # the first byte of what the member holds
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'x\.pth is cut short or damaged: fetch it again'):
        read_tensors(path)


@pytest.mark.parametrize('kind', ['zip', 'old', 'safetensors'])
def test_whatever_byte_is_another_the_file_is_refused_by_name_or_read(kind, tmp_path):
    path = tmp_path / f'weights.{"safetensors" if kind == "safetensors" else "pth"}'
    write = {'zip': torch_format.write_zip, 'old': torch_format.write_old}.get(kind)
    if write is None:
        torch_format.write_safetensors(path, FEW)
    else:
        write(path, torch_format.tensors(FEW))
    content, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for place in np.repeat(np.arange(len(content)), 3):
        damaged = bytearray(content)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            read_tensors(path)
        except ValueError as error:
            refused += 1
            assert str(path) in str(error), error
    assert refused > len(content)


def test_members_that_ask_for_any_other_packing_are_refused_by_name(tmp_path):
    torch_format.write_zip(path := tmp_path / 'x.pth', torch_format.tensors(FEW))
    content = path.read_bytes()
    entries = [place for place in range(len(content)) if content[place:].startswith(b'PK\x01\x02')]
    assert len(entries) == 5
    for place, method in itertools.product(entries, range(1, 256)):
        damaged = bytearray(content)
        damaged[place + 10] = method
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r'x\.pth.*: fetch it again'):
            read_tensors(path)


class Trap:
    def __reduce__(self):
        return os.mkdir, ('sprung',)


@pytest.mark.parametrize('zipped', [True, False])
def test_a_pickle_is_not_run(zipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({'state_dict': {}, 'x': Trap()}, protocol=2)
    path = tmp_path / 'trap.pth'
    if zipped:
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr('weights/data.pkl', content)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r'names \w+\.mkdir, which is no part of a tensor and is not run'):
        read_tensors(path)
    assert not (tmp_path / 'sprung').exists()


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'<html>', r'neither a \.safetensors file nor one that torch\.save wrote: it begins'),
        (pickle.dumps(5, protocol=2), 'a pickle that torch.save did not write'),
        (b'', 'neither a'),
    ],
)
def test_other_files_are_refused(content, message, tmp_path):
    path = tmp_path / 'x.pth'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_tensors(path)


@pytest.mark.parametrize('make', [make_task, two_stage.make_task])
def test_a_trunk_is_replaced_and_nothing_else(make, tmp_path):
    task = make({'size': 'tiny'}, WORDS)
    params, state = draw(task, make_batch())
    extra = ('hm.0.weight', 'dla_up.ida_0.proj_1.conv.weight', 'base.fc.bias', 'base.level3.tree2.project.0.weight')
    known = shapes_of('dla_tiny')
    content = file_of(known, extra, prefix='base.')
    path = tmp_path / 'model.pth'
    torch_format.write_zip(path, {'state_dict': torch_format.tensors(content)})
    new, after, report = load_trunk(params, state, path)
    outer = lambda tree: tree if 'backbone' in tree else tree['first']
    trunk, old = outer(new)['backbone'].pop('trunk'), outer(params)['backbone'].pop('trunk')
    kernel = trunk['level2']['tree1']['conv1']['conv']['kernel']
    np.testing.assert_array_equal(kernel, content['base.level2.tree1.conv1.weight'].transpose(2, 3, 1, 0))
    assert jax.tree.map(np.shape, trunk) == jax.tree.map(np.shape, old)
    jax.tree.map(np.testing.assert_array_equal, new, params)
    variance = outer(after['batch_stats'])['backbone']['trunk']['level3']['root']['norm']['var']
    np.testing.assert_array_equal(variance, content['base.level3.root.bn.running_var'])
    assert len(report.loaded) == len(jax.tree.leaves(known)) and set(report.left) == {
        'hm.0.weight', 'dla_up.ida_0.proj_1.conv.weight', 'base.fc.bias',
        'base.level3.tree2.project.0.weight',
    }  # fmt: skip


@pytest.mark.parametrize('outer', ['', 'module.'])
@pytest.mark.parametrize(
    ('inner', 'head', 'order'),
    [
        ('', (), (0, 1, 2)),
        ('base.', (), (0, 1, 2)),  # of DLA's authors
        ('base.', ('hm.2.bias',), (2, 1, 0)),  # CenterNet's
    ],
)
def test_trunks_that_read_blue_first_are_turned(outer, inner, head, order):
    shapes, prefix = shapes_of('dla_tiny'), outer + inner
    extra = [outer + name for name in head]
    content = file_of(shapes, extra, prefix)
    filled, report = convert(shapes, content)
    kernel = content[f'{prefix}base_layer.0.weight'].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(filled['params']['base_layer']['conv']['kernel'], kernel[:, :, order])
    assert list(report.left) == extra


def test_what_does_not_fit_is_named():
    shapes = shapes_of('dla_tiny')
    content = file_of(shapes)
    with pytest.raises(ValueError, match=r"the file lacks 'level2.root.bn.weight'.*another trunk"):
        convert(shapes, {k: x for k, x in content.items() if k != 'level2.root.bn.weight'})
    with pytest.raises(ValueError, match=r"has 'level4.tree1.conv1.weight' and 0 more that this trunk does not"):
        convert(shapes, content | {'level4.tree1.conv1.weight': np.zeros((1, 1, 3, 3))})
    with pytest.raises(ValueError, match=r"'level0.0.weight' has the shape .* choose the trunk"):
        convert(shapes, content | {'level0.0.weight': np.zeros((4, 4, 3, 3))})
    for name, value, message in (
        ('base_layer.1.running_var', np.nan, 'NaN, an infinity or a negative variance'),
        ('base_layer.1.running_var', -1.0, 'NaN, an infinity or a negative variance'),
        ('base_layer.0.weight', np.inf, 'NaN, an infinity'),
    ):
        with pytest.raises(ValueError, match=rf"'{name}' holds a {message}"):
            convert(shapes, content | {name: np.full_like(content[name], value)})
    whole = content['base_layer.0.weight'].astype(np.int8)
    with pytest.raises(ValueError, match=r"'base_layer.0.weight' holds int8, which no layer computes with"):
        convert(shapes, content | {'base_layer.0.weight': whole})
    with pytest.raises(ValueError, match=r"'base_layer.0.weight' and 'module.base_layer.0.weight' name one"):
        convert(shapes, content | {'module.base_layer.0.weight': whole})
    with pytest.raises(ValueError, match=r"this network has none: set model.norm='batch'"):
        load_trunk({}, {}, 'nowhere.pth')


def test_a_run_begins_with_the_trunk_of_a_file(tmp_path, monkeypatch):
    path, batch, content = tmp_path / 'trunk.pth', make_batch(), file_of(shapes_of('dla_tiny'))
    torch_format.write_zip(path, torch_format.tensors(content))
    task = make_task({'size': 'tiny', 'weights': str(path)}, WORDS)
    drawn = draw(task, batch)
    monkeypatch.setattr(type(task), 'init', lambda *_: drawn)  # modules' own draws take long to compile
    setup = Setup(task, optax.adam(0.1), make_row_optimizer('row_adagrad', 0.1), make_mesh((1, 1)))
    state = init_state(setup, batch, 0)
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves((state.params, state.model_state)))
    trunk = state.params['backbone']['trunk']
    kernel = content['level2.tree1.conv1.weight'].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(trunk['level2']['tree1']['conv1']['conv']['kernel'], kernel)
    mean = state.model_state['batch_stats']['backbone']['trunk']['level0_0']['norm']['mean']
    np.testing.assert_array_equal(mean, content['level0.1.running_mean'])
    same = lambda name: jax.tree.map(np.testing.assert_array_equal, state.params[name], drawn[0][name])
    for name in set(drawn[0]) - {'backbone'}:
        same(name)
    path.unlink()
    assert abstract_state(setup, batch).params.keys() == drawn[0].keys()  # restoring reads no file
    with pytest.raises(ValueError, match=r'model\.weights = .*trunk\.pth.* is no file: give a \.safetensors'):
        init_state(setup, batch, 0)
    del content['level0.0.weight']
    torch_format.write_zip(path, torch_format.tensors(content))
    with pytest.raises(ValueError, match=r"trunk\.pth lacks 'level0\.0\.weight'.*another trunk"):
        init_state(setup, batch, 0)


def test_what_draws_its_trunk_reads_no_file():
    for task in (make_task({'size': 'tiny'}, WORDS), prior.make_task({'weights': 'nowhere.pth'}, WORDS)):
        assert task.pretrained({'a': 1}, {'b': 2}) == ({'a': 1}, {'b': 2})


@pytest.mark.parametrize(
    'header',
    [
        b'[]',
        b'{"conv1.weight": null}',
        b'{"conv1.weight": {"dtype": "F32"}}',
        b'{"x": {"dtype": "F32", "shape": null, "data_offsets": [0, 4]}}',
        b'{"x": {"dtype": "F32", "shape": [1], "data_offsets": null}}',
        b'{"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
    ],
)
def test_a_header_of_something_else_is_refused(header, tmp_path):
    path = tmp_path / 'x.safetensors'
    path.write_bytes(struct.pack('<Q', len(header)) + header)
    with pytest.raises(ValueError, match=r'x\.safetensors has no safetensors header: fetch it again'):
        read_tensors(path)


@pytest.mark.parametrize('places', ['[-4, 0]', '[4, 0]', '[0, 8]', '[4, 8]'])
def test_numbers_that_are_none_of_the_tensor_are_not_read(places, tmp_path):
    header = f'{{"x": {{"dtype": "F32", "shape": [1], "data_offsets": {places}}}}}'.encode()
    path = tmp_path / 'x.safetensors'
    path.write_bytes(struct.pack('<Q', len(header)) + header + b'\0' * 4)
    with pytest.raises(ValueError, match=r'x\.safetensors is cut short at x: fetch it again'):
        read_tensors(path)
