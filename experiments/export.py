"""`jaxrec export` as a launch from a checkout: python -m experiments.export --help."""

import sys

from jaxrec.cli.main import run

if __name__ == '__main__':
    run(['export', *sys.argv[1:]])
