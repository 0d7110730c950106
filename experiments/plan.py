"""`jaxrec plan` as a launch from a checkout: python -m experiments.plan --help."""

import sys

from jaxrec.cli.main import run

if __name__ == '__main__':
    run(['plan', *sys.argv[1:]])
