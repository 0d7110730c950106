"""The report of a tokenization as a table and a figure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.runs.row_files import new_figure, save_figure

COLUMNS = (
    ('mse', 'MSE', '{:.4f}'), ('load', 'load max/mean', '{:.2f}'), ('utilisation', 'utilisation', '{:.4f}'),
    ('entropy', 'entropy', '{:.3f}'), ('collision_rate', 'collisions', '{:.4f}'),
    ('largest_group', 'largest group', '{}'), ('agreement', 'agreement', '{:.4f}'),
)  # fmt: skip


def to_markdown(found: Mapping[str, Any]) -> str:
    """Lays out a report from `tokenizing.tokens.measure`: a line for each encoding and level, and notes."""
    lines = [
        '| encoding | level | ' + ' | '.join(title for _, title, _ in COLUMNS) + ' |',
        '|---' * (2 + len(COLUMNS)) + '|',
    ]
    others: Mapping[str, Any] = found.get('beside', {})
    for encoding, levels in [*found['levels'].items(), *((name, of['levels']) for name, of in others.items())]:
        for number, level in enumerate(levels, 1):
            shown = ' | '.join(form.format(level[name]) if name in level else '-' for name, _, form in COLUMNS)
            lines.append(f'| {encoding} | {number} | {shown} |')
    passes = ', '.join(
        f'{made} ({moved} items moved in the last)'
        for made, moved in zip(found.get('passes', ()), found.get('moved', ()), strict=True)
    )
    width = f' of width {found["width"]}' if 'width' in found else ''
    lines += [
        '',
        f'{found["items"]} items{width}, {found["clusters"]} codes a level; entropy in '
        f'nats, at most {np.log(found["clusters"]):.3f}.',
        *([f'passes of each level: {passes}.'] if passes else []),
        f'{found["distinct"]} distinct IDs before ranks, collision rate {found["collision_rate"]:.4f}: '
        f'{found["sharing"]} items share theirs, at most {found["largest_group"]} one; the rank level has '
        f'{found["room"]} codes.',
        *(
            f'{name}: {of["distinct"]} distinct IDs of {len(of["levels"])} levels, collision rate '
            f'{of["levels"][-1]["collision_rate"]:.4f}: {of["sharing"]} items share theirs, at most '
            f'{of["levels"][-1]["largest_group"]} one.'
            for name, of in others.items()
        ),
        *(f'note: {note}.' for note in found['notes']),
    ]
    return '\n'.join(lines)


def neighbours(codes: np.ndarray, vectors: np.ndarray, item: int) -> dict[int, np.ndarray]:
    """Finds the items whose codes begin as those of an item do.

    Args:
      codes: int [V, L].
      vectors: float [V, D].
      item: its row.

    Returns:
      {n: rows of the items that share the first n codes and no more, those with the nearest vectors first}, from
      n = L to 1.
    """
    shared = np.cumprod(codes == codes[item], 1).sum(1)
    shared[item] = 0
    order = np.argsort(np.square(vectors - vectors[item]).sum(1), kind='stable')
    return {depth: order[shared[order] == depth] for depth in range(codes.shape[1], 0, -1)}


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Draws the load of the codes and the MSE of each level, from `tokenizing.tokens.measure`, to `path`."""
    measured = {name: levels for name, levels in found['levels'].items() if 'mse' in levels[0]}
    figure, axes = new_figure(1, 1 + bool(measured), figsize=(9, 3.2), squeeze=False)
    left, right = axes[0, 0], axes[0, -1]
    for style, (encoding, levels) in zip(('-', '--'), found['loads'].items(), strict=False):
        for number, counts in enumerate(levels, 1):
            share = np.arange(1, len(counts) + 1) / len(counts)
            load = np.asarray(counts) * found['clusters'] / found['items']
            left.plot(share, load, style, color=f'C{number - 1}', label=f'{encoding}, level {number}')
    left.set_ylim(bottom=0)
    left.axhline(1, color='grey', linewidth=0.8)
    left.set(xlabel='share of the codes, the fullest first', ylabel='items / mean', title='load of the codes')
    left.legend(fontsize=7)
    for encoding, levels in measured.items():
        numbers = range(1, len(levels) + 1)
        right.plot(numbers, [level['mse'] for level in levels], marker='o', label=encoding)
        right.set(xlabel='levels', title='MSE', xticks=numbers)
        right.set_ylim(bottom=0)
        right.legend()
    for axis in axes[0]:
        axis.grid(alpha=0.3)
    save_figure(figure, path)
