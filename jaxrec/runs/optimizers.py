"""The optimizers of the dense parameters and how their learning rate changes, by the names that configs give them.

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


MAKERS = {'adam': optax.adam, 'adamw': optax.adamw, 'adagrad': optax.adagrad, 'sgd': optax.sgd}
MUON = 'muon'
LIKE_ADAM = 0.2  # the root mean square of a step of Adam, about, so that learning rates of one do for the other
KERNEL = 'kernel'  # what Flax calls the weights of a dense layer and of a convolution
# Weights of attention, with an axis of heads, by the names that `models.transformer` gives them.
INTO_HEADS, OUT_OF_HEADS = ('query', 'key', 'value'), 'out'


def make_optimizer(
    name: str,
    learning_rate: float,
    schedule: Mapping[str, Any] | None = None,
    steps: int = 0,
    weight_decay: float | None = None,
) -> optax.GradientTransformation:
    """The optimizer of the dense parameters.

    Args:
      name: 'adam', 'adamw', 'adagrad', 'sgd' or 'muon', see `muon`.
      learning_rate: a number.
      schedule: how it changes, as for `make_schedule`; nothing leaves it as it is.
      steps: of the run.
      weight_decay: of 'adamw' and 'muon'; None leaves it at optax's.

    Raises:
      ValueError: an unknown name, a decay below 0 or of another optimizer, or what `make_schedule` refuses.
    """
    if name not in (*MAKERS, MUON):
        raise ValueError(f'train.optimizer = {name!r} does not exist; choose one of {sorted([*MAKERS, MUON])}')
    rate = make_schedule(schedule, learning_rate, steps) if schedule else learning_rate
    if weight_decay is not None and (name not in ('adamw', MUON) or weight_decay < 0):
        raise ValueError(
            f'train.weight_decay = {weight_decay} of {name!r}: give a number from 0 on with '
            "train.optimizer = 'adamw' or 'muon', or None"
        )
    decay = {} if weight_decay is None else {'weight_decay': weight_decay}
    return muon(rate, **decay) if name == MUON else MAKERS[name](rate, **decay)


def muon(rate: optax.ScalarOrSchedule, weight_decay: float = 0.0) -> optax.GradientTransformation:
    """Steps whose matrices are orthogonal (Muon, arXiv 2502.16982); Adam's for all that is no matrix."""
    return optax.contrib.muon(
        rate, weight_decay=weight_decay, muon_weight_dimension_numbers=matrices, consistent_rms=LIKE_ADAM
    )


def matrices(params: Any) -> Any:
    """Which parameters multiply activations, and along which axes, as `MuonDimensionNumbers`; None for the others.

    They are kernels of dense layers, of convolutions (over window and channels), projections of attention with all
    their heads, and stacks of matrices; not biases, scales, kernels of single channels, and matrices that are looked
    up.
    """
    return jax.tree_util.tree_map_with_path(_axes, params)


def _axes(path: Any, array: Any) -> optax.contrib.MuonDimensionNumbers | None:
    axes, name = array.ndim, str(getattr(path[-1], 'key', ''))
    if name == KERNEL:
        return _numbers(axes - 1, 1, axes) if axes in (2, 4) else None
    if axes < 3:
        return None
    # In front stand layers and experts.
    into, out = {**dict.fromkeys(INTO_HEADS, (1, 2)), OUT_OF_HEADS: (2, 1)}.get(name, (1, 1))
    return _numbers(into, out, axes)


def _numbers(into: int, out: int, axes: int) -> optax.contrib.MuonDimensionNumbers:
    """The last `out` axes against the `into` ones before them."""
    middle = axes - out
    return optax.contrib.MuonDimensionNumbers(tuple(range(middle - into, middle)), tuple(range(middle, axes)))
