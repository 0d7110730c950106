"""`jaxrec predict` as a launch from a checkout: python -m experiments.predict --help."""

import sys

from jaxrec.cli.main import run

if __name__ == '__main__':
    run(['predict', *sys.argv[1:]])
