"""Compiles the log of a config and counts what a run on it would read, beside the counts that a paper states.

    jaxrec counts --config=configs/can/amazon_books.py

Trains nothing. An event is a row of the log, an example a candidate that is scored: a positive event with one
drawn negative makes two examples.
"""

from absl import app
from ml_collections import config_flags

from jaxrec.cli.flags import ANY_KEY, DATA_DIR, friendly, read_flags
from jaxrec.runs.build import build
from jaxrec.runs.counts import count, table

CONFIG = config_flags.DEFINE_config_file('config', **ANY_KEY)


@friendly
def main(_: list[str]) -> None:
    """Compiles, counts, prints."""
    run = build(CONFIG.value, DATA_DIR.value)
    manifest, found, published = run.log.manifest, count(run), run.data['published']
    if unknown := sorted(set(published) - set(found)):
        raise ValueError(f'data.published counts {unknown[0]!r}; what is counted: {", ".join(found)}')
    print(f'log {run.log.folder}')
    for kind in ('counts', 'dropped', 'notes'):
        for what, number in manifest[kind].items():
            print(f'  {kind}: {number:,} {what}')
    print(table(found, published))


if __name__ == '__main__':
    app.run(main, flags_parser=read_flags)
