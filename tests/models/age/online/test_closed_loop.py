"""A feed served by one policy: every batch is answered by the world and learned at once."""

import shutil

import chex
import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxrec.evaluation.closed_loop import serve
from jaxrec.evaluation.replay import without_host
from jaxrec.models.age.online.closed_loop import serve_stream
from jaxrec.models.age.replay.streams import build_policy, open_stream, warm
from jaxrec.runs.defaults import stored_log
from tests.models.age.run_worlds import STREAM, WORLD, tiny


def test_each_batch_is_served_by_what_the_ones_before_taught(tmp_path):
    config = tiny('DNN', tmp_path)
    done, stream = serve_stream(config), open_stream(config)
    policy, first, size = build_policy(config, stream), STREAM['warm_up'], STREAM['batch_size']
    state = warm(config, policy, stream)[0]
    for tally in done.tallies:
        rows = np.arange(first, min(first + size, WORLD['visits']))
        key = jax.random.fold_in(jax.random.key(config.seed), first)
        batch = stream.source.at(rows, size)
        served = serve(policy, state, batch, key, stream.world.clicks, truth=stream.world.rates)
        assert tally == served.tally and tally.visits == len(rows)
        events = stream.source.impressions(served.rows, served.slots, served.clicks)
        state, first = policy.learn(state, without_host(events)), first + size
    assert first >= WORLD['visits']
    chex.assert_trees_all_equal(done.state.params, state.params)


def test_all_visits_after_the_warm_up_are_served(tmp_path):
    done = serve_stream(tiny('random', tmp_path))
    found = done.metrics
    assert found['clicks'] == sum(tally.clicks for tally in done.tallies)
    assert found['visits'] == found['matches'] == WORLD['visits'] - STREAM['warm_up'] and done.tuned == {}


def test_a_log_without_a_world_and_an_unknown_section_are_refused(tmp_path):
    config = tiny('random', tmp_path)
    shutil.copytree(open_stream(config).log.folder, tmp_path / 'alone')
    with pytest.raises(ValueError, match=r'config\.extra is not a section'):
        serve_stream(ConfigDict({**config, 'extra': {}}))
    config.data = ConfigDict({**stored_log(str(tmp_path / 'alone')), 'cache': str(tmp_path)})
    with pytest.raises(ValueError, match='is no simulated feed'):
        serve_stream(config)
