"""`jaxrec predict` as a launch from a checkout: python -m experiments.predict --help."""

from jaxrec.cli.main import main

if __name__ == '__main__':
    main('predict')
