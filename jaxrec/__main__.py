"""`python -m jaxrec`: the command `jaxrec`."""

from jaxrec.cli.main import main

if __name__ == '__main__':
    main()
