"""Scoring timed at several lengths: what is timed, and what is refused."""

import jax
import numpy as np
import pytest

from jaxrec.models.sim import timing
from jaxrec.runs.build import build
from tests.runs.worlds import tiny_sim


def test_each_length_is_scored_with_full_windows(tmp_path, monkeypatch):
    scored, make = [], timing.make_predict_step

    def recording(setup):
        predict = make(setup)
        return lambda state, batch: scored.append(jax.device_get(batch)) or predict(state, batch)

    monkeypatch.setattr(timing, 'make_predict_step', recording)
    run = build(tiny_sim('SIM-hard', tmp_path))
    whole = timing.whole_windows(run)[0]['long/item']
    found = timing.milliseconds_by_length(run, (40, 250))
    assert len(found) == 2 and min(found) > 0
    lengths = [batch['long/item'].shape[1] for batch in scored]
    assert lengths == [40] * (timing.CALLS + 1) + [250] * (timing.CALLS + 1)
    longest = scored[-1]
    assert (longest['long/length'] == 250).all() and longest['long/category'].shape == longest['long/item'].shape
    np.testing.assert_array_equal(longest['long/item'][:, 100:200], whole)  # repeated


def test_no_behaviours_and_no_long_window_are_refused(tmp_path):
    with pytest.raises(ValueError, match='give 1 or more'):
        timing.milliseconds_by_length(build(tiny_sim('SIM-hard', tmp_path)), (0, 4))
    with pytest.raises(ValueError, match='reads no long window'):
        timing.milliseconds_by_length(build(tiny_sim('DIN-short', tmp_path)), (4,))
