"""Effects of behaviours against models of batches in which a behaviour's row is zero."""

import types

import numpy as np
import pytest

from jaxrec.models.ctr.inspection import make_behaviour_effects
from tests.models import worlds


def make(name):
    batch = worlds.make_batch(features=worlds.FEATURES)
    return worlds.make_model(name, batch, worlds.FEATURES, std=0.5), batch


def effects(model, batch, tables):
    state = types.SimpleNamespace(params=model.params, model_state={}, tables=model.tables)
    setup = worlds.make_setup(model.task)
    return np.asarray(make_behaviour_effects(setup, tables)(state, worlds.on_device(batch)))


@pytest.mark.parametrize('tables', [('item_feed',), ('item', 'item_feed')])
def test_an_effect_is_the_logit_less_that_of_a_zero_row(tables):
    model, batch = make('CAN-DNN')
    found, before, place = effects(model, batch, tables), model.logits(batch), 1
    spare = 29  # an item of no example, which stands for the one that is taken away
    assert not any((batch[f'{side}/item'] == spare).any() for side in ('candidate', 'history'))
    for example, item in enumerate(batch['history/item'][:, place]):
        changed = {name: value[example : example + 1].copy() for name, value in batch.items()}
        changed['history/item'][0, place] = spare
        for name in ('item', 'item_feed'):
            model.tables[name][spare] = 0 if name in tables else model.tables[name][item]
        wanted = before[example] - model.logits(changed)[0] if item else np.zeros(before.shape[1])
        np.testing.assert_allclose(found[example, :, place], wanted, rtol=1e-4, atol=1e-5)
    assert np.abs(found).max() > 0.01 and not found[0].any()  # the first history is empty


def test_tables_that_the_history_does_not_read_are_refused():
    model, batch = make('DNN')
    with pytest.raises(ValueError, match=r"history/item does not read the table 'item_feed': give tables of item"):
        effects(model, batch, ('item_feed',))
