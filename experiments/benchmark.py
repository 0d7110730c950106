"""Measures one thing and prints one JSON line, or one a length, a search, a mixture or a number of beams.

    python -m experiments.benchmark --list
    python -m experiments.benchmark --name=can_train
    python -m experiments.benchmark --name=sim_lengths --plot=runs/sim_lengths.png

Training covers lookup, forward, backward, clipping and both updates in float32 over rotating batches; inference starts
at host inputs and ends at host outputs. Each figure is the median of seven windows after a warm-up. `peak_rss_mb` is
the peak of the process above what it was after imports, `windows_rss_mb` that of the windows alone.
"""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from absl import app, flags

from experiments.benchmarks import (
    age,
    can,
    ingest,
    loader,
    moe,
    onerec,
    replay,
    sim,
    sim_lengths,
    sim_search,
    sms,
    tables,
    tokens,
)
from jaxrec.cli.flags import friendly
from jaxrec.runs.timing import emit

NAME = flags.DEFINE_string('name', None, 'Which benchmark.')
LIST = flags.DEFINE_bool('list', False, 'Show the names.')
PLOT = flags.DEFINE_string('plot', None, 'Where to draw a cost against the length of the history (.png).')

Record = dict[str, Any]
SINGLE: dict[str, Callable[[str], Record]] = {
    'can_train': can.train,
    'can_train_lazy_adam': functools.partial(can.train, row_optimizer='lazy_adam'),
    'can_din_train': functools.partial(can.train, base='din'),
    'can_dien_train': functools.partial(can.train, base='dien'),
    'can_infer': can.infer,
    'can_din_infer': functools.partial(can.infer, base='din'),
    'sim_train': sim.train,
    'sim_train_plain': functools.partial(sim.train, model='soft_plain'),
    'sim_train_lazy_adam': functools.partial(sim.train, row_optimizer='lazy_adam'),
    'sim_train_hard': sim.train_from_log,
    'sim_train_eta': functools.partial(sim.train, model='eta'),
    'sim_train_sdim': functools.partial(sim.train, model='sdim'),
    'sim_train_twin': functools.partial(sim.train, model='twin'),
    'sim_train_din': functools.partial(sim.train, model='din'),
    'sim_train_nvidia': sim.train_nvidia,
    'sim_infer': sim.infer,
    'tables_train_100k': functools.partial(tables.train, rows=100_000),
    'tables_train_100k_scratch': functools.partial(tables.train, rows=100_000, strategy='scratch'),
    'tables_train_1m': functools.partial(tables.train, rows=1_000_000),
    'tables_train_1m_lazy_adam': functools.partial(tables.train, rows=1_000_000, row_optimizer='lazy_adam'),
    'tables_train_10m': functools.partial(tables.train, rows=10_000_000),
    'tables_train_10m_lazy_adam': functools.partial(tables.train, rows=10_000_000, row_optimizer='lazy_adam'),
    'tables_train_100k_d16': functools.partial(tables.train, rows=100_000, dim=16),
    'tables_train_1m_d16': functools.partial(tables.train, rows=1_000_000, dim=16),
    'tables_train_10m_d16': functools.partial(tables.train, rows=10_000_000, dim=16),
    'tables_train_100m_d16': functools.partial(tables.train, rows=100_000_000, dim=16),
    'loader_ctr': loader.run,
    'loader_hard': loader.lifelong,
    'loader_long': functools.partial(loader.lifelong, search=None),
    'ingest_1m': functools.partial(ingest.run, rows=1_000_000),
    'ingest_10m': functools.partial(ingest.run, rows=10_000_000, runs=1),
    'age_score': functools.partial(age.age, direction='fgm'),
    'age_score_pgd': functools.partial(age.age, direction='pgd', pgd_steps=5),
    'age_score_ucb': functools.partial(age.age, direction='fgm', uncertainty='ucb', passes=20),
    'age_score_neural_ucb': age.neural_ucb,
    'age_batch': functools.partial(age.age, requests=age.REQUESTS, pool=age.POOL, direction='fgm'),
    'age_batch_pgd': functools.partial(age.age, requests=age.REQUESTS, pool=age.POOL, direction='pgd'),
    'replay_beta': functools.partial(replay.run, policy='beta'),
    'replay_linucb': functools.partial(replay.run, policy='linucb'),
    'replay_epsilon_greedy': functools.partial(replay.run, policy='epsilon_greedy'),
    'replay_age': functools.partial(replay.run, policy='age'),
    'onerec_train': onerec.train,
    'onerec_train_moe': functools.partial(onerec.train, experts=onerec.EXPERTS),
    'onerec_train_row': functools.partial(onerec.train, row=True),
    'onerec_train_session': functools.partial(onerec.train, levels=3, session=5),
    'onerec_train_session_moe': functools.partial(onerec.train, levels=3, session=5, experts=onerec.EXPERTS),
    'sms_infer_dla34': sms.infer,
    'sms_infer_resnet18': functools.partial(sms.infer, trunk='resnet18'),
    'sms_infer_dla34_full': functools.partial(sms.infer, read_stride=1),
    'sms_infer_resnet18_full': functools.partial(sms.infer, trunk='resnet18', read_stride=1),
    'sms_train': sms.train,
    'sms_train_resnet18': functools.partial(sms.train, trunk='resnet18'),
    'sms_render': sms.render,
    'tokens_pass_100k': functools.partial(tokens.run, items=100_000, clusters=1024),
    'tokens_pass_10m': functools.partial(tokens.run, items=10_000_000, clusters=8192, windows=1),
}
# Of a record a length, which can be drawn.
LENGTHS: dict[str, Callable[[str], Iterable[Record]]] = {
    'sim_lengths': sim_lengths.run,
    'sim_lengths_infer': functools.partial(sim_lengths.run, training=False),
}
BENCHMARKS: dict[str, Callable[[str], Record | Iterable[Record]]] = {
    **SINGLE,
    **LENGTHS,
    'sim_search': sim_search.run,  # of a record a search
    'moe': moe.run,  # of a record a mixture, and of the dense feed-forward
    'onerec_beam': functools.partial(onerec.search, trie=False),  # of a record a number of beams
    'onerec_beam_trie': functools.partial(onerec.search, trie=True),
    'onerec_beam_row': functools.partial(onerec.search, trie=True, row=True),
}


@friendly
def main(_: list[str]) -> None:
    """Runs the named benchmark."""
    if LIST.value:
        print('\n'.join(BENCHMARKS))
        return
    run(NAME.value, PLOT.value)


def run(name: str | None, plot: str | None = None) -> None:
    """Runs a benchmark and prints its records, each as soon as there is one."""
    if name not in BENCHMARKS:
        raise ValueError(f'--name={name!r} is no benchmark; choose one of {list(BENCHMARKS)}')
    if plot and name not in LENGTHS:
        raise ValueError(
            f'--plot draws cost against length, which {name} does not vary: leave it out, or choose one of '
            f'{list(LENGTHS)}'
        )
    found = BENCHMARKS[name](name)
    lines = []
    for line in [found] if isinstance(found, dict) else found:
        emit(line)
        lines.append(line)
    if plot:
        sim_lengths.draw(lines, Path(plot))


if __name__ == '__main__':
    app.run(main)
