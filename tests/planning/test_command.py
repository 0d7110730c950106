"""The command: what it reads, what it refuses before it compiles, and what it leaves behind."""

import json

import jax.experimental.topologies
import ml_collections
import pytest

from jaxrec.planning import command
from jaxrec.planning.chips import make_devices, parse_topology
from tests.planning import worlds


def test_rows_are_read():
    assert command.parse_rows(['item=1_000', 'user=7']) == {'item': 1000, 'user': 7}
    assert command.parse_rows([]) == {}


@pytest.mark.parametrize('text', ['item', '=5', 'item=', 'item=-3', 'item=many', 'item=1.5'])
def test_rows_that_are_no_rows_are_refused(text):
    with pytest.raises(ValueError, match=f'--rows={text}: give a vocabulary and its rows'):
        command.parse_rows([text])


def test_meshes_come_from_the_flag_the_config_or_all_devices():
    config = ml_collections.ConfigDict({'mesh': (4, 2)})
    assert command.parse_meshes('8,1  2,4', config) == [(8, 1), (2, 4)]
    assert command.parse_meshes(None, config) == [(4, 2)]
    assert command.parse_meshes(None, ml_collections.ConfigDict()) == [None]
    with pytest.raises(ValueError, match='give two sizes'):
        command.parse_meshes(' ', config)
    with pytest.raises(ValueError, match="--mesh='8': give two sizes"):
        command.parse_meshes('4,2 8', config)


@pytest.mark.parametrize(
    ('kind', 'error', 'says'),
    [
        ('v5e:2x2', 'libtpu is not installed', r"v5e:2x2 needs libtpu, .* pip install -e '.\[plan\]'"),
        ('v5e:3x5', 'no such topology', r'libtpu knows no such slice \(no such topology\); try one of v5e:1x1, '),
    ],
)
def test_slices_that_cannot_be_described_are_refused(kind, error, says, monkeypatch):
    def fail(**_):
        raise RuntimeError(error)

    monkeypatch.setattr(jax.experimental.topologies, 'get_topology_desc', fail)
    with pytest.raises(ValueError, match=says):
        make_devices(parse_topology(kind))


def test_more_simulated_devices_than_there_are_are_refused(eight_devices):
    assert make_devices(parse_topology('cpu:8')) == eight_devices[:8]
    with pytest.raises(ValueError, match=r'JAX simulates 8 CPU devices; set .* JAX_NUM_CPU_DEVICES=64'):
        make_devices(parse_topology('cpu:64'))


@pytest.fixture
def run(monkeypatch, tmp_path):
    """run(flags) is (exit status, plans that were compiled, what was written)."""
    config = ml_collections.ConfigDict({'task': 'x'})
    monkeypatch.setattr(command, 'open_world', lambda *_, **__: worlds.can_world())
    monkeypatch.setattr(command, 'describe', lambda *_: 'a plan')
    drawn = []
    monkeypatch.setattr(command, 'draw', lambda plans, path: drawn.append((len(plans), path.suffix)))
    output, compiled = tmp_path / 'plans.json', []

    def compile_plan(ready):
        if output.exists():  # written after each
            assert len(json.loads(output.read_text())['plans']) == len(compiled)
        shape = ready.setup.mesh.devices.shape
        if shape == (1, 8):
            raise ValueError('the step refuses')
        compiled.append(shape)
        return {'mesh': list(shape), 'batch': ready.batch['valid'].shape[0]}

    monkeypatch.setattr(command, 'compile_plan', compile_plan)

    def run(**given):
        asked = command.Asked(config, ['cpu:8'], output=str(output))._replace(**given)
        status = command.plan_all(asked)
        return status, compiled, json.loads(output.read_text()) if output.exists() else None, drawn

    return run


def test_plans_are_made_and_written(run, capsys):
    status, compiled, written, drawn = run(mesh='8,1 4,2')
    assert status == 0 and compiled == [(8, 1), (4, 2)] and drawn == [(2, '.png')]
    assert [p['mesh'] for p in written['plans']] == [[8, 1], [4, 2]] and written['refused'] == []
    assert written['config'] == {'task': 'x'} and capsys.readouterr().out.count('a plan') == 2


def test_what_cannot_be_carried_is_told_before_anything_is_compiled_and_the_others_go_on(run, capsys):
    status, compiled, written, _ = run(mesh='3,1 1,8 4,2')
    assert status == 2 and compiled == [(4, 2)] and len(written['plans']) == 1
    told = [(r['topology'], r['mesh'], r['why'][:16]) for r in written['refused']]
    assert told == [('cpu:8', [3, 1], '--mesh=3,1 has 3'), ('cpu:8', [1, 8], 'the step refuses')]
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and all(line.startswith('error: ') for line in errors)


@pytest.mark.parametrize(
    ('given', 'says'),
    [
        ({'topologies': ['cpu:8', 'v9:2x2']}, 'give a chip and a shape'),
        ({'mesh': '4,2 8'}, 'give two sizes'),
        ({'rows': ['item']}, 'give a vocabulary and its rows'),
        ({'measure': True, 'step': 'predict'}, '--measure runs what it plans'),
    ],
)
def test_what_cannot_be_read_ends_it_at_once(run, given, says, monkeypatch):
    monkeypatch.setattr(command, 'open_world', lambda *_, **__: pytest.fail('a log was opened'))
    with pytest.raises(ValueError, match=says):
        run(**given)


def test_each_way_of_moving_rows_has_its_plan(run, monkeypatch):
    ways = []
    monkeypatch.setattr(command, 'compile_plan', lambda ready: ways.append(ready.setup.exchange) or {})
    run(exchanges=['gather_ids', 'all_to_all'], mesh='8,1 4,2')
    run()
    assert ways == ['gather_ids', 'all_to_all'] * 2 + [None]


def test_a_batch_is_given_over_all_devices_or_for_each(run, monkeypatch):
    sizes = []
    monkeypatch.setattr(command, 'compile_plan', lambda ready: sizes.append(ready.batch['valid'].shape[0]) or {})
    run(batch=24)
    run(batch_per_device=4)
    assert sizes == [24, 32]
