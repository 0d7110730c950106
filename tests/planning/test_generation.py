"""Beams as a step to plan: experts stay where they are, and what writes no sessions is refused."""

import dataclasses

import pytest

from jaxrec.planning import generation
from jaxrec.planning.chips import parse_topology
from jaxrec.planning.plan import make_plan
from tests.planning import worlds


@pytest.mark.slow
def test_beams_move_tokens_and_no_experts(eight_devices):
    del eight_devices
    network = {'encoder_layers': 1, 'decoder_layers': 1, 'scan': False}
    world = dataclasses.replace(
        worlds.onerec_world(**network), name='beams', step=lambda setup: generation.beam_step(setup, 4)
    )
    plan = make_plan(world, parse_topology('cpu:8'), (4, 2))
    experts = [4, 8, 32]  # float32 [E, X, 2 F] would be 4 KiB
    largest = max(c['bytes'] for c in plan['collectives'] if c['kind'] == 'all-gather')
    assert plan['step'] == 'beams' and plan['flops'] > 0
    assert largest < 4 * experts[0] * experts[1] * experts[2]
    assert not plan['state_bytes']['opt_state'] and plan['memory']['temporaries'] > 0


def test_what_writes_no_sessions_is_refused():
    with pytest.raises(ValueError, match=r'CtrTask writes no sessions: .*or --step=predict'):
        generation.beams_512(worlds.can_world().setup)
