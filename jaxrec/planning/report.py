"""Plans as text and as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxrec.planning.plan import STATE, Plan
from jaxrec.runs.row_files import new_figure, save_figure

PREDICTED = (
    'All figures are predictions: compiled for chips that are not here, rates as published, nothing was run. '
    'Links have no latency here, vector units and gathers no cost but their bytes.'
)


def size(nbytes: float | None) -> str:
    """Bytes for people."""
    if nbytes is None:
        return '-'
    for unit, factor in (('GiB', 2**30), ('MiB', 2**20), ('KiB', 2**10)):
        if abs(nbytes) >= factor:
            return f'{nbytes / factor:.2f} {unit}'
    return f'{nbytes:.0f} B'


def span(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None:
        return '-'
    for unit, factor in (('s', 1.0), ('ms', 1e-3)):
        if seconds >= factor:
            return f'{seconds / factor:.2f} {unit}'
    return f'{seconds * 1e6:.1f} us'


def describe(plan: Plan, most: int = 12, operations: int = 0) -> str:
    """A plan as text, with the largest `most` collectives and the `operations` lines of code that take longest."""
    data, model = plan['mesh']
    rows = f'  rows by {plan["exchange"]}' if plan.get('exchange') else ''
    lines = [f'{plan["topology"]}  mesh {data} x {model}  batch {plan["batch"]}  step {plan["step"]}{rows}']
    lines.append('  a device holds      ' + _listed(plan['state_bytes'], (*STATE, 'batch')))
    memory = plan['memory']
    if 'refused' in plan:
        lines.append(
            '  DOES NOT FIT        '
            + ('' if memory['free'] is None else f'by {size(-memory["free"])} or more; ')
            + f'XLA refuses: {plan["refused"]}'
        )
        return '\n'.join(lines)
    parts = ('arguments', 'temporaries', 'outputs', 'aliased', 'code')
    lines.append('  as XLA lays it out  ' + _listed(memory, parts))
    if memory['fits'] is None:
        lines.append(f'  peak                {size(memory["peak"])}')
    else:
        word = 'fits' if memory['fits'] else 'DOES NOT FIT'
        room = f'{size(abs(memory["free"]))} {"free" if memory["fits"] else "too much"}'
        lines.append(f'  peak                {size(memory["peak"])} of {size(memory["hbm"])}: {word}, {room}')
    lines.append(
        f'  products            {plan["flops"]:.3e} FLOPs executed by a device, '
        f'{plan["traced_flops"] / plan["devices"]:.3e} asked for; {size(plan["bytes"])} of memory traffic'
    )
    lines += _collective_lines(plan, most) + _operation_lines(plan, operations) + _time_lines(plan)
    lines += [f'  note: {note}' for note in plan['notes']]
    return '\n'.join(lines)


def _listed(sizes: dict[str, Any], names: Sequence[str]) -> str:
    return ', '.join(f'{name} {size(sizes[name])}' for name in names if sizes.get(name)) or 'nothing'


def _collective_lines(plan: Plan, most: int) -> list[str]:
    found = plan['collectives']
    total = sum(c['bytes'] * c['count'] for c in found if not c['optional'])
    lines = [f'  collectives         {len(found)} kinds and places, {size(total)} a step']
    for c in found[:most]:
        taken = '' if c['seconds'] is None else f'  {span(c["seconds"])}'
        maybe = '  (only if data ask for it)' if c['optional'] else ''
        lines.append(
            f'    {c["count"]:>4} x {c["kind"]:<18} {size(c["bytes"]):>11} over {c["group"]:>3}{taken}  '
            f'{c["source"]}{maybe}'
        )
    if len(found) > most:
        lines.append(f'    and {len(found) - most} smaller ones')
    return lines


def _operation_lines(plan: Plan, most: int) -> list[str]:
    if not most:
        return []
    found = plan['operations']
    lines = [f"  by line of code     {len(found)} lines; products, memory traffic, roofline, XLA's cycles"]
    for one in found[:most]:
        lines.append(
            f'    {one["flops"]:9.2e} FLOPs {size(one["bytes"]):>11} {span(one["seconds"]):>9} '
            f'{span(one["cycle_seconds"]):>9}  {one["source"]}'
        )
    return lines


def _time_lines(plan: Plan) -> list[str]:
    times, xla = plan['time'], plan['xla']
    if times is None:
        return ['  time                no rates are published for these devices']
    lines = [
        f'  roofline            {span(times["step"])} a step: products {span(times["compute"])}, memory '
        f'{span(times["hbm"])}, collectives {span(times["collectives"])} of which nothing hides '
        f'{span(times["exposed"])}; bound by {times["bound"]}',
        f'  predicted           {times["examples_per_s"]:,.0f} examples/s'
        + ('' if times['mfu'] is None else f', MFU {100 * times["mfu"]:.1f} %'),
        f'  XLA estimates       {span(xla["seconds"])}'
        + (' (loop bodies counted once)' if xla['seconds'] else ' (it gives none)')
        + _cycles(xla),
    ]
    if plan['tokens']:
        t = plan['tokens']
        lines.insert(2, f'  model               {t["parameters"]:,} parameters, {t["active"]:,} active; '
                     f'{t["tokens"]} tokens and {t["model_flops"]:.3e} FLOPs an example')  # fmt: skip
    return lines


def _cycles(xla: dict[str, Any]) -> str:
    if not xla['cycles']:
        return ', and no cycles'
    taken = span(xla['cycle_seconds']) if xla['cycle_seconds'] else 'no clock is published'
    return f'; {xla["cycles"]:.3e} cycles, loops counted in full: {taken}'


def describe_scaling(entries: Sequence[dict[str, Any]]) -> str:
    """Slices of growing size as a table."""
    lines = ['  chips      mesh    batch        step    examples/s   MFU %  efficiency %']
    for e in entries:
        mesh = f'{e["mesh"][0]}x{e["mesh"][1]}'
        head = f'  {e["chips"]:>5}  {mesh:>8}  {e["batch"]:>7}'
        if 'refused' in e:
            lines.append(f'{head}  {e["refused"][:100]}')
        elif 'examples_per_s' not in e:
            lines.append(f'{head}  {"does not fit" if e["fits"] is False else "no rates published"}')
        else:
            shown = [f'{100 * e[key]:.1f}' if e.get(key) is not None else '-' for key in ('mfu', 'efficiency')]
            fits = '' if e['fits'] else '  does not fit'
            lines.append(
                f'{head}  {span(e["step"]):>10}  {e["examples_per_s"]:>12,.0f}  {shown[0]:>6}  {shown[1]:>12}{fits}'
            )
    return '\n'.join(lines)


def draw(plans: Sequence[Plan], path: Path) -> None:
    """Draws memory, time and scaling of some plans."""
    figure, axes = new_figure(1, 3, figsize=(14, 1.6 + 0.45 * max(4, len(plans))))
    names = [f'{p["topology"]} {p["mesh"][0]}x{p["mesh"][1]}' for p in plans]
    _draw_memory(axes[0], plans, names)
    _draw_time(axes[1], plans, names)
    _draw_scaling(axes[2], plans, names)
    figure.suptitle('Predicted, not run', fontsize=10)
    save_figure(figure, path)


def _draw_memory(axis: Any, plans: Sequence[Plan], names: Sequence[str]) -> None:
    parts = ('params', 'opt_state', 'tables', 'row_opt_state', 'other')
    for place, plan in enumerate(plans):
        held, left = plan['state_bytes'], 0.0
        sizes = {name: held[name] for name in parts[:-1]}
        peak = plan['memory']['peak']
        sizes['other'] = max(0.0, (peak or 0.0) - sum(sizes.values()))
        for number, name in enumerate(parts):
            axis.barh(place, sizes[name] / 2**30, left=left, color=f'C{number}', label=name if not place else None)
            left += sizes[name] / 2**30
        if plan['memory']['hbm']:
            axis.plot([plan['memory']['hbm'] / 2**30] * 2, [place - 0.4, place + 0.4], color='k')
    axis.set(yticks=range(len(plans)), yticklabels=names, title='GiB a device (line: what it has)')
    axis.legend(fontsize=7)


def _draw_time(axis: Any, plans: Sequence[Plan], names: Sequence[str]) -> None:
    for place, plan in enumerate(plans):
        for number, name in enumerate(('compute', 'hbm', 'exposed')):
            if plan['time']:
                height = place + 0.27 * (number - 1)
                label = ('products', 'memory', 'collectives')[number] if not place else None
                axis.barh(height, 1e3 * plan['time'][name], 0.25, color=f'C{number}', label=label)
    axis.set(yticks=range(len(plans)), yticklabels=names, title='ms a step, each alone')
    if any(plan['time'] for plan in plans):
        axis.legend(fontsize=7)
    else:
        axis.text(0.5, 0.5, 'no rates published', transform=axis.transAxes, ha='center')


def _draw_scaling(axis: Any, plans: Sequence[Plan], names: Sequence[str]) -> None:
    for plan, name in zip(plans, names, strict=True):
        points = [(e['chips'], e['examples_per_s']) for e in plan.get('scaling', ()) if e.get('examples_per_s')]
        if points:
            axis.loglog(*zip(*points, strict=True), marker='o', base=2, label=name)
            axis.legend(fontsize=7)
    axis.set(title='examples/s by chips (--scaling)', xlabel='chips')
    axis.grid(alpha=0.3)
