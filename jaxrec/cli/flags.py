"""Flags, configs and error reports that the subcommands share."""

import contextlib
import errno
import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import NoReturn

from absl import app, flags
from absl import logging as absl_logging

from jaxrec.configurable import allow_code
from jaxrec.files import full_cause
from jaxrec.options import parse_mesh as parse_mesh
from jaxrec.runs.console import PACKAGES, prepare

MESH = flags.DEFINE_string('mesh', None, 'Mesh as data,model (4,2); default: the config, or all devices.')
DATA_DIR = flags.DEFINE_string('data_dir', None, 'Where the real data sets lie; default: $JAXREC_DATA.')
COORDINATOR = flags.DEFINE_string(
    'coordinator',
    None,
    'Of several processes: host:port of process 0, or auto; default: what Slurm, Open MPI or GKE say.',
)
NUM_PROCESSES = flags.DEFINE_integer('num_processes', None, 'How many processes are one run; 1 leaves a cluster alone.')
PROCESS_ID = flags.DEFINE_integer('process_id', None, 'Which of them this one is, from 0.')
JOIN_TIMEOUT = flags.DEFINE_integer('join_timeout', 300, 'Seconds until all processes must have joined.')
PEER_TIMEOUT = flags.DEFINE_integer('peer_timeout', 60, 'Seconds of silence until a process counts as dead.')
ALLOW_CODE = flags.DEFINE_multi_string(
    'allow_code', [], 'Module outside jaxrec that a config may name; may be repeated. Configs run what they name.'
)
_JOINING = (COORDINATOR, NUM_PROCESSES, PROCESS_ID)
LOST_PEER = 3  # exit status
BARRED = (errno.EACCES, errno.EPERM, errno.EROFS)
# Of a --config: its flags may name any option, also those that the file leaves at their defaults; one that
# does not exist is refused by `read_options` of its section.
ANY_KEY = {'lock_config': False, 'accept_new_attributes': True}

Main = Callable[[list[str]], None]


def read_flags(argv: list[str]) -> list[str]:
    """Parses the command line for `absl.app.run`; a flag of a section that --config does not have ends it in a line."""
    try:
        return app.parse_flags_with_usage(argv)
    except (AttributeError, KeyError) as error:  # of ml_collections
        reason = ' '.join(str(error.args[0]).split())
        print(f'error: a flag --config.<section>.<key> cannot be set: {reason}', file=sys.stderr)
        sys.exit(2)


def friendly(main: Main) -> Main:
    """Sets up a process that works alone, and reports a ValueError in a line, with exit status 2.

    --verbosity=1 shows the traceback.
    """

    @functools.wraps(main)
    def wrapped(argv: list[str]) -> None:
        prepare()
        with _in_a_line():
            if given := [f'--{flag.name}' for flag in _JOINING if flag.value is not None]:
                raise ValueError(
                    f'{given[0]}: this command is one process, and takes all devices of its own machine; '
                    'leave it out (`jaxrec train` and `jaxrec evaluate` run in several)'
                )
            with allow_code(ALLOW_CODE.value):
                main(argv)

    return wrapped


def friendly_together(may_stop: bool) -> Callable[[Main], Main]:
    """As `friendly`, for a main that may be one of several processes of a run; `may_stop` as of `start_processes`.

    The first prints and logs for all. A process that fails ends at once, since JAX would wait for the others at its
    exit. The exit status is 3 where another process is gone.
    """

    def decorate(main: Main) -> Main:
        @functools.wraps(main)
        def wrapped(argv: list[str]) -> None:
            prepare()
            from jaxrec.parallel.processes import start_processes

            with _in_a_line():
                given = COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value, os.environ
                times = JOIN_TIMEOUT.value, PEER_TIMEOUT.value
                several = start_processes(*given, join_s=times[0], peer_s=times[1], may_stop=may_stop)
            if not several:
                with _in_a_line(), allow_code(ALLOW_CODE.value):
                    main(argv)
                return
            try:
                with _as_one_of_several(), allow_code(ALLOW_CODE.value):
                    main(argv)
            except (Exception, KeyboardInterrupt) as error:
                _end(error)

        return wrapped

    return decorate


@contextlib.contextmanager
def _in_a_line() -> Iterator[None]:
    """Turns a ValueError and what a disk refuses into a line and exit status 2."""
    try:
        yield
    except (OSError, ValueError) as error:
        told = _to_tell(error)
        if told is None or flags.FLAGS.verbosity > 0:
            raise
        print(f'error: {told}', file=sys.stderr)
        sys.exit(2)


def _to_tell(error: BaseException) -> str | None:
    """What the user is told of an error that has a remedy, None for any other."""
    if isinstance(error, ValueError):
        return str(error)
    if isinstance(error, FileExistsError | NotADirectoryError) and error.filename:
        return f'{error.filename}: a folder is wanted where a file lies: name another place'
    if isinstance(error, OSError) and error.errno in BARRED and error.filename:
        return f'{error.filename}: {error.strerror}: give yourself leave, or name another place'
    if isinstance(error, OSError) and (cause := full_cause(error)):
        return (
            f'{error.filename or "a file"} could not be written ({cause}): make room on its disk, or lift '
            'the limit, and give the same command again; --verbosity=1 shows where'
        )
    return None


@contextlib.contextmanager
def _as_one_of_several() -> Iterator[None]:
    """Leaves standard output and the log to the first process; warnings of others say whose they are."""
    import jax

    if jax.process_index() == 0:
        yield
        return
    for package in PACKAGES:
        logging.getLogger(package).setLevel(logging.WARNING)
    form = logging.Formatter(f'%(asctime)s process {jax.process_index()}: %(message)s', '%H:%M:%S')
    absl_logging.get_absl_handler().setFormatter(form)
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _end(error: BaseException) -> NoReturn:
    """Says what has failed in which process, and ends it without waiting for the others."""
    import jax

    from jaxrec.parallel.processes import is_lost_peer

    who = f'process {jax.process_index()} of {jax.process_count()}'
    status = 1
    if told := _to_tell(error):
        status = 2
        print(f'error: {who}: {told}', file=sys.stderr)
    elif is_lost_peer(error):
        status = LOST_PEER
        print(
            f'error: {who}: another process of this run has died or cannot be reached any more ({error}); '
            'its own output says why. The same command, given again to all, goes on from the last checkpoint',
            file=sys.stderr,
        )
    if status != 2 or flags.FLAGS.verbosity > 0:
        traceback.print_exception(error)
        print(f'error: {who} failed, see above', file=sys.stderr)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)
