"""`jaxrec train` as a launch from a checkout: python -m experiments.train --help."""

from jaxrec.cli.main import main

if __name__ == '__main__':
    main('train')
