"""`jaxrec compare` as a launch from a checkout: python -m experiments.compare --help."""

from jaxrec.cli.main import main

if __name__ == '__main__':
    main('compare')
