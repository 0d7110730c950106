"""Flags and error reports that the mains share."""

import functools
import logging
import sys
from collections.abc import Callable

from absl import flags
from absl import logging as absl_logging

from jaxrec.parallel.host_memory import keep_freed_memory

MESH = flags.DEFINE_string('mesh', None, 'Mesh as data,model (4,2); default: the config, or all devices.')
DATA_DIR = flags.DEFINE_string('data_dir', None, 'Where the real data sets lie; default: $JAXREC_DATA.')


def friendly(main: Callable[[list[str]], None]) -> Callable[[list[str]], None]:
    """Sets up the process, and reports a ValueError, which says what to do, without a traceback.

    --verbosity=1 shows the traceback.

    Args:
      main: an absl main.

    Returns:
      The main that exits with status 2 on a ValueError.
    """

    @functools.wraps(main)
    def wrapped(argv: list[str]) -> None:
        prepare()
        try:
            main(argv)
        except ValueError as error:
            if flags.FLAGS.verbosity > 0:
                raise
            print(f'error: {error}', file=sys.stderr)
            sys.exit(2)

    return wrapped


def prepare() -> None:
    """Sets up a process: what becomes of freed memory, and what is logged and how."""
    keep_freed_memory()
    absl_logging.use_absl_handler()
    # Ours alone: Orbax would add a page a checkpoint to the absl log; --verbosity=0 shows it.
    if not flags.FLAGS['verbosity'].present:
        absl_logging.set_verbosity(absl_logging.WARNING)
    absl_logging.get_absl_handler().setFormatter(logging.Formatter('%(asctime)s %(message)s', '%H:%M:%S'))
    for package in ('jaxrec', 'experiments'):
        logging.getLogger(package).setLevel(logging.INFO)


def parse_mesh(text: str | None) -> tuple[int, int] | None:
    """Reads a --mesh flag.

    Args:
      text: 'data,model', or None.

    Returns:
      The two sizes, or None.

    Raises:
      ValueError: anything else.
    """
    if text is None:
        return None
    try:
        data, model = (int(size) for size in text.split(','))
    except ValueError as error:
        raise ValueError(f'--mesh={text!r}: give two sizes, such as --mesh=4,2 for 4 x 2 devices') from error
    return data, model
