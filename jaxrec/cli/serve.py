"""Answers requests over HTTP from a checkpoint and an index of behaviours.

    jaxrec serve --workdir=runs/mine --index=indexes/mine
    curl --json '{"user": 7, "candidates": [12, 99]}' localhost:8000/score

The index is built from the log of the run where there is none; one that is there is opened, with what its journal
holds. New behaviours (POST /events) are in the next answer, are on the disk before they are acknowledged, and are there
again after a restart; --compact folds them into the base before serving. Needs `pip install 'jaxrec[serve]'`.
"""

import gc
from pathlib import Path
from typing import Any

from absl import flags

from jaxrec.cli.flags import ALLOW_CODE, DATA_DIR, friendly
from jaxrec.serving.behaviour_index import VIEW_BYTES

WORKDIR = flags.DEFINE_string('workdir', None, 'Of `jaxrec train`.', required=True)
INDEX = flags.DEFINE_string('index', None, 'Folder of the index.', required=True)
STEP = flags.DEFINE_integer('step', None, 'Which checkpoint; default: the best on validation.')
HOST = flags.DEFINE_string('host', '127.0.0.1', 'Address to listen at.')
PORT = flags.DEFINE_integer('port', 8000, 'Port to listen at; 0 takes a free one.')
REQUESTS = flags.DEFINE_list('requests', ['1', '2', '4'], 'Sizes of a batch of requests.')
CANDIDATES = flags.DEFINE_list('candidates', ['16', '64', '400'], 'Sizes of a request.')
GROUPS = flags.DEFINE_list('groups', ['32'], 'Numbers of runs of 32 candidates of a category: hard search.')
WAIT_MS = flags.DEFINE_float('wait_ms', 0.0, 'How long a batch that is not full waits for more.')
MAX_AHEAD = flags.DEFINE_integer(
    'max_ahead',
    None,
    'How far the time of a new behaviour may be ahead of the latest one and of the clock, in the time unit '
    'of the log; default: a day if the log has seconds, milliseconds, microseconds or nanoseconds since '
    '1970, otherwise 86,400 units.',
    lower_bound=0,
)
VIEW_MB = flags.DEFINE_integer(
    'view_mb', VIEW_BYTES >> 20, 'MiB of merged histories of users with new behaviours, kept in memory.', 0
)
KEEP_ALIVE_S = flags.DEFINE_integer('keep_alive_s', 5, 'How long an idle connection is kept open.', 1)
COMPACT = flags.DEFINE_bool('compact', False, 'Fold the journal into the base before serving.')


@friendly
def main(_: list[str]) -> None:
    """Opens the index, restores the model and serves until it is told to stop."""
    import uvicorn

    from jaxrec.runs.run import Run
    from jaxrec.serving.assembly import Sizes
    from jaxrec.serving.open_service import make_service, open_index

    workdir = Path(WORKDIR.value)
    whole = lambda values: tuple(int(value) for value in values if value)
    sizes = Sizes(whole(REQUESTS.value), whole(CANDIDATES.value), whole(GROUPS.value))
    run = Run(workdir, DATA_DIR.value, (1, 1), ALLOW_CODE.value).experiment
    index = open_index(run, Path(INDEX.value), VIEW_MB.value << 20)
    if COMPACT.value:
        print(f'folded {index.compact()} behaviours into the base')
    wait_s, ahead = WAIT_MS.value / 1e3, MAX_AHEAD.value
    service = make_service(run, workdir, index, sizes, STEP.value, wait_s, ahead)
    gc.collect()
    gc.freeze()  # a full collection of all that was imported and compiled takes as long as several requests
    quiet: dict[str, Any] = {'log_level': 'warning', 'access_log': False}
    uvicorn.run(service.app(), host=HOST.value, port=PORT.value, timeout_keep_alive=KEEP_ALIVE_S.value, **quiet)
