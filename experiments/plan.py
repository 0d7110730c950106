"""`jaxrec plan` as a launch from a checkout: python -m experiments.plan --help."""

from jaxrec.cli.main import main

if __name__ == '__main__':
    main('plan')
