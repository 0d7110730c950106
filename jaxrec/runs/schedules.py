"""How the learning rate of the dense parameters changes over a run: `config.train.schedule`.

    config.train.schedule = {'kind': 'cosine', 'warmup': 0.03}
    config.train.schedule = {'kind': 'steps', 'at': (90 / 140, 120 / 140), 'factor': 0.1}

Times are shares of the run's steps. The rate of table rows does not change.
"""

from collections.abc import Mapping
from typing import Any

import jax
import optax

from jaxrec.options import read_options

KINDS = ('cosine', 'steps')
OPTIONS: dict[str, Any] = {
    'kind': '',
    'warmup': 0.0,
    'end': 0.0,
    'at': (90 / 140, 120 / 140),  # PPDM's
    'factor': 0.1,
}


def make_schedule(described: Mapping[str, Any], learning_rate: float, steps: int) -> optax.Schedule:
    """The learning rate at each step.

    Args:
      described: `kind`, 'cosine' (falls along half a cosine to the share `end` of the learning rate) or
        'steps' (is multiplied by `factor` at each time of `at`), and `warmup`, for how long it first rises in
        a straight line from 0.

    Raises:
      ValueError: an unknown key or kind, or a number out of range.
    """
    options = read_options(described, 'train.schedule', **OPTIONS)
    if options['kind'] not in KINDS:
        raise ValueError(f'train.schedule.kind = {options["kind"]!r} does not exist; choose one of {KINDS}')
    other = ('at', 'factor') if options['kind'] == 'cosine' else ('end',)
    if idle := [name for name in other if name in described]:
        raise ValueError(f'train.schedule.{idle[0]} is not of kind {options["kind"]!r}: leave it out')
    for name in ('warmup', 'end', 'factor'):
        if not 0 <= options[name] <= 1:
            raise ValueError(f'train.schedule.{name} = {options[name]} is outside [0, 1]')
    warm = round(options['warmup'] * steps)
    if options['kind'] == 'cosine':
        after = optax.cosine_decay_schedule(learning_rate, max(steps - warm, 1), options['end'])
    else:
        times = tuple(options['at'])
        if list(times) != sorted(set(times)) or not all(options['warmup'] < time < 1 for time in times):
            raise ValueError(f'train.schedule.at = {times}: give rising shares of the run, after warmup and below 1')
        drops: dict[int, float] = {}  # of a short run several may fall on one step
        for time in times:
            at = round(time * steps) - warm
            drops[at] = drops.get(at, 1.0) * options['factor']
        after = optax.piecewise_constant_schedule(learning_rate, drops)
    if not warm:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, learning_rate, warm), after], [warm])


def without_schedule(opt_state: Any) -> Any:
    """The state of an optimizer without the steps that a schedule has counted; moments stay."""
    counts = lambda part: isinstance(part, optax.ScaleByScheduleState)
    return jax.tree.map(lambda part: optax.EmptyState() if counts(part) else part, opt_state, is_leaf=counts)
