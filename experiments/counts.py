"""Compiles the log of a config and counts what a run on it would read, beside the counts that a paper states.

    python -m experiments.counts --config=configs/can/amazon_books.py

Trains nothing. An event is a row of the log, an example a candidate that is scored: a positive event with one
drawn negative makes two examples.
"""

from collections.abc import Mapping

from absl import app
from ml_collections import config_flags

from experiments.building import Experiment, build
from experiments.flags import DATA_DIR, friendly
from jaxrec.data.splits import PARTS

CONFIG = config_flags.DEFINE_config_file('config', lock_config=True)


def count(run: Experiment) -> dict[str, int]:
    """What the parts and vocabularies of a run hold.

    Args:
      run: the experiment.

    Returns:
      {what: number}: examples and events of each part, and of training and validation together, since papers
      that choose nothing on validation have one part for both; the distinct values of each vocabulary that a
      feature reads, without padding and out-of-vocabulary, and their sum.
    """
    sources = {part: run.source(part) for part in PARTS}
    counts = {f'{part} examples': source.examples for part, source in sources.items()}
    counts |= {f'{part} events': source.events for part, source in sources.items()}
    for what in ('examples', 'events'):
        counts[f'train + validation {what}'] = counts[f'train {what}'] + counts[f'validation {what}']
    columns = {run.log.schema[name] for names in run.config.features.values() for name in names}
    rows = {str(column.vocabulary): column.rows for column in columns if column.vocabulary}
    values = {f'values of {name}': size - 2 for name, size in sorted(rows.items())}
    return counts | values | {'values in all': sum(values.values())}


def table(found: Mapping[str, int], published: Mapping[str, int]) -> str:
    """Lays counts out as text, one line each, with what the paper states where it does."""
    width = max(map(len, found))
    lines = [f'{"":<{width}}  {"here":>12}  {"paper":>12}']
    for name, number in found.items():
        stated = f'{published[name]:>12,}' if name in published else f'{"-":>12}'
        lines.append(f'{name:<{width}}  {number:>12,}  {stated}')
    return '\n'.join(lines)


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
    app.run(main)
