"""What the buckets of an online experiment have earned: by seed, paired, as a table and as a figure.

A seed's result is plain JSON: `buckets`, {bucket: its `summarise`d metrics, and `new`}; `days`, {bucket: [true click
rate of each day, None before the experiment]}; `tuned`, {explorer: its lambda}.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.runs.comparison.tables import spread
from jaxrec.runs.row_files import new_figure, save_figure

Result = Mapping[str, Any]
Summary = dict[str, dict[str, dict[str, dict[str, float]]]]
OF_BUCKETS = ('ctr', 'true_ctr', 'regret', 'new', 'pcoc', 'changed')
SHARES = ('ctr', 'true_ctr', 'new', 'cost', 'changed')  # told in percent where they are of pairs
HEAD = {
    'ctr': 'CTR, B over A',
    'true_ctr': 'true CTR, B over A',
    'new': 'impressions of new items, B over A',
    'pcoc_a': 'PCOC of A',
    'pcoc_b': 'PCOC of B',
    'nearer': 'PCOC, B nearer 1 by',
    'regret': 'regret, B - A',
    'cost': 'true CTR, D over C',
    'changed': 'winners changed in D',
}


def pair(result: Result, explorer: str) -> dict[str, float]:
    """Compares bucket B of an explorer with A, and D with C, in the result of a seed.

    Returns:
      The keys of `HEAD`; without those that have no value, since nothing was clicked or nothing was new.
    """
    names = 'A', f'B {explorer}', 'C', f'D {explorer}'
    a, b, c, d = (result['buckets'][name] for name in names)
    found = {key: b[key] / a[key] - 1 for key in ('ctr', 'true_ctr', 'new') if a[key]}
    if 'pcoc' in a and 'pcoc' in b:
        found |= {'pcoc_a': a['pcoc'], 'pcoc_b': b['pcoc']}
        found['nearer'] = abs(a['pcoc'] - 1) - abs(b['pcoc'] - 1)
    found['regret'] = b['regret'] - a['regret']
    return found | {'cost': d['true_ctr'] / c['true_ctr'] - 1, 'changed': d['changed']}


def summarise_seeds(results: Sequence[Result], explorers: Sequence[str]) -> Summary:
    """Computes mean and standard deviation over seeds.

    Returns:
      {'pairs': {explorer: {metric: {'mean', 'sd', 'n', 'above': seeds above 0}}}, 'buckets': {bucket: ...}}.
    """
    summary: Summary = {'pairs': {}, 'buckets': {}}
    for name in explorers:
        pairs = [pair(result, name) for result in results]
        summary['pairs'][name] = {
            key: {**spread(values), 'above': sum(value > 0 for value in values)}
            for key in HEAD
            if (values := [found[key] for found in pairs if key in found])
        }
    for bucket in results[0]['buckets']:
        of_seeds = [result['buckets'][bucket] for result in results]
        summary['buckets'][bucket] = {
            key: spread(values) for key in OF_BUCKETS if (values := [found[key] for found in of_seeds if key in found])
        }
    return summary


def to_markdown(summary: Summary, published: Mapping[str, Mapping[str, str]], results: Sequence[Result]) -> str:
    """Formats a summary of seeds as Markdown: pairs, with `published` {explorer: {metric: text}}, and buckets."""
    lines = [
        '# Online experiment in a simulated feed',
        '',
        f'{len(results)} seeds, mean ± sample standard deviation; B and A, D and C served the same visits.',
    ]
    rows = [
        [name, *(_cell(found, key, key in SHARES) for key in HEAD), *_told(published.get(name, {}))]
        for name, found in summary['pairs'].items()
    ]
    rows += [[name, *[''] * len(HEAD), *_told(x)] for name, x in published.items() if name not in summary['pairs']]
    lines += _table(['explorer', *HEAD.values(), *(f'published: {key}' for key in ('CTR', 'PV', 'PCOC'))], rows)
    buckets = [[name, *(_cell(x, key) for key in OF_BUCKETS)] for name, x in summary['buckets'].items()]
    lines += _table(['bucket', *OF_BUCKETS], buckets)
    lines += [*_verdicts(summary, len(results)), '', *_caveats(results)]
    return '\n'.join(lines) + '\n'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    row = lambda cells: '| ' + ' | '.join(cells) + ' |'
    return ['', row(head), '|' + '---|' * len(head), *map(row, rows), '']


def _told(published: Mapping[str, str]) -> list[str]:
    return [published.get(key, '') for key in ('ctr', 'new', 'pcoc')]


def _cell(found: Mapping[str, Mapping[str, float]], key: str, percent: bool = False) -> str:
    if key not in found:
        return ''
    mean, sd = found[key]['mean'], found[key]['sd']
    if percent:
        return f'{mean:+.2%} ± {sd:.2%}'
    return f'{mean:,.0f} ± {sd:,.0f}' if abs(mean) >= 100 else f'{mean:.4f} ± {sd:.4f}'


def _verdicts(summary: Summary, seeds: int) -> list[str]:
    """In how many seeds the model of what was explored was the better one."""
    lines = []
    for name, found in summary['pairs'].items():
        told = [
            f'{words} in {found[key]["above"]} of {found[key]["n"]}'
            for key, words in (('ctr', 'above A in CTR'), ('true_ctr', 'in true CTR'), ('nearer', 'nearer 1 in PCOC'))
            if key in found
        ]
        lines.append(f'- {name}: of {seeds} seeds B is {", ".join(told)}.')
    return lines


def _caveats(results: Sequence[Result]) -> list[str]:
    """The caveats of all buckets, each with its interval."""
    interval = lambda x: f'{x["ctr"]:.4f} [{x["ctr_low"]:.4f}, {x["ctr_high"]:.4f}]'
    return [
        f'- seed {result["seed"]}, bucket {name}: CTR {interval(x)}; {x["caveat"]}'
        for result in results
        for name, x in result['buckets'].items()
        if x['caveat']
    ]


def draw(results: Sequence[Result], explorers: Sequence[str], path: Path) -> None:
    """Draws the true click rate of each day: A and the B buckets, C and the D buckets.

    The mean over the seeds' results is drawn, with one standard deviation to each side.
    """
    figure, axes = new_figure(1, 2, figsize=(10, 3.8), sharey=True)
    for axis, (plain, other) in zip(axes, (('A', 'B'), ('C', 'D')), strict=True):
        for bucket in (plain, *(f'{other} {name}' for name in explorers)):
            days = np.asarray([result['days'][bucket] for result in results], np.float64)  # [seeds, days]
            seen = np.flatnonzero(~np.isnan(days).any(0))
            mean, sd = days[:, seen].mean(0), days[:, seen].std(0)
            axis.plot(seen + 1, mean, marker='.', label=bucket)
            axis.fill_between(seen + 1, mean - sd, mean + sd, alpha=0.1)
        axis.set(xlabel='day', title=f'{plain} and {other}')
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel('true click rate of what was shown')
    save_figure(figure, path)
