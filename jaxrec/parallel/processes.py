"""Several processes as one run: how they join, and what they exchange outside a step.

They share one mesh of all their devices. Each cuts its slice of every batch; decisions of the host are made alike by
all, from what was gathered first. n processes.
"""

import logging
import pickle
import re
import socket
import threading
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

log = logging.getLogger(__name__)

T = TypeVar('T')
AUTO = 'auto'
# What each launcher tells a process; all of a line must be set, and JAX reads the rest from there.
_SLURM = ('SLURM_JOB_ID', 'SLURM_STEP_NODELIST', 'SLURM_NTASKS', 'SLURM_PROCID', 'SLURM_LOCALID')
_OPEN_MPI = ('OMPI_MCA_orte_hnp_uri', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_RANK')
_TPU_HOSTS = ('TPU_PROCESS_ADDRESSES', 'TPU_WORKER_HOSTNAMES')  # GKE's; the first that is set counts
_LOST_PEER = re.compile(
    r'gloo|nccl|connection (closed|reset|refused)|unavailable|heartbeat|coordination|barrier|deadline', re.IGNORECASE
)
# Of the time to join, which the service is given beyond ours, so that the error is ours.
_GRACE_S = 60


def detect_cluster(environ: Mapping[str, str]) -> str | None:
    """Which launcher has started this process as one of several: 'Slurm', 'Open MPI', 'TPU slice' (GKE), or None."""
    if all(name in environ for name in _SLURM) and int(environ['SLURM_NTASKS']) > 1:
        return 'Slurm'
    if all(name in environ for name in _OPEN_MPI) and int(environ['OMPI_COMM_WORLD_SIZE']) > 1:
        return 'Open MPI'
    hosts = next((environ[name] for name in _TPU_HOSTS if name in environ), '')
    if len(hosts.split(',')) > 1 or int(environ.get('MEGASCALE_NUM_SLICES') or 1) > 1:
        return 'TPU slice'
    return None


def choose_processes(
    coordinator: str | None, num_processes: int | None, process_id: int | None, environ: Mapping[str, str]
) -> dict[str, Any] | None:
    """Decides how a process joins others.

    Args:
      coordinator: host:port of process 0, or 'auto': what JAX finds out from the cluster.
      num_processes: n; 1 alone is one process, whatever the cluster says.
      process_id: which of them this one is.
      environ: the environment, which decides where nothing is given.

    Returns:
      Arguments of `jax.distributed.initialize`, none where JAX is to ask the cluster; None for one process.

    Raises:
      ValueError: some of the three are given and others are not, or they do not fit each other.
    """
    given = {'coordinator': coordinator, 'num_processes': num_processes, 'process_id': process_id}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None if detect_cluster(environ) is None else {}
    if coordinator == AUTO and len(missing) == 2:
        return {}
    if num_processes == 1 and coordinator is None and process_id in (None, 0):
        return None
    if missing or coordinator == AUTO:
        raise ValueError(
            f'--coordinator={coordinator}, --num_processes={num_processes}, --process_id={process_id}: give '
            'all three in each process, such as --coordinator=host0:1234 --num_processes=2 --process_id=0, '
            "or --coordinator=auto alone on a cluster that JAX knows, or none and leave it to Slurm's srun, "
            "Open MPI's mpirun or GKE"
        )
    assert coordinator is not None and num_processes is not None and process_id is not None
    if not 0 <= process_id < num_processes:
        raise ValueError(
            f'--process_id={process_id} of --num_processes={num_processes}: they are numbered from 0 to '
            f'{num_processes - 1}, each number once'
        )
    if not re.fullmatch(r'.+:\d{1,5}', coordinator):
        raise ValueError(
            f'--coordinator={coordinator!r}: give a host and a free port of process 0, such as host0:1234, '
            'the same in each process'
        )
    return {
        'coordinator_address': coordinator,
        'num_processes': num_processes,
        'process_id': process_id,
        # Else JAX asks the cluster for what is not given, such as which devices are whose.
        'cluster_detection_method': 'deactivate',
    }


def start_processes(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    environ: Mapping[str, str],
    *,
    join_s: int = 300,
    peer_s: int = 60,
    may_stop: bool = False,
) -> bool:
    """Joins the other processes of a run, before anything touches a device; returns whether there are others.

    A process that dies takes the others with it: they see its connections close, or JAX's service ends them.

    Args:
      coordinator, num_processes, process_id, environ: see `choose_processes`.
      join_s: seconds within which all processes must have joined.
      peer_s: seconds without a sign of life after which a process counts as dead.
      may_stop: whether the run asks `reached_preemption_sync_point` after each step, and so heeds SIGTERM.

    Raises:
      ValueError: see `choose_processes`; times below 1, devices that are in use already, or processes that have not
        joined in time.
    """
    for name, value in (('join_timeout', join_s), ('peer_timeout', peer_s)):
        if value < 1:
            raise ValueError(f'--{name}={value}: give at least 1 second')
    arguments = choose_processes(coordinator, num_processes, process_id, environ)
    if arguments is None:
        return False
    if arguments.get('process_id') == 0:
        _require_free(arguments['coordinator_address'])
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')  # without it CPUs cannot
    jax.config.update('jax_enable_preemption_service', may_stop)  # it takes SIGTERM over
    waited = {'initialization_timeout': join_s + _GRACE_S, 'heartbeat_timeout_seconds': peer_s}
    _initialize(arguments | waited, join_s)
    who = jax.process_index(), jax.process_count()
    log.info('process %d of %d; it ends when another has not been heard of for %d s', *who, peer_s)
    return jax.process_count() > 1


def _require_free(address: str) -> None:
    """Refuses a port that another program listens at: JAX's service may crash on one."""
    with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just left is free
        try:
            tried.bind(('', int(address.rpartition(':')[2])))
        except OSError as error:
            raise ValueError(
                f'this process could not join the others at {address} ({error.strerror}): give --coordinator, '
                '--num_processes and --process_id, a port that is free, and start each process once'
            ) from error


def _initialize(arguments: Mapping[str, Any], join_s: int) -> None:
    """Calls JAX beside this thread: what waits too long there aborts the process without a word of ours."""
    raised: list[Exception] = []

    def work() -> None:
        try:
            jax.distributed.initialize(**arguments)
        except Exception as error:  # whatever it is, the caller raises it
            raised.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(join_s)
    where = arguments.get('coordinator_address', 'the address that the cluster names')
    if thread.is_alive():
        raise ValueError(
            f'the processes of this run have not all joined at {where} within {join_s} s: see that each was '
            'started, that process 0 can be reached there from the others, and that all give the same '
            '--num_processes and a --process_id of their own; --join_timeout waits longer'
        )
    if not raised:
        return
    if 'must be called before' in str(raised[0]):
        raise ValueError(
            'devices are in use already, and processes join before: call start_processes before anything '
            'that makes an array or asks for devices'
        ) from raised[0]
    raise ValueError(
        f'this process could not join the others at {where} ({raised[0]}): give --coordinator, '
        '--num_processes and --process_id, a port that is free, and start each process once'
    ) from raised[0]


def gather(value: T) -> list[T]:
    """The values of all processes, anything that can be pickled, in the order of their numbers."""
    if jax.process_count() == 1:
        return [value]
    # 64-bit integers would be cut on their way: lengths travel as two halves, all else as bytes.
    own = np.frombuffer(pickle.dumps(value), np.uint8)
    halves = multihost_utils.process_allgather(np.array(divmod(len(own), 1 << 24), np.int32))
    lengths = [(int(high) << 24) + int(low) for high, low in np.asarray(halves).reshape(-1, 2)]
    padded = np.zeros(1 << (max(lengths) - 1).bit_length(), np.uint8)  # few shapes: each is compiled
    padded[: len(own)] = own
    everyone = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(lengths), -1)
    return [pickle.loads(row[:length].tobytes()) for row, length in zip(everyone, lengths, strict=True)]


def wait_for_all(what: str) -> None:
    """Waits until every process has come to this place, whose name is the same in all of them."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def is_lost_peer(error: BaseException) -> bool:
    """Whether an error of a step is a broken connection to another process; False for one process."""
    if jax.process_count() == 1:
        return False
    known = isinstance(error, RuntimeError | TimeoutError) and 'RESOURCE_EXHAUSTED' not in str(error)
    return known and _LOST_PEER.search(str(error)) is not None
