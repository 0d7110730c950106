"""Runs one cell of a table of replays (one row, one column, one seed), in place of `comparison.cells.run_cell`."""

import json
import logging
import time
from collections.abc import Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxrec.configurable import configurable
from jaxrec.evaluation.tallies import summarise
from jaxrec.files import replace_text
from jaxrec.models.age.replay.replayer import REPLAY_OPTIONS, Replayed, early_metrics, walk
from jaxrec.models.age.tuning import UnreachedError
from jaxrec.options import read_options
from jaxrec.runs.comparison.cells import Cell, describe_cell, read_finished

log = logging.getLogger(__name__)


@configurable('run')
def run_cell(
    cell: Cell, data_dir: str | None, slices: Sequence[str] = (), judges: Sequence[str] = ()
) -> dict[str, Any]:
    """Replays a cell of a table, or reads its result if it was finished with this config.

    Args:
      cell: the cell; a trial replays `replay.tuned_on` of the stream.
      data_dir: where real data sets are.
      slices, judges: replays have none.

    Returns:
      {'validation', 'seconds', 'parameters', 'caveat'} and but for trials 'test', {metric: value}; on simulated worlds
      also 'ceiling', what a policy that knows all true click rates would earn. A trial in which no lambda changes the
      wanted share of winners has a 'validation' of None and the reason as 'failed'; a test is then tuned to the largest
      share that one changes, as its 'caveat' says.

    Raises:
      ValueError: slices or judges, and what `walk` refuses.
    """
    if slices or judges:
        raise ValueError('a table of replays has neither slices nor judges: leave them out of its config')
    config = cell.config()
    described = describe_cell(config, cell.test)
    if (finished := read_finished(cell.folder, described)) is not None:
        return finished
    given = read_options(config.get('replay', {}), 'replay', **REPLAY_OPTIONS)
    if not cell.test:
        config.stream.share = given['tuned_on'] * config.stream.get('share', 1.0)
    jax.clear_caches()
    begin = time.perf_counter()
    try:
        done, short = _walked(cell, config, data_dir)
    except UnreachedError as error:
        if cell.test:
            raise
        return _failed(cell, described, error, begin)
    found = summarise(done.state.tally)
    result: dict[str, Any] = {'config': described, 'validation': found[given['monitor']], 'tuned': done.tuned}
    result |= {'parameters': count(done), 'seconds': round(time.perf_counter() - begin, 1)}
    result['caveat'] = '; '.join(filter(None, (str(found.pop('caveat')), short)))
    if cell.test:
        result['test'] = {**found, **{f'tuned_{name}': value for name, value in done.tuned.items()}}
        result['test'] |= early_metrics(done)
        if 'regret' in found:
            result['ceiling'] = {'true_ctr': float(found['true_ctr']) + float(found['regret']), 'regret': 0.0}
    log.info('%s: %s %.4f in %.0f s', cell.folder, given['monitor'], result['validation'], result['seconds'])
    return keep(cell, result)


def _walked(cell: Cell, config: ConfigDict, data_dir: str | None) -> tuple[Replayed, str]:
    """Replays a cell; a test that no lambda fits is tuned to the largest share of winners that one changes."""
    try:
        return walk(config, None, data_dir), ''
    except UnreachedError as error:
        if not cell.test or not error.most:
            raise
        short = f'{error}; tuned to {error.most:.1%} instead'
        log.warning('%s: %s', cell.folder, short)
        config.stream.changed = error.most
        return walk(config, None, data_dir), short


def _failed(cell: Cell, described: str, error: UnreachedError, begin: float) -> dict[str, Any]:
    """Puts a trial down as failed."""
    log.warning('%s failed: %s', cell.folder, error)
    seconds = round(time.perf_counter() - begin, 1)
    return keep(cell, {'config': described, 'validation': None, 'failed': str(error), 'seconds': seconds})


def keep(cell: Cell, result: dict[str, Any]) -> dict[str, Any]:
    """Writes a result into its cell's folder, and returns it."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    replace_text(cell.folder / 'result.json', json.dumps(result, indent=1))
    return result


def count(done: Replayed) -> int:
    """Numbers of the policy's model and tables, or of its memory where it has neither."""
    state = done.state.policy
    return sum(x.size for x in jax.tree.leaves((state.params, state.tables)) or jax.tree.leaves(state.model_state))
