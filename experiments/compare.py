"""`jaxrec compare` as a launch from a checkout: python -m experiments.compare --help."""

import sys

from jaxrec.cli.main import run

if __name__ == '__main__':
    run(['compare', *sys.argv[1:]])
