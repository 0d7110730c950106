"""`jaxrec ingest` as a launch from a checkout: python -m experiments.ingest --help."""

from jaxrec.cli.main import main

if __name__ == '__main__':
    main('ingest')
