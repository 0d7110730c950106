"""What a config can tell AGE: how it explores, its gate, and what does not fit together."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxrec.ops.dropout import DROPS
from jaxrec.ops.exploration import CENTRES, SPREADS
from jaxrec.options import read_options

ALLOWED = {
    'perturb': ('all', 'item', 'user'),
    'direction': ('pgd', 'fgm', 'random'),
    'uncertainty': ('ts', 'ucb', 'gaussian'),
    'ucb_spread': SPREADS,
    'ucb_centre': CENTRES,
    'mask_scope': ('request', 'candidate'),
    'dropout_place': tuple(DROPS),
    'variant': ('v2', 'v1'),
    'gate': ('dgu', 'fixed', 'none'),
}


@dataclasses.dataclass(frozen=True)
class Exploration:
    """How scores are explored; the paper's lambda of 1e-3 has no effect without its own, unstated scales."""

    explore_lambda: float | None = None  # step per unit of uncertainty; None must be tuned or given
    perturb: str = 'all'  # 'all' rows, or those of the 'item' (the candidate's columns) or 'user' side alone
    direction: str = 'pgd'  # 'pgd', 'fgm', or 'random', the ablation without g; what replaces it is not published
    pgd_steps: int = 5  # T
    uncertainty: str = 'ts'  # 'ts', 'ucb', or 'gaussian', the ablation without delta_y: a standard normal number
    dropout_rate: float = 0.01  # share of the weights that a pass sets to zero
    dropout_place: str = 'weights'  # 'weights', the paper's, or 'activations', whole units of the hidden layers
    passes: int = 20  # N of 'ucb'
    ucb_spread: str = 'std'  # 'std' or 'var'
    ucb_centre: str = 'base'  # the spread is around the 'base' prediction, or the 'mean' of the passes
    ts_signed: bool = True  # keep the sign of 'ts'; False takes the absolute value, for comparison
    mask_scope: str = 'request'  # a network for each 'request' (one posterior sample), or each 'candidate'
    variant: str = 'v2'  # 'v2', or 'v1': the unknown feedback is taken for a click, so that scores only rise
    gate: str = 'dgu'  # 'dgu', a net's average CTR of the item; 'fixed', `gate_threshold`; or 'none'
    gate_threshold: float = 0.01  # of 'fixed', a probability
    soft_gate: bool = False  # sigmoid(`gate_slope` * (prediction - threshold)) in place of 0 and 1
    gate_slope: float = 10.0  # of the soft gate

    def __post_init__(self) -> None:
        for name, values in ALLOWED.items():
            if getattr(self, name) not in values:
                raise ValueError(f'model.{name} = {getattr(self, name)!r} does not exist; choose one of {values}')
        for name in ('pgd_steps', 'passes'):
            if getattr(self, name) < 1:
                raise ValueError(f'model.{name} = {getattr(self, name)}: give at least 1')
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(f'model.dropout_rate = {self.dropout_rate}: give a share in [0, 1)')
        if self.gate_slope <= 0:
            raise ValueError(f'model.gate_slope = {self.gate_slope}: a gate opens upwards, give more than 0')
        size = self.explore_lambda
        if size is not None and (isinstance(size, bool) or not isinstance(size, int | float) or size < 0):
            raise ValueError(
                f'model.explore_lambda = {size!r}: give a number, 0 or more, or None and tune '
                'it to a share of changed winners with models.age.tune_lambda'
            )


TRAINED: dict[str, Any] = {'gate_widths': (32,), 'gate_columns': (), 'dgu_loss_weight': 1.0}
EXPLORED = {field.name: field.default for field in dataclasses.fields(Exploration)}


def read_age_options(config: Mapping[str, Any]) -> tuple[dict[str, Any], Exploration]:
    """Merges a config over the defaults.

    Args:
      config: `features`, `base` and any of `TRAINED` and the attributes of `Exploration`.

    Returns:
      {option: value} of what training needs, and how scores are explored.

    Raises:
      ValueError: an unknown option or value, or no base.
    """
    options = read_options(config, 'model', features={}, base={}, **TRAINED, **EXPLORED)
    base = options['base']
    if 'task' not in base:
        raise ValueError(
            "model.base has no 'task': AGE wraps a CTR model, name one and its options, such as "
            "{'task': 'jaxrec.models.baselines.dnn:make_task', 'dim': 8}"
        )
    if 'features' in base:
        raise ValueError('model.base.features: the base reads the features of the config; leave it out')
    if options['dgu_loss_weight'] <= 0:
        raise ValueError(
            f'model.dgu_loss_weight = {options["dgu_loss_weight"]}: nothing else trains the gate; give more '
            "than 0, or set model.gate = 'none'"
        )
    exploration = Exploration(**{name: options.pop(name) for name in EXPLORED})
    return options, exploration
