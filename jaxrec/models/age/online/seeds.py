"""One seed of AGE's online experiment: run once, its result kept as plain JSON."""

import logging
import time
from pathlib import Path
from typing import Any

import jax
import tqdm
from ml_collections import ConfigDict

from jaxrec.evaluation.tallies import summarise
from jaxrec.models.age.online.buckets import Buckets
from jaxrec.models.age.replay.streams import TOP as STREAM_TOP
from jaxrec.models.age.replay.streams import open_stream
from jaxrec.runs.comparison.cells import describe_cell, read_finished
from jaxrec.runs.comparison.tables import write_json

TOP = (*STREAM_TOP, 'explorers', 'online', 'published')
log = logging.getLogger(__name__)


def run_seed(config: ConfigDict, seed: int, folder: Path, data_dir: str | None = None) -> dict[str, Any]:
    """Runs the experiment in one world, or reads its result if it was finished with this config.

    Args:
      config: the sections of `TOP`.
      seed: of the world, the cut of its users and the models.
      folder: takes `result.json`.
      data_dir: where real data sets are.

    Returns:
      {'seed', 'seconds'} and what `describe` returns.

    Raises:
      ValueError: an unknown section or option, no explorer, or a stream without a world.
    """
    if unknown := sorted(set(config) - set(TOP)):
        raise ValueError(f'config.{unknown[0]} is not a section; this experiment has the sections {TOP}')
    if not config.get('explorers', {}):
        raise ValueError('config.explorers names none: give {name: row}, such as rows of jaxrec/models/age/presets.py')
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


def describe(buckets: Buckets) -> dict[str, Any]:
    """Returns `buckets`, `days` and `tuned` of buckets that were served to the end."""
    found: dict[str, Any] = {'buckets': {}, 'days': {}, 'tuned': buckets.tuned}
    for name, bucket in buckets.buckets.items():
        found['buckets'][name] = {**summarise(bucket.tally), 'new': bucket.new}
        found['days'][name] = [day.chosen / day.judged if day.judged else None for day in bucket.days]
    return found
