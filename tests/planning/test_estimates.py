"""Times, memory and scaling by hand, and what the compiler says of programs that do not fit."""

import jax
import pytest

from jaxrec.planning import plan as plans
from jaxrec.planning.chips import CHIPS, GIB, Slice, parse_topology
from jaxrec.planning.collectives import Collective
from jaxrec.planning.hlo_cost import Cost
from jaxrec.planning.plan import _fit, _operations, _refused, _time, _xla
from jaxrec.planning.report import describe

V5E = parse_topology('v5e:4x4')
WHERE = Slice(V5E, tuple((i, j) for i in range(4) for j in range(4)))
CHIP = CHIPS['v5e']
MS = 1e-3


def gather(hidden, optional=False):
    """Of 400 MB over an open row of four: three quarters pass links of 50 GB/s, 6 ms; twice a step."""
    return Collective('all-gather', 400_000_000, (0, 1, 2, 3), 2, 'a.py:1', hidden, optional)


def time_of(compute=0.0, hbm=0.0, collectives=(), where=WHERE, model_flops=None):
    cost = Cost(CHIP.flops * compute, CHIP.hbm_bytes * hbm, collectives=list(collectives))
    tokens = None if model_flops is None else {'model_flops': model_flops}
    return _time(cost, where, {'batch': 32, 'devices': len(where.coordinates), 'tokens': tokens})


def test_a_step_takes_the_longer_of_two_and_what_nothing_hides():
    model_flops = CHIP.flops * 16 * 7 * MS / 32  # of an example: half of what the step's time allows
    found = time_of(10 * MS, 4 * MS, [gather(4 * MS), gather(None, optional=True)], model_flops=model_flops)
    assert found == {
        'compute': pytest.approx(10 * MS), 'hbm': pytest.approx(4 * MS),
        'collectives': pytest.approx(12 * MS), 'exposed': pytest.approx(4 * MS),
        'step': pytest.approx(14 * MS), 'examples_per_s': pytest.approx(32 / (14 * MS)),
        'mfu': pytest.approx(0.5),
        'bound': 'compute',
    }  # fmt: skip


def test_what_bounds_a_step_is_named():
    assert time_of(3 * MS, 4 * MS)['bound'] == 'hbm' and time_of(3 * MS, 4 * MS)['step'] == 4 * MS
    slow = time_of(3 * MS, 4 * MS, [gather(None)])
    assert slow['bound'] == 'collectives' and slow['step'] == pytest.approx(16 * MS)
    assert slow['mfu'] is None
    assert time_of(3 * MS, 0, [gather(9 * MS)])['exposed'] == 0  # more work beside it than it lasts


def test_a_device_that_is_half_a_chip_has_half_of_its_rates_and_memory():
    half = Slice(V5E, WHERE.coordinates * 2, cores=2)
    assert time_of(1 * MS, 0, where=half, model_flops=CHIP.flops * MS / 32)['mfu'] == pytest.approx(1 / 32)
    assert time_of(1 * MS, 0, where=half)['compute'] == pytest.approx(2 * MS)
    assert _fit(7 * GIB, half) == {'hbm': 8 * GIB, 'fits': True, 'free': GIB}
    assert _fit(7 * GIB, WHERE) == {'hbm': 16 * GIB, 'fits': True, 'free': 9 * GIB}
    assert _fit(17 * GIB, WHERE) == {'hbm': 16 * GIB, 'fits': False, 'free': -GIB}
    assert _time(Cost(), Slice(parse_topology('cpu:1'), ((0,),)), {}) is None


@pytest.mark.parametrize(
    ('text', 'memory'),
    [
        ('Ran out of memory in memory space hbm. Used 20.00G of 15.75G hbm.', (20 * GIB, 15.75 * GIB)),
        (
            'HLO temporaries (14.50G) exceeds available HBM (15.75G)',
            (14.5 * GIB + 2 * GIB, 15.75 * GIB),  # besides state and batch
        ),
        ('too large', None),
    ],
)
def test_what_the_compiler_refuses(text, memory):
    error = jax.errors.JaxRuntimeError(f'RESOURCE_EXHAUSTED: {text}')
    found = _refused(error, WHERE, 2 * GIB)
    told = found['memory']
    peak, hbm = memory or (None, 16 * GIB)
    assert told == {'peak': peak, 'hbm': hbm, 'fits': False, 'free': peak and hbm - peak}
    plan = {'topology': 'v5e:4x4', 'mesh': [16, 1], 'batch': 16, 'step': 'train', 'state_bytes': {}} | found
    shown = describe(plan)
    assert 'DOES NOT FIT' in shown and text in shown and ('or more' in shown) == (memory is not None)


def test_what_the_compiler_fails_at_is_raised():
    other = jax.errors.JaxRuntimeError('INTERNAL: broken')
    with pytest.raises(jax.errors.JaxRuntimeError, match='INTERNAL'):
        _refused(other, WHERE, 0)


