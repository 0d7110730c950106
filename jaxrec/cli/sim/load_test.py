"""Measures the service under load, over loopback, and prints one JSON line a mode.

    jaxrec sim load-test --folder=runs/load --mode=hard --mode=soft --mode=scan --prepare
    jaxrec sim load-test --folder=runs/load --mode=hard --rate=20

A log of --users and --log_events is compiled into --folder once, an untrained model is saved, and the index is built,
which has a line of its own; --prepare ends there. The service runs in another process. Each of 16 clients keeps one
connection and sends its next request when its share of --rate is due, or at once where it is late; a latency counts
from when a request was due. Every request is of a user with 54,000 behaviours and has 400 candidates in about 20
categories.

With --events=N, N new behaviours a second of the same users are sent from another connection. They stay in the journal
of the index: delete --folder's index-* to measure without them.

Modes: 'hard' and 'soft' are SIM with that search; 'scan' is target attention of every candidate to all behaviours.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from jaxrec.cli.flags import friendly
from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.runs.build import Experiment

FOLDER = flags.DEFINE_string('folder', None, 'Takes log, models and index.', required=True)
MODES = flags.DEFINE_multi_enum('mode', ['hard'], ['hard', 'soft', 'scan'], 'What is served.')
REQUESTS = flags.DEFINE_integer('requests', 10_000, 'How many are timed.')
RATE = flags.DEFINE_float('rate', 0.0, 'Requests a second over all clients; 0 sends as fast as answers come.')
CLIENTS = flags.DEFINE_integer('clients', 16, 'Connections.')
CANDIDATES = flags.DEFINE_integer('candidates_a_request', 400, 'Candidates a request.')
CATEGORIES = flags.DEFINE_integer('categories_a_request', 20, 'Categories that candidates are drawn from.')
LENGTH = flags.DEFINE_integer('length', 54_000, 'Behaviours of a long user.')
LONG_USERS = flags.DEFINE_integer('long_users', 100, 'How many of them.')
USERS = flags.DEFINE_integer('users', 1000, 'Users of the log.')
LOG_EVENTS = flags.DEFINE_integer('log_events', 10_000_000, 'Events of the log.')
EVENTS = flags.DEFINE_float('events', 0.0, 'New behaviours of the requested users a second.', 0)
PREPARE = flags.DEFINE_bool('prepare', False, 'Make log, models and indexes, and measure nothing.')
KEEP = flags.DEFINE_integer('keep', 0, 'Behaviours that a search keeps; default: 200 hard, 50 soft.')
WARM = 50  # requests before those that are timed
SHORT = 50


def model_config(mode: str, folder: Path) -> ConfigDict:
    """The config of a mode's model."""
    keep = KEEP.value or {'hard': 200, 'soft': 50}.get(mode, 1)
    lifelong = {'length': LENGTH.value - SHORT, 'search': 'hard' if mode == 'hard' else None, 'keep': keep}
    world = {'users': USERS.value, 'events': LOG_EVENTS.value, 'longest': LENGTH.value, 'long_users': LONG_USERS.value}
    columns, sizes = ('item', 'category'), {'dim': 16, 'time_gap': 4, 'short_model': 'din'}
    return ConfigDict(
        {
            'task': 'jaxrec.models.sim:make_task',
            'model': {'search': {'scan': 'none'}.get(mode, mode), 'attention': 'mha', 'keep': keep, **sizes},
            'features': {'user': ('user',), 'candidate': columns, 'history': columns},
            'data': {
                'log': 'jaxrec.serving.load_test.log:lifelong_users',
                'arguments': world,
                'cache': str(folder / 'logs'),
                'label': {'kind': 'impressions', 'column': 'click'},
                'split': {'kind': 'per_user_time', 'validation': 0.1, 'test': 0.2},
                'history_length': SHORT,
                'lifelong': lifelong,
                'time_gap': {'unit': 86_400, 'buckets': 16},
            },
            'train': {'batch_size': 2, 'eval_batch_size': 2},
            'seed': 0,
        }
    )


def save_untrained(run: Experiment, workdir: Path) -> None:
    """Writes a checkpoint of a model as it was drawn: what is measured does not depend on what it learnt."""
    from jaxrec.runs.workdir import claim, open_checkpoints, table_rows
    from jaxrec.training.state import init_state

    if (workdir / 'checkpoints').exists():
        return
    workdir.mkdir(parents=True, exist_ok=True)
    claim(workdir, run.config)
    state = init_state(run.setup, run.example(run.source('train', shuffle=True)), 0)
    with open_checkpoints(run, workdir) as checkpoints:
        checkpoints.save(state, {'bad': 0}, table_rows=table_rows(run), metrics={'auc': 0.5})


@contextlib.contextmanager
def service(workdir: Path, index: Path) -> Iterator[int]:
    """Runs the service in a process of its own; yields its port."""
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, '-m', 'jaxrec', 'serve', f'--workdir={workdir}', f'--index={index}']
    command += [f'--port={port}', f'--candidates={CANDIDATES.value}', '--requests=1,2', '--keep_alive_s=600']
    process = subprocess.Popen(command, env=os.environ | {'JAX_PLATFORMS': 'cpu'})
    try:
        while True:
            if process.poll() is not None:
                raise ValueError(f'the service ended with {process.returncode}, its message stands above')
            with contextlib.suppress(OSError):
                get(port, '/health')
                break
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def get(port: int, path: str) -> dict[str, Any]:
    """The JSON of an answer."""
    with urllib.request.urlopen(f'http://127.0.0.1:{port}{path}', timeout=10) as answer:
        return json.load(answer)


