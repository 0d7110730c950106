"""What a run on a config would read: examples and events by part, distinct values by vocabulary."""

from collections.abc import Mapping

from jaxrec.data.sources.splits import PARTS
from jaxrec.runs.build import Experiment


def count(run: Experiment) -> dict[str, int]:
    """Counts what the parts and vocabularies of a run hold.

    Returns:
      {what: number}: examples and events of each part, and of training and validation together (one part in papers that
      choose nothing); distinct values of each vocabulary that a feature reads, without padding and out-of-vocabulary.
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
