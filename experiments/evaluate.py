"""`jaxrec evaluate` as a launch from a checkout: python -m experiments.evaluate --help."""

import sys

from jaxrec.cli.main import run

if __name__ == '__main__':
    run(['evaluate', *sys.argv[1:]])
