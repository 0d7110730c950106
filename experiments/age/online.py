"""AGE's online experiment (arXiv 2112.11136, section 5.3), simulated: does exploring make a better model?

    python -m experiments.age.online --config=configs/age/online.py --workdir=runs/age_online
    python -m experiments.age.online --config=configs/age/online.py --workdir=runs/age_tuning --first_seed=1000

Bucket D explores and C does not; A and B serve without exploring, A by a model that learns from the common
traffic and C, B by one that learns from the common traffic and D. B is compared with A, see
`experiments.age.buckets`. Each seed is another world, another cut of its users and other models; a finished
one is not run again. The workdir takes `table.md`, `table.json`, `ctr.png`, `config.json` and a folder a seed.
"""

import logging
import time
from pathlib import Path
from typing import Any

import jax
import tqdm
from absl import app, flags
from ml_collections import ConfigDict, config_flags

from experiments.age.buckets import Buckets
from experiments.age.online_report import describe, draw, summarise_seeds, to_markdown
from experiments.age.streams import TOP as STREAM_TOP
from experiments.age.streams import open_stream
from experiments.cells import describe_cell, read_finished
from experiments.flags import DATA_DIR, friendly
from experiments.running import claim, hold
from experiments.tables import write_json

CONFIG = config_flags.DEFINE_config_file('config', lock_config=True)
WORKDIR = flags.DEFINE_string('workdir', None, 'Takes the table and its seeds.', required=True)
SEEDS = flags.DEFINE_integer('seeds', 5, 'How many seeds.', lower_bound=1)
FIRST_SEED = flags.DEFINE_integer('first_seed', 0, 'The first of them.', lower_bound=0)

TOP = (*STREAM_TOP, 'explorers', 'online', 'published')
log = logging.getLogger(__name__)


@friendly
def main(_: list[str]) -> None:
    """Runs the seeds that are not finished, and writes and prints the table."""
    workdir, config = Path(WORKDIR.value), CONFIG.value
    seeds = range(FIRST_SEED.value, FIRST_SEED.value + SEEDS.value)
    with hold(workdir):
        claim(workdir, config)
        results = [run_seed(config, seed, workdir / f'seed{seed}', DATA_DIR.value) for seed in seeds]
        summary = summarise_seeds(results, list(config.explorers))
        text = to_markdown(summary, config.get('published', {}), results)
        write_json(workdir / 'table.json', summary)
        (workdir / 'table.md').write_text(text)
        draw(results, list(config.explorers), workdir / 'ctr.png')
    print(text)
    print(f'wrote {workdir}/table.md, table.json, ctr.png')


def run_seed(config: ConfigDict, seed: int, folder: Path, data_dir: str | None = None) -> dict[str, Any]:
    """Runs the experiment in one world, or reads its result if it was finished with this config.

    Args:
      config: the sections of `TOP`.
      seed: of the world, the cut of its users and the models.
      folder: takes `result.json`.
      data_dir: where real data sets lie.

    Returns:
      {'seed', 'buckets', 'days', 'tuned', 'seconds'}, see `online_report.describe`.

    Raises:
      ValueError: an unknown section or option, no explorer, or a stream without a world.
    """
    if unknown := sorted(set(config) - set(TOP)):
        raise ValueError(f'config.{unknown[0]} is not a section; this experiment has the sections {TOP}')
    if not config.get('explorers', {}):
        raise ValueError('config.explorers names none: give {name: row}, such as rows of configs/age/rows.py')
    config = config.copy_and_resolve_references()
    config.seed = config.data.arguments.seed = seed
    described = describe_cell(config, True)
    if (finished := read_finished(folder, described)) is not None:
        return finished
    jax.clear_caches()  # another world has other shapes
    begin = time.perf_counter()
    stream = open_stream(config, data_dir)
    buckets = Buckets(config, stream)
    total = stream.source.visits - stream.warm_up
    with tqdm.tqdm(total=total, desc=f'visits of seed {seed}', disable=None, dynamic_ncols=True) as bar:
        for served in buckets.run():
            bar.update(served)
    result = {'config': described, 'seed': seed, **describe(buckets)}
    result['seconds'] = round(time.perf_counter() - begin, 1)
    write_json(folder / 'result.json', result)
    log.info('seed %d in %.0f s, lambdas %s', seed, result['seconds'], result['tuned'])
    return result


if __name__ == '__main__':
    app.run(main)
