"""From the results of cells to `table.json`, `table.md` and `table.png`."""

import json
import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxrec.files import replace_text
from jaxrec.runs.comparison.cells import CEILING, METRICS
from jaxrec.runs.row_files import new_figure, save_figure

log = logging.getLogger(__name__)

Summary = dict[str, dict[str, dict[str, float]]]
AUCS = ('auc', 'auc_unseen', 'auc_long')  # of which there are paired differences, and which are drawn
WIDEST = 24  # metrics in a line


def spread(values: list[float]) -> dict[str, float]:
    """{'mean', 'sd', 'n'} of some seeds; the deviation is the sample's, 0 for one seed."""
    sd = statistics.stdev(values) if len(values) > 1 else 0.0
    return {'mean': statistics.fmean(values), 'sd': sd, 'n': len(values)}


def summarize(table: ConfigDict, results: Mapping[str, Mapping[str, list]]) -> Summary:
    """Averages over seeds, and takes paired differences to the reference row.

    Args:
      table: the table's config: `main`, the main column, `reference`, and optionally `paired`, the metrics of which
        there are differences, `against`, {row: another reference}, and `ratios`, {metric: row to divide by}.
      results: {column: {row: [result of each seed]}}.

    Returns:
      {row: {metric: {'mean', 'sd', 'n'}}}; metrics of other columns than the main one are called `<column>/<metric>`,
      differences `<metric>_minus_<row>`, ratios `<metric>_over_<row>`.
    """
    summary: Summary = {}
    for column, rows in results.items():
        prefix = '' if column == table.main else f'{column}/'
        for row, cells in rows.items():
            into = summary.setdefault(row, {})
            for metric in _common(cells, 'test'):
                into[prefix + metric] = spread([cell['test'][metric] for cell in cells])
            references = dict.fromkeys((table.reference, table.get('against', {}).get(row)))
            for other in [name for name in references if name in rows and name != row]:
                for metric in table.get('paired', AUCS):
                    gaps = [ours - theirs for ours, theirs in _pairs(cells, rows[other], metric)]
                    into |= {f'{prefix}{metric}_minus_{other}': spread(gaps)} if gaps else {}
            for metric, other in dict(table.get('ratios', {})).items():
                shares = [ours / theirs for ours, theirs in _pairs(cells, rows.get(other, ()), metric)]
                into |= {f'{prefix}{metric}_over_{other}': spread(shares)} if shares else {}
            for number in ('trained', 'seconds'):
                if all(number in cell for cell in cells):
                    into[prefix + number] = spread([float(cell[number]) for cell in cells])
            for number in ('parameters', 'parameters_candidates', 'step_ms') if not prefix else ():
                if all(number in cell for cell in cells):
                    into[number] = spread([float(cell[number]) for cell in cells])
        first = next(iter(rows.values()))
        if 'ceiling' in first[0]:
            into = summary.setdefault(CEILING, {})
            for metric in _common(first, 'ceiling'):
                if metric in first[0]['test']:
                    into[prefix + metric] = spread([cell['ceiling'][metric] for cell in first])
    return summary


def _pairs(
    cells: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], metric: str
) -> list[tuple[float, float]]:
    """A metric of two rows by seed; nothing where a cell lacks it, or there is no other row."""
    if not others or metric not in _common([*cells, *others], 'test'):
        return []
    # A row may have fewer seeds than another (`row_seeds`): the first ones, which are paired.
    return [(a['test'][metric], b['test'][metric]) for a, b in zip(cells, others, strict=False)]


def _common(cells: Sequence[Mapping[str, Any]], part: str) -> list[str]:
    """The metrics that every cell has, in the order of the first."""
    return [metric for metric in cells[0][part] if all(metric in cell[part] for cell in cells)]


