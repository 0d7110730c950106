"""`jaxrec export` as a launch from a checkout: python -m experiments.export --help."""

from jaxrec.cli.main import main

if __name__ == '__main__':
    main('export')
