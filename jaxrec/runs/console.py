"""What a process prints of its log: the lines of jaxrec, and of other packages warnings alone."""

import logging

from absl import flags
from absl import logging as absl_logging

PACKAGES = ('jaxrec', 'experiments')  # whose log is displayed


def prepare() -> None:
    """Sets up a process: what is logged, and how."""
    absl_logging.use_absl_handler()
    # Ours alone: Orbax would add a page a checkpoint to the absl log; --verbosity=0 shows it.
    if not flags.FLAGS['verbosity'].present:
        absl_logging.set_verbosity(absl_logging.WARNING)
    absl_logging.get_absl_handler().setFormatter(logging.Formatter('%(asctime)s %(message)s', '%H:%M:%S'))
    for package in PACKAGES:
        logging.getLogger(package).setLevel(logging.INFO)
