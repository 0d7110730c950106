"""Fields against a loop over features: pooling, numbers, several values; field-aware rows and their slots."""

import jax
import numpy as np
import pytest

from jaxrec import embeddings as emb
from jaxrec.models.baselines.dnn import base_tables
from jaxrec.models.ctr.fields import AWARE, WEIGHT, AwareVectors, FieldMap, FieldVectors, LinearTerms, weight_tables
from tests.models import worlds

NAMES = (
    'user/user', 'user/favourite', 'history/item', 'history/category', 'history/tags', 'history/price',
    'candidate/item', 'candidate/category', 'candidate/tags', 'candidate/price',
)  # fmt: skip
NUMERIC = {'history/price': 0, 'candidate/price': 1}


def run(module, fields, tables, suffix, batch, seed=0):
    """(parameters, tables, output) of a module on random rows."""
    specs, rng = emb.as_specs(tables), np.random.default_rng(seed)
    held = {name: rng.normal(size=(t.rows, t.dim)).astype(np.float32) for name, t in specs.items()}
    for table in held.values():
        table[0] = 0
    sent = worlds.on_device(batch)

    @jax.jit
    def apply(tables, batch):
        rows = emb.lookup(specs, tables, fields.ids(batch, (suffix,)))
        return module.init_with_output(jax.random.key(0), rows, batch)

    output, variables = jax.device_get(apply(held, sent))
    return variables.get('params'), held, output


def loop(fields, tables, batch, suffix, slopes):
    """Row of every field by name: request fields [B, W], candidate fields [B, C, W]."""

    def row(name, at):
        value, column = batch[name][at], worlds.SCHEMA[name.partition('/')[2]]
        if column.kind == 'numeric':
            return np.sign(value) * np.log(1 + abs(value)) * slopes[NUMERIC[name]]
        table = tables[f'{column.vocabulary}{suffix}']
        return np.mean([table[i] for i in np.atleast_1d(value) if i > 0], 0)

    found = {}
    for name in NAMES:
        side, size = name.partition('/')[0], batch['label'].shape
        if side == 'candidate':
            found[name] = np.array([[row(name, (b, c)) for c in range(size[1])] for b in range(size[0])])
        elif side == 'user':
            found[name] = np.array([row(name, b) for b in range(size[0])])
        else:
            lengths = batch['history/length']
            sums = [sum(row(name, (b, l)) for l in range(n)) for b, n in enumerate(lengths)]  # noqa: E741
            share = [max(n, 1) if fields.features.history_pooling == 'mean' else 1 for n in lengths]
            width = np.shape(sums[1])
            found[name] = np.array([np.broadcast_to(s, width) / n for s, n in zip(sums, share, strict=True)])
    return found


def compare(got, found):
    request = [found[name] for name in NAMES if not name.startswith('candidate/')]
    candidate = [found[name] for name in NAMES if name.startswith('candidate/')]
    np.testing.assert_allclose(got.request, np.stack(request, 1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got.candidate, np.stack(candidate, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('pooling', ['sum', 'mean'])
def test_fields_are_the_loop(pooling):
    fields = FieldMap.make(worlds.RICH, worlds.SCHEMA, pooling, 'FM')
    assert fields.names == NAMES and fields.numeric == tuple(NUMERIC)
    batch = worlds.make_batch()
    module = FieldVectors(fields, 3)
    params, tables, got = run(module, fields, base_tables(fields.features, 3, 1.0), '', batch)
    compare(got, loop(fields, tables, batch, '', params['numeric']))


def test_linear_terms_are_a_bias_and_all_weights():
    fields = FieldMap.make(worlds.RICH, worlds.SCHEMA, 'sum', 'FM')
    batch = worlds.make_batch()
    params, tables, got = run(LinearTerms(fields), fields, weight_tables(fields.features), WEIGHT, batch)
    found = loop(fields, tables, batch, WEIGHT, params['weights']['numeric'])
    want = float(params['bias'])
    for name, x in found.items():
        want = want + (x[..., 0] if name.startswith('candidate/') else x)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_field_aware_rows_hold_a_vector_for_each_other_field():
    fields = FieldMap.make(worlds.RICH, worlds.SCHEMA, 'mean', 'FFM')
    specs = fields.aware_tables(2, 1.0)
    assert {t.name: t.dim for t in specs} == {
        'user_aware': 9 * 2,  # the user alone reads its table
        'category_aware': 10 * 2, 'item_aware': 10 * 2, 'tag_aware': 10 * 2,
    }  # fmt: skip
    batch = worlds.make_batch()
    params, tables, got = run(AwareVectors(fields, 2), fields, specs, AWARE, batch)
    assert params['numeric'].shape == (2, 9 * 2)
    found = loop(fields, tables, batch, AWARE, params['numeric'])
    for number, name in enumerate(NAMES):
        x = found[name].reshape(*found[name].shape[:-1], -1, 2)
        found[name] = x if x.shape[-2] == 10 else np.insert(x, number, 0.0, axis=-2)
    compare(got, found)


def test_a_request_without_columns_has_no_fields():
    fields = FieldMap.make({'candidate': ('item', 'category')}, worlds.SCHEMA, 'sum', 'FM')
    batch = worlds.make_batch(features={'candidate': ('item', 'category')})
    _, _, got = run(FieldVectors(fields, 3), fields, base_tables(fields.features, 3, 1.0), '', batch)
    assert got.request.shape == (6, 0, 3) and got.candidate.shape == (6, 3, 2, 3)


@pytest.mark.parametrize(
    ('features', 'pooling', 'message'),
    [
        ({'candidate': ('item',)}, 'sum', r"FM crosses pairs .* only 'candidate/item'; name two columns"),
        ({'candidate': ('item', 'price')}, 'max', r"model\.history_pooling = 'max' does not exist; choose one of"),
        ({'candidate': ()}, 'sum', r'features\.candidate is empty'),
    ],
)
def test_what_has_no_fields_is_refused(features, pooling, message):
    with pytest.raises(ValueError, match=message):
        FieldMap.make(features, worlds.SCHEMA, pooling, 'FM')
