"""Exported scorers of the models: traced for any number of rows, on request fixed or for other platforms."""

import jax
import numpy as np
import pytest

from jaxrec.parallel import put_batch
from jaxrec.runs.build import build
from jaxrec.training.export import export_scorer, load_scorer
from jaxrec.training.state import abstract_state, init_state
from jaxrec.training.step import make_predict_step
from tests.runs.worlds import tiny
from tests.training.worlds import make_batch, make_setup


@pytest.mark.parametrize('row', ['LR', 'DNN', 'DIN', 'CAN-DNN'])
def test_every_model_takes_any_number_of_rows(tmp_path, row):
    run = build(tiny(row, tmp_path))
    source = run.source('test')
    abstract = abstract_state(run.setup, run.example(source))
    zeros = lambda tree: jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)
    state = abstract.replace(
        params=zeros(abstract.params), model_state=zeros(abstract.model_state), tables=zeros(abstract.tables)
    )
    manifest = export_scorer(tmp_path / 's', run.setup, state, source[0])
    assert manifest['inputs']['candidate/item'] == {'shape': ['b', 1], 'dtype': 'int32'}
    assert manifest['outputs']['probability'] == {'shape': ['b', 1], 'dtype': 'float32'}
    assert manifest['id_rows']['candidate/item'] == run.log.schema['item'].rows


@pytest.mark.parametrize('options', [{}, {'bake': True}, {'batch_size': 16}, {'platforms': ('cpu', 'tpu')}])
def test_the_scores_are_those_of_the_state(tmp_path, options):
    setup = make_setup((1, 1))
    state = init_state(setup, put_batch(make_batch()), 0)
    manifest = export_scorer(tmp_path / 's', setup, state, make_batch(), about={'step': 3}, **options)
    scorer = load_scorer(tmp_path / 's')
    assert scorer.manifest == manifest and manifest['step'] == 3
    batch = make_batch(4)
    wanted = np.asarray(make_predict_step(setup)(state, put_batch(batch))['probability'])
    np.testing.assert_allclose(scorer(batch)['probability'], wanted, rtol=1e-6)
    short = {key: array[:5] for key, array in batch.items()}
    if 'batch_size' in options:
        with pytest.raises(ValueError, match=r'int32 \[5, 1\], the scorer reads int32 \[16, 1\]'):
            scorer(short)
    else:
        np.testing.assert_allclose(scorer(short)['probability'], wanted[:5], rtol=1e-6)


def test_a_model_that_asks_for_its_batch_size_is_told_how_to_fix_it(tmp_path):
    class Picky(type(make_setup((1, 1)).task)):
        def predict(self, params, model_state, rows, batch, rng=None):
            return {'probability': jax.numpy.zeros(int(batch['label'].shape[0]))}

    setup = make_setup((1, 1), task=Picky())
    state = init_state(setup, put_batch(make_batch()), 0)
    with pytest.raises(ValueError, match=r'cannot be traced for any number of rows.*--batch_size'):
        export_scorer(tmp_path / 's', setup, state, make_batch())
    export_scorer(tmp_path / 's', setup, state, make_batch(), batch_size=16)


def test_tables_too_large_to_bake_in_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr('jaxrec.training.export.BAKED_BYTES', 100)
    setup = make_setup((1, 1))
    state = init_state(setup, put_batch(make_batch()), 0)
    with pytest.raises(ValueError, match='leave them as arguments'):
        export_scorer(tmp_path / 's', setup, state, make_batch(), bake=True)
