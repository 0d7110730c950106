"""What a config can tell the long-term interest block: options, presets, and what does not fit together."""

from collections.abc import Mapping
from typing import Any

from jaxrec.data.logs.schema import Column
from jaxrec.models.baselines.din import check_comparable
from jaxrec.models.baselines.dnn import BASE_OPTIONS
from jaxrec.models.sim.presets import PRESETS
from jaxrec.options import read_options

SEARCHES = ('hard', 'soft', 'soft_shared', 'simhash', 'sdim', 'twin', 'none')
ATTENTIONS = ('mha', 'din', 'mean')
# The bases of the short models; 'none' reads no short history.
SHORT_MODELS = {'din': 'din', 'dien': 'dien', 'none': 'dnn'}

SIM_OPTIONS: dict[str, Any] = {
    'search': 'soft',
    'attention': 'mha',
    'keep': 50,
    'column': 'category',
    'num_heads': 2,
    'head_dim': 64,
    'din_widths': (80, 40),
    'din_softmax': True,
    'time_gap': 0,
    'short_model': 'din',
    'base_options': {},
    'alpha': None,
    'beta': 1.0,
    'project': True,
    'aux_softmax': False,
    'hashes': 0,
    'hash_group': 3,
    'hash_seed': 0,
    'preset': None,
}


def read_sim_options(config: Mapping[str, Any], schema: Mapping[str, Column]) -> dict[str, Any]:
    """Merges a config, `features` and any of `BASE_OPTIONS` and `SIM_OPTIONS`, over its preset and the defaults.

    Returns:
      {option: value}; `alpha` is a number.

    Raises:
      ValueError: an unknown preset, search, attention or short model, a number out of range, features that the search
        cannot compare, or options that contradict each other.
    """
    options = read_options(config, 'model', **BASE_OPTIONS, **SIM_OPTIONS)
    preset = options['preset']
    if preset is not None:
        _check_one_of('preset', preset, PRESETS)
        options |= {name: value for name, value in PRESETS[preset].items() if name not in config}
    _check_one_of('search', options['search'], SEARCHES)
    _check_one_of('attention', options['attention'], ATTENTIONS)
    _check_one_of('short_model', options['short_model'], SHORT_MODELS)
    _check_numbers(options)
    _check_features(options, schema)
    options['alpha'] = _alpha(options)
    search = options['search']
    if search in ('sdim', 'twin') and options['attention'] != 'mha':
        raise ValueError(
            f'model.attention = {options["attention"]!r}, but the search {search!r} brings its own: leave '
            'the attention out, or choose another search'
        )
    return options


def _check_one_of(name: str, value: Any, allowed: Any) -> None:
    if value not in allowed:
        raise ValueError(f'model.{name} = {value!r} does not exist; choose one of {sorted(allowed)}')


def _check_numbers(options: Mapping[str, Any]) -> None:
    least = {'keep': 1, 'num_heads': 1, 'head_dim': 1, 'time_gap': 0, 'hashes': 0, 'hash_group': 1}
    for name, low in least.items():
        if options[name] < low:
            raise ValueError(f'model.{name} = {options[name]}: give at least {low}')
    if options['beta'] <= 0:
        raise ValueError(f'model.beta = {options["beta"]}: the loss of the scores needs a positive weight')
    if options['search'] != 'sdim':
        return
    hashes, group = options['hashes'] or PRESETS['sdim']['hashes'], options['hash_group']
    if hashes % group or group > 31:
        raise ValueError(
            f'model.hash_group = {group} must divide model.hashes = {hashes}, and be 31 at most; the paper '
            'has groups of 3 and 48 hashes'
        )


def _check_features(options: Mapping[str, Any], schema: Mapping[str, Column]) -> None:
    features, column = options['features'], options['column']
    if options['search'] != 'twin':
        check_comparable(features, 'SIM')
    history, candidate = list(features.get('history', ())), list(features.get('candidate', ()))
    if missing := sorted(set(candidate) - set(history)):
        raise ValueError(
            f'features.history {history} lacks {missing[0]!r} of features.candidate: TWIN compares these '
            'columns of behaviours and candidates, and takes further ones of the history as cross features'
        )
    if options['search'] != 'hard':
        return
    if column not in candidate or schema[column].kind != 'categorical':
        raise ValueError(
            f'model.column = {column!r}: a hard search compares one id of behaviours and candidates, so name '
            f'a categorical column of features.candidate {candidate}'
        )


def _alpha(options: Mapping[str, Any]) -> float:
    """The weight of the search's own loss: the paper's, unless the config says otherwise."""
    alpha, soft = options['alpha'], options['search'] == 'soft'
    if alpha is None:
        return 1.0 if soft else 0.0
    if not isinstance(alpha, int | float) or alpha < 0:
        raise ValueError(f'model.alpha = {alpha!r}: give the weight of the search loss, or 0 for none')
    if alpha and not soft:
        raise ValueError(
            f'model.alpha = {alpha} weighs the loss of a soft search, but the search {options["search"]!r} '
            'has none: set it to 0, or leave it out'
        )
    if soft and not alpha and options['project']:
        raise ValueError(
            'model.alpha = 0 leaves W_a and W_b of the soft search as they were drawn, since nothing else '
            'trains them: give it a weight, or set model.project = False'
        )
    return float(alpha)
