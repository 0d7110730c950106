"""From a trained run to a service: its index, its model, and the programs for every size of batch."""

import dataclasses
import logging
import time
from pathlib import Path

from jaxrec.data.features.lifelong import read_lifelong
from jaxrec.data.features.time_gap import read_time_gap
from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.options import plain
from jaxrec.runs.build import Experiment
from jaxrec.runs.restore import restore_model
from jaxrec.serving.assembly import RequestAssembler, Sizes
from jaxrec.serving.behaviour_index import VIEW_BYTES, BehaviourIndex, build_index
from jaxrec.serving.scorer import RequestScorer
from jaxrec.serving.service import Service

log = logging.getLogger(__name__)


def open_index(run: Experiment, folder: Path, view_bytes: int = VIEW_BYTES) -> BehaviourIndex:
    """Opens the index of a run for writing, built first where there is none; `view_bytes` as of `BehaviourIndex`.

    Raises:
      ValueError: a log without users, or an index of another log, label or set of columns.
    """
    if not isinstance(run.log, BehaviourLog):
        raise ValueError(f'{run.log.folder} is a {run.log.KIND}: only users have behaviours to be served from')
    label, history = plain(run.data['label']), plain(run.config.features).get('history', ())
    lifelong = read_lifelong(run.data.get('lifelong'), run.log)
    category = lifelong.column if lifelong is not None and lifelong.search else 'item'
    if not (folder / 'manifest.json').exists():
        start = time.perf_counter()
        index = build_index(folder, run.log, label, history, category, view_bytes)
        log.info('built %s: %d behaviours in %.1f s', folder, len(index), time.perf_counter() - start)
        return index
    index = BehaviourIndex(folder, run.log, writable=True, view_bytes=view_bytes)
    if plain(index.manifest['label']) != label:
        raise ValueError(
            f'{folder} holds the behaviours of label {index.manifest["label"]}, the run has {label}: give '
            'another folder, an index will be built there'
        )
    if index.torn:
        log.warning('%s: cut %d bytes of an unfinished append off the journal', folder, index.torn)
    log.info('opened %s: %d behaviours, %d of them in the journal', folder, len(index), index.added)
    return index


def make_service(
    run: Experiment,
    workdir: Path,
    index: BehaviourIndex,
    sizes: Sizes,
    step: int | None,
    wait_s: float = 0.0,
    max_ahead: int | None = None,
) -> Service:
    """Restores a model (`step` None: the best) and compiles it for every size of batch.

    The run is on one device; `wait_s` as of `Batcher`, `max_ahead` as of `read_event_times`.
    """
    lifelong = read_lifelong(run.data.get('lifelong'), index.log)
    if lifelong is None or lifelong.search is None:
        sizes = dataclasses.replace(sizes, groups=())
    gap, length = read_time_gap(run.data.get('time_gap'), index.log), run.data['history_length']
    assembler = RequestAssembler(index, plain(run.config.features), length, lifelong, gap, sizes)
    state, step = restore_model(run, workdir, step)
    scorer, start = RequestScorer(run.setup, state, assembler), time.perf_counter()
    log.info('step %d: compiled %d programs in %.1f s', step, scorer.warm(), time.perf_counter() - start)
    return Service(scorer, step, wait_s=wait_s, max_ahead=max_ahead)
