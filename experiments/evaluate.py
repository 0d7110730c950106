"""`jaxrec evaluate` as a launch from a checkout: python -m experiments.evaluate --help."""

from jaxrec.cli.main import main

if __name__ == '__main__':
    main('evaluate')
