"""What a planned step takes where it can run: on simulated devices of this machine."""

import gc
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from jaxrec.parallel import put_batch
from jaxrec.parallel.host_memory import return_freed_memory
from jaxrec.parallel.peak_memory import CLEAR, forget_peak, peak_since_mb
from jaxrec.planning.chips import Topology
from jaxrec.planning.plan import Plan, Ready
from jaxrec.training.state import init_state

STEPS, PAUSE_S = 4, 0.1
STATM = Path('/proc/self/statm')


def check_measurable(topologies: Sequence[Topology], step: str) -> None:
    """Refuses what --measure cannot run: other slices and steps, systems that do not tell processes their memory."""
    if step != 'train' or any(topology.kind != 'cpu' for topology in topologies):
        raise ValueError('--measure runs what it plans: give --topology=cpu:8 or the like and --step=train')
    if not STATM.exists() or not forget_peak():
        raise ValueError(f'--measure needs {STATM} and {CLEAR}, which this system does not give')


def measure_peak(ready: Ready) -> int:
    """Runs a few steps and returns how many bytes the process's memory rises above what it had before their state."""
    setup = ready.setup
    # Compiled before memory is looked at: the compiler takes more than a small step.
    step = ready.world.step(setup).lower(ready.state, ready.batch).compile()
    batch = {key: _fill(shape, i) for i, (key, shape) in enumerate(ready.batch.items())}
    init_state(setup, put_batch(batch, setup.mesh), 0)  # for what it compiles
    before = _settled()
    placed = put_batch(batch, setup.mesh)
    state = init_state(setup, placed, 0)
    jax.block_until_ready(state)
    _settled()
    forget_peak()
    for _ in range(STEPS):
        state, _ = jax.block_until_ready(step(state, placed))
        time.sleep(PAUSE_S)
    return round(2**20 * peak_since_mb()) - before


def describe_measured(plan: Plan, peak: int) -> str:
    """The line that sets a measured peak beside the planned one, of all devices."""
    planned = plan['memory']['peak'] * plan['devices']
    return (
        f'  measured            {peak / 2**20:,.0f} MiB on all devices while {STEPS} steps ran, planned '
        f'{planned / 2**20:,.0f}: {100 * (peak / planned - 1):+.1f} %'
    )


def _fill(shape: jax.ShapeDtypeStruct, seed: int) -> np.ndarray:
    """Small numbers that are ids, lengths and labels alike."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, shape.shape).astype(shape.dtype)


def _settled() -> int:
    """Resident bytes once all that is free has been given back."""
    gc.collect()
    time.sleep(PAUSE_S)  # the worker that ends a step frees its temporaries just after it has said so
    return_freed_memory()
    pages = int(STATM.read_text().split()[1])
    return pages * resource.getpagesize()
