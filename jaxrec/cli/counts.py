"""Count what a run on a config reads, next to the counts that a paper states.

    jaxrec counts --config=configs/can/amazon_books.py
    jaxrec counts --model=DNN --log=logs/clicks

Trains nothing. An event is a row of the log, an example a candidate that is scored: a positive event with one
drawn negative makes two examples.
"""

from jaxrec.cli.configs import given_config
from jaxrec.cli.flags import DATA_DIR, friendly


@friendly
def main(_: list[str]) -> None:
    """Compiles, counts, prints."""
    from jaxrec.runs.build import build
    from jaxrec.runs.counts import count, table

    run = build(given_config('jaxrec train'), DATA_DIR.value)
    manifest, found, published = run.log.manifest, count(run), run.data['published']
    if unknown := sorted(set(published) - set(found)):
        raise ValueError(f'data.published counts {unknown[0]!r}; what is counted: {", ".join(found)}')
    print(f'log {run.log.folder}')
    for kind in ('counts', 'dropped', 'notes'):
        for what, number in manifest[kind].items():
            print(f'  {kind}: {number:,} {what}')
    print(table(found, published))
