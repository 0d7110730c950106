"""List the models: name, paper, what it needs, whether it has simulated data, its command and its page.

jaxrec models
"""

from jaxrec.cli.flags import friendly


@friendly
def main(_: list[str]) -> None:
    """Prints the table."""
    from jaxrec.runs.models import all_models

    print(all_models())
