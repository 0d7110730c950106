"""Measures one thing and prints one JSON line.

    python -m experiments.benchmark --list
    python -m experiments.benchmark --name=can_train

Training figures cover lookup, forward, backward, clipping, dense and table updates in float32 over rotating
batches; inference figures start at host inputs and end at host outputs. Each is the median of seven windows
after a warm-up; `peak_rss_mb` is the process's peak above what it was after imports.
"""

import functools
from collections.abc import Callable
from typing import Any

from absl import app, flags

from experiments.benchmarks import can, ingest, loader, tables
from experiments.benchmarks.timing import emit
from experiments.flags import friendly

NAME = flags.DEFINE_string('name', None, 'Which benchmark.')
LIST = flags.DEFINE_bool('list', False, 'Show the names.')

BENCHMARKS: dict[str, Callable[[str], dict[str, Any]]] = {
    'can_train': can.train,
    'can_train_lazy_adam': functools.partial(can.train, row_optimizer='lazy_adam'),
    'can_din_train': functools.partial(can.train, base='din'),
    'can_dien_train': functools.partial(can.train, base='dien'),
    'can_infer': can.infer,
    'can_din_infer': functools.partial(can.infer, base='din'),
    'tables_train_100k': functools.partial(tables.train, rows=100_000),
    'tables_train_100k_scratch': functools.partial(tables.train, rows=100_000, strategy='scratch'),
    'tables_train_1m': functools.partial(tables.train, rows=1_000_000),
    'tables_train_1m_lazy_adam': functools.partial(tables.train, rows=1_000_000, row_optimizer='lazy_adam'),
    'tables_train_10m': functools.partial(tables.train, rows=10_000_000),
    'tables_train_10m_lazy_adam': functools.partial(tables.train, rows=10_000_000, row_optimizer='lazy_adam'),
    'tables_train_100k_d16': functools.partial(tables.train, rows=100_000, dim=16),
    'tables_train_100m_d16': functools.partial(tables.train, rows=100_000_000, dim=16),
    'loader_ctr': loader.run,
    'loader_hard': loader.lifelong,
    'loader_long': functools.partial(loader.lifelong, search=None),
    'ingest_1m': functools.partial(ingest.run, rows=1_000_000),
    'ingest_10m': functools.partial(ingest.run, rows=10_000_000, runs=1),
}


@friendly
def main(_: list[str]) -> None:
    """Runs the named benchmark."""
    if LIST.value:
        print('\n'.join(BENCHMARKS))
        return
    if NAME.value not in BENCHMARKS:
        raise ValueError(f'--name={NAME.value!r} is no benchmark; choose one of {list(BENCHMARKS)}')
    emit(BENCHMARKS[NAME.value](NAME.value))


if __name__ == '__main__':
    app.run(main)