def bodies(log: BehaviourLog, count: int) -> list[bytes]:
    """Requests of long users, for candidates in a few categories, most of which they know."""
    import numpy as np

    from jaxrec.serving.load_test.clients import post

    draw = np.random.default_rng(1)
    long = np.flatnonzero(np.diff(log.user_offsets) >= LENGTH.value)
    category = np.asarray(log.items['category'])
    order = np.argsort(category, kind='stable')
    starts = np.searchsorted(category[order], np.arange(category.max() + 2))
    requests = []
    for user in draw.choice(long, count):
        own = category[log.events['item'][log.user_offsets[user] : log.user_offsets[user + 1]][-2000:]]
        known = draw.choice(np.unique(own), CATEGORIES.value * 3 // 4, replace=False)
        new = draw.integers(2, len(starts) - 1, CATEGORIES.value - len(known))
        which = draw.choice(np.append(known, new), CANDIDATES.value)
        items = order[starts[which] + (draw.random(len(which)) * (starts[which + 1] - starts[which])).astype(int)]
        raw = log.vocabulary('item').decode(items).tolist()
        raw_user = log.vocabulary('user').decode(user).item()
        requests.append(post('/score', {'user': raw_user, 'candidates': raw}))
    return requests


def new_events(log: BehaviourLog, requests: list[bytes]) -> list[dict[str, Any]]:
    """What POST /events takes: a behaviour for each request of `bodies`, no later than the log's latest."""
    import numpy as np

    latest = np.max(log.events['time']).item()
    asked = [json.loads(request.partition(b'\r\n\r\n')[2]) for request in requests]
    return [{'user': one['user'], 'item': one['candidates'][0], 'time': latest} for one in asked]


def prepare(mode: str, folder: Path) -> tuple[Experiment, Path, Path]:
    """Makes what a mode needs and does not find, and prints a line of an index that it built.

    Returns:
      The run, its workdir and the folder of its index.
    """
    from jaxrec.parallel.peak_memory import peak_mb
    from jaxrec.runs.build import build
    from jaxrec.runs.workdir import read_config
    from jaxrec.serving.open_service import open_index

    workdir = folder / f'{mode}-{KEEP.value or "default"}'
    index = folder / ('index-category' if mode == 'hard' else 'index-item')
    config = workdir / 'config.json'
    run = build(read_config(str(config)) if config.exists() else model_config(mode, folder), None, (1, 1))
    save_untrained(run, workdir)
    if not (index / 'manifest.json').exists():
        start = time.perf_counter()
        with open_index(run, index) as opened:
            found = {'task': 'index', 'category': opened.category, 'behaviours': len(opened)}
        found['build_s'] = round(time.perf_counter() - start, 1)
        found['mb'] = round(sum(file.stat().st_size for file in index.rglob('*')) / 1e6)
        print(json.dumps(found | {'peak_rss_mb': round(peak_mb())}), flush=True)
    return run, workdir, index


def measure(mode: str, folder: Path) -> dict[str, Any]:
    """Serves and loads one mode, and returns what is printed."""
    import jax
    import numpy as np

    from jaxrec.serving.load_test.clients import load
    from jaxrec.serving.service import percentiles

    run, workdir, index = prepare(mode, folder)
    assert isinstance(run.log, BehaviourLog)
    requests = bodies(run.log, min(REQUESTS.value, 2000))
    events = new_events(run.log, requests) if EVENTS.value else ()
    requests = [requests[n % len(requests)] for n in range(REQUESTS.value)]
    with service(workdir, index) as port:
        asyncio.run(load(port, requests[:WARM], RATE.value, CLIENTS.value))
        answered = asyncio.run(load(port, requests, RATE.value, CLIENTS.value, events, EVENTS.value))
        figures = get(port, '/metrics')
    return {
        'task': f'serve_{mode}',
        'shapes': f'{len(run.log)} events, {run.log.schema["user"].rows - 2} users, L{LENGTH.value} '
        f'C{CANDIDATES.value} in {CATEGORIES.value} categories, K{run.config.model.keep}, D16',
        'requests': len(requests),
        'clients': CLIENTS.value,
        'failed': answered.failed,
        'rate_asked': RATE.value or 'closed loop',
        'rate': round(len(answered.seconds) / answered.wall_s, 1),
        **percentiles(answered.seconds),
        'events_asked': EVENTS.value,
        'events_taken': answered.events_taken,
        'events_failed': answered.events_failed,
        'events_of_service': figures['latency']['events'],
        'of_service': figures['latency']['score'],
        'batch_sizes': figures['batch_sizes'],
        'peak_rss_mb': figures['peak_rss_mb'],
        'cores': len(os.sched_getaffinity(0)),
        'versions': f'jax {jax.__version__} numpy {np.__version__}',
    }


@friendly
def main(_: list[str]) -> None:
    """Measures each mode, or prepares for it."""
    for mode in MODES.value:
        if PREPARE.value:
            prepare(mode, Path(FOLDER.value))
        else:
            print(json.dumps(measure(mode, Path(FOLDER.value))), flush=True)
