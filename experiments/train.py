"""`jaxrec train` as a launch from a checkout: python -m experiments.train --help."""

import sys

from jaxrec.cli.main import run

if __name__ == '__main__':
    run(['train', *sys.argv[1:]])
