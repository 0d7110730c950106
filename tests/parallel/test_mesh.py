"""Meshes, placement rules, batches on their way to devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from jaxrec.parallel import make_mesh, placement, put_batch, shardings
from jaxrec.parallel.mesh import pad_to, take_local


def test_the_axes_are_always_data_and_model_and_their_type_is_stated():
    for shape in ((8, 1), (4, 2), (1, 1), (3, 2)):
        mesh = make_mesh(shape)
        assert mesh.axis_names == ('data', 'model') and mesh.devices.shape == shape
        assert mesh.axis_types == (AxisType.Auto, AxisType.Auto)
    assert make_mesh().devices.shape == (len(jax.devices()), 1)
    assert make_mesh(devices=jax.devices()[2:4]).devices.shape == (2, 1)
    assert make_mesh((2, 1), axis_type=AxisType.Explicit).axis_types == (AxisType.Explicit,) * 2


@pytest.mark.parametrize('shape', [(9, 1), (0, 2), (-1, -4), (8,), (2, 2, 2)])
def test_a_mesh_that_cannot_be_is_refused(shape):
    with pytest.raises(ValueError, match=r'give two sizes .data, model. whose product is at most the 8 devices'):
        make_mesh(shape)


def test_processes_share_all_their_devices(monkeypatch):
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    with pytest.raises(ValueError, match=r'mesh shape \(2, 2\): 2 processes share a mesh of all their 8 dev'):
        make_mesh((2, 2))
    assert make_mesh((4, 2)).size == 8 and make_mesh((2, 1), jax.devices()[:2]).size == 2


def test_the_first_rule_that_matches_places_a_leaf():
    mesh = make_mesh((4, 2))
    tree = {'params': {'dense_0': {'kernel': jnp.ones((4, 2)), 'bias': jnp.ones(2)}, 'experts': jnp.ones((8, 3))}}
    rules = [('experts', jax.P('model')), ('dense.*/kernel$', jax.P(None, 'model')), ('.*', jax.P())]
    got = shardings(tree, mesh, rules)['params']
    assert got['experts'].spec == jax.P('model') and got['dense_0']['bias'].spec == jax.P()
    assert got['dense_0']['kernel'].spec == jax.P(None, 'model') and got['dense_0']['kernel'].mesh == mesh
    assert {s.spec for s in jax.tree.leaves(shardings(tree, mesh))} == {jax.P()}
    with pytest.raises(ValueError, match=r"no sharding rule matches 'params/dense_0/bias' \(2,\); add one, or"):
        shardings(tree, mesh, rules[:2])


def make_batch(size):
    return {
        'user/user': np.arange(1, size + 1, dtype=np.int32),
        'label': np.ones((size, 2), np.float32),
        'valid': np.ones((size, 2), np.float32),
        'host/event': np.full((size, 2), 2**40, np.int64),
    }


@pytest.mark.parametrize('size', [16, 13, 1])
def test_a_batch_is_cut_over_both_axes_and_padded_with_absent_rows(size):
    mesh = make_mesh((4, 2))
    batch = make_batch(size)
    sent = put_batch(batch, mesh)
    assert set(sent) == {'user/user', 'label', 'valid'}
    padded = -(-size // 8) * 8
    for key, value in sent.items():
        assert value.shape == (padded, *batch[key].shape[1:])
        assert {s.data.shape[0] for s in value.addressable_shards} == {padded // 8}
        np.testing.assert_array_equal(np.asarray(value)[:size], batch[key])
        assert not np.asarray(value)[size:].any()
    assert sent['label'].sharding.spec == jax.P(('data', 'model'))


@pytest.mark.parametrize('mesh', [None, 'one'])
def test_one_device_gets_the_batch_as_it_is(mesh):
    sent = put_batch(make_batch(13), None if mesh is None else make_mesh((1, 1)))
    assert set(sent) == {'user/user', 'label', 'valid'} and sent['label'].shape == (13, 2)


@pytest.mark.parametrize('dtype', [np.int64, np.uint64])
def test_64_bit_integers_stay_on_the_host(dtype):
    batch = {**make_batch(8), 'candidate/item': np.full((8, 2), 2**32 + 3, dtype)}
    for mesh in (None, make_mesh((8, 1))):
        with pytest.raises(
            ValueError, match=r"'candidate/item' is u?int64: 64-bit integers wrap on devices; keep it under 'host/'"
        ):
            put_batch(batch, mesh)


def test_padding_needs_a_mask_and_one_size():
    batch = make_batch(5)
    with pytest.raises(ValueError, match=r'keys of different leading sizes: .*3'):
        pad_to({**batch, 'label': batch['label'][:3]}, 8)
    del batch['valid']
    with pytest.raises(ValueError, match="8 devices do not divide a batch of 5, and without 'valid' it"):
        pad_to(batch, 8)
    assert pad_to(batch, 5)['label'] is batch['label']


def test_placement_counts_bytes_in_all_and_on_a_device():
    mesh = make_mesh((8, 1))
    table = jax.device_put(jnp.ones((8, 1024, 256)), jax.NamedSharding(mesh, jax.P('data')))
    text = placement(
        {'tables': {'item': table}, 'params': [jax.device_put(jnp.ones(256 * 1024), jax.NamedSharding(mesh, jax.P()))]}
    )
    assert text == 'tables: 1 arrays, 8.00 MiB, 1.00 MiB a device\nparams: 1 arrays, 1.00 MiB, 1.00 MiB a device'


def test_what_one_process_holds_is_all_local():
    rows = np.arange(16, dtype=np.int32)
    assert take_local(rows) is rows
    for mesh in (make_mesh((4, 2)), None):
        np.testing.assert_array_equal(take_local(put_batch({'x': rows}, mesh)['x']), rows)
