"""How a process decides whether it is one of several, and what it refuses. Several are started in
tests/processes."""

import jax
import pytest

from jaxrec.parallel.processes import (
    choose_processes,
    detect_cluster,
    gather,
    is_lost_peer,
    start_processes,
    wait_for_all,
)

SLURM = {
    'SLURM_JOB_ID': '81', 'SLURM_STEP_NODELIST': 'node[01-02]', 'SLURM_NTASKS': '2', 'SLURM_PROCID': '1',
    'SLURM_LOCALID': '0',
}  # fmt: skip
OPEN_MPI = {
    'OMPI_MCA_orte_hnp_uri': '1531576320.0;tcp://10.96.0.1:34911', 'OMPI_COMM_WORLD_SIZE': '4',
    'OMPI_COMM_WORLD_RANK': '3',
}  # fmt: skip
GKE = {'TPU_WORKER_HOSTNAMES': 'tpu-0.svc,tpu-1.svc', 'TPU_WORKER_ID': '0'}


@pytest.mark.parametrize(
    ('environ', 'cluster'),
    [
        ({}, None),
        (SLURM, 'Slurm'),
        (SLURM | {'SLURM_NTASKS': '1'}, None),  # srun of one task
        ({name: SLURM[name] for name in ('SLURM_JOB_ID', 'SLURM_NTASKS')}, None),  # a shell of salloc
        (OPEN_MPI, 'Open MPI'),
        (OPEN_MPI | {'OMPI_COMM_WORLD_SIZE': '1'}, None),
        (GKE, 'TPU slice'),
        ({'TPU_PROCESS_ADDRESSES': 'a:8476,b:8476', 'TPU_WORKER_HOSTNAMES': 'a'}, 'TPU slice'),
        ({'TPU_WORKER_HOSTNAMES': 'localhost'}, None),  # one host, or a plan for a slice
        ({'TPU_WORKER_HOSTNAMES': 'a', 'MEGASCALE_NUM_SLICES': '2'}, 'TPU slice'),
        ({'MEGASCALE_NUM_SLICES': ''}, None),
        ({'KUBERNETES_SERVICE_HOST': '10.0.0.1', 'JOB_COMPLETION_INDEX': '1'}, None),  # maybe jobs of their own
    ],
)
def test_launchers_are_known_by_what_they_set(environ, cluster):
    assert detect_cluster(environ) == cluster
    assert choose_processes(None, None, None, environ) == (None if cluster is None else {})


def test_flags_come_before_the_cluster():
    told = choose_processes('host0:1234', 2, 1, SLURM)
    assert told == {
        'coordinator_address': 'host0:1234',
        'num_processes': 2,
        'process_id': 1,
        'cluster_detection_method': 'deactivate',
    }
    assert choose_processes('[::1]:1234', 1, 0, {}) is not None
    assert choose_processes(None, 1, None, SLURM) is None and choose_processes(None, 1, 0, GKE) is None
    assert choose_processes('auto', None, None, {}) == {}


@pytest.mark.parametrize(
    ('given', 'says'),
    [
        (('host0:1234', None, None), r'--num_processes=None, --process_id=None: give all three in each'),
        (('host0:1234', 2, None), 'give all three in each process'),
        ((None, 2, 0), '--coordinator=None, --num_processes=2, --process_id=0: give all three'),
        ((None, None, 1), 'give all three'),
        ((None, 1, 1), 'give all three'),
        (('auto', 2, 0), 'or --coordinator=auto alone'),
        (('host0:1234', 2, 2), r'--process_id=2 of --num_processes=2: they are numbered from 0 to 1'),
        (('host0:1234', 2, -1), r'--process_id=-1 of'),
        (('host0:1234', 0, 0), r'--process_id=0 of --num_processes=0'),
        (('host0', 2, 0), "--coordinator='host0': give a host and a free port of process 0"),
        ((':1234', 2, 0), "--coordinator=':1234': give a host"),
    ],
)
def test_what_does_not_fit_together_is_refused(given, says):
    with pytest.raises(ValueError, match=says):
        choose_processes(*given, {})


def test_times_below_a_second_are_refused():
    with pytest.raises(ValueError, match=r'--join_timeout=0: give at least 1 second'):
        start_processes('host0:1', 2, 0, {}, join_s=0)
    with pytest.raises(ValueError, match=r'--peer_timeout=-5: give at least 1 second'):
        start_processes('host0:1', 2, 0, {}, peer_s=-5)


def test_devices_in_use_are_refused(eight_devices):
    kept = {
        name: getattr(jax.config, name)
        for name in ('jax_cpu_collectives_implementation', 'jax_enable_preemption_service')
    }
    try:
        with pytest.raises(ValueError, match='devices are in use already, and processes join before: call'):
            start_processes('localhost:1', 2, 1, {}, join_s=5)
    finally:
        for name, value in kept.items():
            jax.config.update(name, value)
    assert len(eight_devices) == 8 and jax.process_count() == 1


def test_one_process_says_everything_to_itself():
    assert not start_processes(None, None, None, {})
    value = {'a': 1}
    assert gather(value)[0] is value and len(gather(value)) == 1
    wait_for_all('nobody')
    assert not is_lost_peer(RuntimeError('Gloo AllReduce failed: Connection closed by peer'))


def test_broken_connections_are_told_from_other_errors(monkeypatch):
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    for text in (
        'UNKNOWN: Gloo AllGather failed: [external/gloo] Read error [127.0.0.1]:17547: Connection reset',
        'INTERNAL: NCCL operation ncclAllReduce failed: unhandled system error',
        'UNAVAILABLE: the following tasks are unhealthy (stopped sending heartbeats)',
    ):
        assert is_lost_peer(RuntimeError(text))
    assert not is_lost_peer(RuntimeError('RESOURCE_EXHAUSTED: out of memory while trying to allocate 8 GiB'))