class Compiled:
    def __init__(self, seconds):
        self.seconds = seconds

    def cost_analysis(self):
        return {'flops': 1.0, 'bytes accessed': 2.0, 'optimal_seconds': self.seconds}


def test_estimates_of_xla_stand_beside_the_roofline():
    found = _xla(Compiled(-0.5), Cost(cycles=3e6), WHERE)  # negative of a loop's gradient: none
    assert found['seconds'] is None and found['cycles'] == 3e6
    assert found['cycle_seconds'] == pytest.approx(2 * MS)  # at 1.5 GHz
    v6e = Slice(parse_topology('v6e:1x1'), ((0, 0),))
    assert _xla(Compiled(0.5), Cost(cycles=3e6), v6e)['cycle_seconds'] is None
    assert _xla(Compiled(0.5), Cost(), WHERE)['cycles'] is None
    plan = {
        'topology': 'v5e:4x4', 'mesh': [16, 1], 'devices': 16, 'batch': 32, 'step': 'train', 'tokens': None,
        'state_bytes': {}, 'memory': {'peak': GIB} | _fit(GIB, WHERE), 'flops': 1.0, 'traced_flops': 16.0,
        'bytes': 4, 'collectives': [], 'notes': ['so'], 'time': time_of(1 * MS), 'xla': found,
    }  # fmt: skip
    shown = describe(plan)
    assert '1.00 GiB of 16.00 GiB: fits, 15.00 GiB free' in shown and 'note: so' in shown
    assert 'it gives none); 3.000e+06 cycles, loops counted in full: 2.00 ms' in shown
    assert 'no clock is published' in describe(plan | {'xla': _xla(Compiled(1), Cost(cycles=1.0), v6e)})
    assert '1.00 s (loop bodies counted once), and no cycles' in describe(
        plan | {'xla': _xla(Compiled(1.0), Cost(), WHERE)}
    )


def test_lines_of_code_stand_by_the_time_they_take():
    spent = Cost(places={
        'a.py:1': (CHIP.flops * 2 * MS, CHIP.hbm_bytes * 5 * MS, 0.0),
        'b.py:2': (CHIP.flops * 7 * MS, 0.0, CHIP.clock * 9 * MS),
        'c.py:3': (0.0, 8.0, CHIP.clock * 6 * MS),
    })  # fmt: skip
    lines = _operations(spent, WHERE)
    assert [x['source'] for x in lines] == ['b.py:2', 'c.py:3', 'a.py:1']
    assert [x['seconds'] for x in lines] == pytest.approx([7 * MS, 8 / CHIP.hbm_bytes, 5 * MS])
    assert lines[0]['cycle_seconds'] == pytest.approx(9 * MS) and lines[2]['cycle_seconds'] is None
    unknown = _operations(spent, Slice(parse_topology('cpu:1'), ((0,),)))
    assert [x['source'] for x in unknown] == ['a.py:1', 'c.py:3', 'b.py:2']  # by bytes
    assert all(x['seconds'] is None for x in unknown)
    plan = {
        'topology': 'v5e:4x4', 'mesh': [16, 1], 'devices': 16, 'batch': 32, 'step': 'train', 'tokens': None,
        'state_bytes': {}, 'memory': {'peak': GIB} | _fit(GIB, WHERE), 'flops': 1.0, 'traced_flops': 16.0,
        'bytes': 4, 'collectives': [], 'notes': [], 'time': None, 'xla': None, 'operations': lines,
    }  # fmt: skip
    shown = describe(plan, operations=1)
    assert '7.00 ms   9.00 ms  b.py:2' in shown and 'c.py:3' not in shown
    assert 'by line of code' not in describe(plan)


def test_smaller_slices_are_planned_at_the_same_batch_a_device(monkeypatch):
    asked = []
    rates = {'cpu:2': 30.0, 'cpu:4': 40.0}

    def fake(name):
        time = {'step': 1.0, 'examples_per_s': rates[name], 'exposed': 0.0, 'mfu': None}
        return {'memory': {'fits': True, 'peak': 7}, 'time': time}

    def make_plan(world, topology, shape, batch):
        asked.append((topology.name, shape, batch))
        if topology.chips == 1:
            raise ValueError('tables take more')
        return fake(topology.name)

    monkeypatch.setattr(plans, 'make_plan', make_plan)
    found = plans.make_scaling(None, parse_topology('cpu:4'), (2, 2), 8, fake('cpu:4'))
    assert asked == [('cpu:1', (1, 1), 2), ('cpu:2', (1, 2), 4)]  # the largest is planned already
    assert [e['chips'] for e in found] == [1, 2, 4] and found[0]['refused'] == 'tables take more'
    assert [e.get('efficiency') for e in found] == [None, 1.0, pytest.approx(2 / 3)]
    assert found[2]['mesh'] == [2, 2] and found[2]['batch'] == 8 and found[1]['peak'] == 7