def to_markdown(table: ConfigDict, summary: Summary, seeds: int) -> str:
    """Returns the table as Markdown: its config has `title`, `shown` metrics, `published`, `row_seeds`, `note`."""
    published = dict(table.get('published', {}))
    sources = sorted({source for values in published.values() for source in values})
    fewer = {row: least for row, least in dict(table.get('row_seeds', {})).items() if least < seeds}
    told = ''.join(f', of `{row}` {least}' for row, least in fewer.items() if row in summary)
    shown = [m for m in table.shown if any(m in values for values in summary.values())]
    if nowhere := [m for m in table.shown if m not in shown]:
        log.warning('no row that was run has %s: the table lacks the columns', ', '.join(nowhere))
    head = ['row', *shown, *(f'published: {source}' for source in sources)]
    lines = [f'# {table.title}', '', f'{seeds} seeds{told}, mean ± sample standard deviation.', '']
    lines += ['| ' + ' | '.join(head) + ' |', '|' + '---|' * len(head)]
    for row, values in summary.items():
        cells = [_cell(values.get(metric)) for metric in shown]
        cells += [str(published.get(row, {}).get(source, '')) for source in sources]
        lines.append('| ' + ' | '.join([row, *cells]) + ' |')
    return '\n'.join([*lines, '', table.get('note', ''), '']) + '\n'


def _cell(value: Mapping[str, float] | None) -> str:
    if value is None:
        return ''
    if abs(value['mean']) >= 100:
        return f'{value["mean"]:,.0f}'
    deviation = f' ± {value["sd"]:.4f}' if value['n'] > 1 else ''
    return f'{value["mean"]:.4f}{deviation}'


def side_by_side(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Lays out {name: {metric: value}} as text, one line a name; '-' where a metric is undefined.

    Metrics are those of click-through rates, or else all; more than `WIDEST` have a line each, and names a column.
    """
    found = {metric: max(8, len(metric)) for values in rows.values() for metric in values}
    metrics = dict.fromkeys(METRICS, 8) if found.keys() & set(METRICS) else found
    if len(metrics) > WIDEST:
        return _by_metric(rows, list(metrics))
    width = max(len(name) for name in rows)
    lines = ['  '.join([' ' * width, *(f'{metric:>{size}}' for metric, size in metrics.items())])]
    for name, values in rows.items():
        shown = (f'{values[m]:{size}.4f}' if m in values else f'{"-":>{size}}' for m, size in metrics.items())
        lines.append('  '.join([f'{name:<{width}}', *shown]))
    return '\n'.join(lines)


def _by_metric(rows: Mapping[str, Mapping[str, float]], metrics: Sequence[str]) -> str:
    """One line a metric."""
    width = max(map(len, metrics))
    lines = ['  '.join([' ' * width, *(f'{name:>8}' for name in rows)])]
    for metric in metrics:
        shown = (
            f'{values[metric]:>{max(8, len(name))}.4f}' if metric in values else f'{"-":>{max(8, len(name))}}'
            for name, values in rows.items()
        )  # fmt: skip
        lines.append('  '.join([f'{metric:<{width}}', *shown]))
    return '\n'.join(lines)


def draw(table: ConfigDict, summary: Summary, path: Path) -> None:
    """Draws the paired metrics of every row in every column, with one standard deviation to each side."""
    metrics = [m for m in table.shown if m.rpartition('/')[2] in table.get('paired', AUCS)]
    metrics = [m for m in metrics if any(m in values for values in summary.values())]
    rows = list(summary)[::-1]
    size = (1 + 3 * len(metrics), 1 + 0.4 * len(rows))
    figure, axes = new_figure(1, len(metrics), figsize=size, sharey=True, squeeze=False)
    for axis, metric in zip(axes[0], metrics, strict=True):
        for place, row in enumerate(rows):
            if (value := summary[row].get(metric)) is not None:
                color = 'C1' if row == CEILING else 'C0'
                axis.errorbar(value['mean'], place, xerr=value['sd'] or None, fmt='o', capsize=3, color=color)
        axis.set(title=metric.replace('_', ' '), yticks=range(len(rows)), yticklabels=rows)
        axis.grid(axis='x', alpha=0.3)
    figure.suptitle(table.title, fontsize=10)
    save_figure(figure, path)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON in one piece, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(content, indent=1) + '\n')
