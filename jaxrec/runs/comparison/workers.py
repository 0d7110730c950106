"""Runs the cells of a table, one after the other or in processes at the same time.

Steps of a small model gain little from a second core. Figures agree across core counts up to the order of float32 sums.
"""

import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from typing import Any

import jax
import tqdm
from absl import flags

from jaxrec.configurable import allow_code, allowed_code, resolve
from jaxrec.runs.comparison.cells import Cell
from jaxrec.runs.console import prepare

log = logging.getLogger(__name__)

Result = dict[str, Any]
RUN = 'jaxrec.runs.comparison.cells:run_cell'


# (cells, title of the progress bar) -> their results, in the order of the cells.
Runner = Callable[[Sequence[Cell], str], list[Result]]


@contextmanager
def runner(
    workers: int, data_dir: str | None, slices: Sequence[str] = (), judges: Sequence[str] = (), run: str = RUN
) -> Iterator[Runner]:
    """Yields a runner of cells.

    Args:
      workers: processes that train at the same time; with 1 this process trains, on all its cores.
      run: import path of what runs a cell, with the arguments and the result of `run_cell`.

    Raises:
      ValueError: fewer than 1 worker, or more than there are cores; `run` names no function.
    """
    cores = available_cores()
    if not 1 <= workers <= len(cores):
        raise ValueError(f'--workers={workers}: give 1 to {len(cores)}, the cores of this process')
    run_cell = resolve(run, 'run')
    if workers == 1:
        yield lambda cells, title: [run_cell(cell, data_dir, slices, judges) for cell in cells]
        return
    context = get_context('spawn')  # a forked process would share the threads of an initialised backend
    shares = context.Queue()
    for worker in range(workers):
        shares.put(cores[worker::workers])
    # Of this run alone: a program is compiled for the CPU it runs on, and a workdir may be moved.
    with tempfile.TemporaryDirectory(prefix='jaxrec-programs-') as programs:
        with ProcessPoolExecutor(workers, context, _start, (shares, programs, allowed_code())) as pool:
            yield lambda cells, title: _side_by_side(pool, run_cell, cells, title, (data_dir, slices, judges))


def default_workers() -> int:
    """Two where there are only CPUs, since each takes the memory of a run; one beside an accelerator."""
    return min(2, len(available_cores())) if jax.default_backend() == 'cpu' else 1


def available_cores() -> list[int]:
    """The cores that this process may run on; where the system does not tell, all."""
    if hasattr(os, 'sched_getaffinity'):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _side_by_side(
    pool: ProcessPoolExecutor, run_cell: Callable[..., Result], cells: Sequence[Cell], title: str, arguments: tuple
) -> list[Result]:
    places = {pool.submit(_run_for_parent, run_cell, cell, *arguments): i for i, cell in enumerate(cells)}
    results: list[Result] = [{}] * len(cells)
    try:
        for done in tqdm.tqdm(as_completed(places), title, len(cells), disable=None, dynamic_ncols=True):
            results[places[done]] = done.result()
    except BaseException as error:
        # Cells that have not begun would only delay the error. Those that run are finished first, as a pool
        # that is left by its `with` is waited for: their results are there next time.
        for place in places:
            place.cancel()
        log.error('%s: %s; cells that run now are finished first', title, error)
        raise
    return results


def _run_for_parent(run_cell: Callable[..., Result], *arguments: Any) -> Result:
    try:
        return run_cell(*arguments)
    finally:
        if (parent := parent_process()) is not None and not parent.is_alive():
            os._exit(1)  # else the pool goes on with the cells it has queued, beside those of a new parent


def _end_with_parent() -> None:
    """Stops this worker as a signal does, so that the cell in training is saved, once its parent is gone."""
    if (parent := parent_process()) is not None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _start(shares: Any, programs: str, code: Sequence[str]) -> None:
    """Takes a share of the cores, before the backend counts them; logs as the mains do, shares programs."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    share = shares.get()
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, share)
    flags.FLAGS.mark_as_parsed()  # the flags of a main are not a worker's
    prepare()
    allow_code(code).__enter__()  # for as long as the process lives
    if jax.local_device_count() == 1:  # of several devices, programs that were read back were seen to hang
        jax.config.update('jax_compilation_cache_dir', programs)
        jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.3)
