"""`jaxrec ingest` as a launch from a checkout: python -m experiments.ingest --help."""

import sys

from jaxrec.cli.main import run

if __name__ == '__main__':
    run(['ingest', *sys.argv[1:]])
