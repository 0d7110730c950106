"""What all data sets of this folder share: the models of SIM's tables, by the names of their rows.

All but the first read the same short window by DIN and beside it, in the same way, what lies behind it: rows
differ in how that is searched and attended to.
"""

from typing import Any

from jaxrec.options import changed

_CIKM20 = {'dim': 4, 'widths': (200, 80), 'attention': 'mha', 'keep': 50, 'short_model': 'dien'}
_HARD = {**_CIKM20, 'search': 'hard', 'alpha': 0.0}
_SOFT = {**_CIKM20, 'search': 'soft', 'alpha': 1.0, 'project': True, 'aux_softmax': False}
# Settings of papers, by the option `preset`.
PRESETS: dict[str, dict[str, Any]] = {
    'cikm20_hard': _HARD,
    'cikm20_hard_time': {**_HARD, 'time_gap': 4},
    'cikm20_soft': _SOFT,
    'cikm20_soft_time': {**_SOFT, 'time_gap': 4},
    'eta': {'search': 'simhash', 'attention': 'mha', 'keep': 48},
    'sdim': {'search': 'sdim', 'hashes': 48, 'hash_group': 3},
    'twin': {'search': 'twin', 'num_heads': 4, 'keep': 100},
}

KEEP = 50
BASE = {'dim': 16, 'widths': (200, 80), 'history_pooling': 'mean', 'init_std': 0.01, 'row_l2': 0.0}
ATTENTION = (36,)
# A data set says how long the windows are and whether training reads a sample of the long one.
WHOLE = {'lifelong': {'search': None}}
# Searched before a batch is made, so that it holds no more than was kept, of a window of any length.
SEARCHED = {'lifelong': {'search': 'hard', 'keep': KEEP, 'column': 'category', 'sample': None}}
TIME = {'time_gap': {'unit': 86_400, 'buckets': 16}}


def sim(search: str, data: dict[str, Any] = WHOLE, **options: Any) -> dict[str, Any]:
    """A row of the long-term interest block, with options of its own."""
    own = {'search': search, 'keep': KEEP, 'short_model': 'din', 'base_options': {'attention': ATTENTION}}
    return {'task': 'jaxrec.models.sim:make_task', 'model': BASE | own | options, 'data': {**data}}


# A row's `data` is laid over the data set's; None takes a section out.
ROWS: dict[str, dict[str, Any]] = {
    'DIN-short': {
        'task': 'jaxrec.models.baselines.din:make_task',
        'model': BASE | {'attention': ATTENTION},
        'data': {'lifelong': None},
    },
    'DIN-avg': sim('none', attention='mean'),
    'DIN-full': sim('none', attention='din', din_widths=ATTENTION),
    # One memory of both windows.
    'MIMN': {
        'task': 'jaxrec.models.baselines.mimn:make_task',
        'model': BASE | {'window': 'full', 'attention': ATTENTION},
        'data': {**WHOLE},
    },
    # The first stage alone.
    'GSU-hard': sim('hard', SEARCHED, attention='mean'),
    'GSU-soft': sim('soft', attention='mean'),
    'SIM-hard': sim('hard', SEARCHED),
    'SIM-hard+time': sim('hard', SEARCHED | TIME, time_gap=8),
    'SIM-soft': sim('soft'),
    'SIM-soft+time': sim('soft', WHOLE | TIME, time_gap=8),
    # As SIM-soft without time; published ETA and TWIN read times too.
    'ETA': sim('simhash'),
    'SDIM': sim('sdim'),
    'TWIN': sim('twin'),
}
COMPARED = tuple(ROWS)
# The soft search of public code: candidates and behaviours are compared as they are, without W_a and W_b, and
# the scores of its loss are normalised. By the equations it finds nothing in the simulated world, see there.
PLAIN = {'project': False, 'aux_softmax': True}
# Where users do not come back, matches of embeddings are all there is: they show from the first step on.
SPREAD = {'init_std': 0.3}
SIMULATED_ROWS = {
    name: changed(row, model=SPREAD | (PLAIN if row['model'].get('search') == 'soft' else {}))
    for name, row in ROWS.items()
}
# For public data sets, of the widths of the paper.
PUBLIC_ROWS = {
    name: changed(row, model={'dim': 4} | ({'time_gap': 4} if 'time_gap' in row['model'] else {}))
    for name, row in ROWS.items()
}


# The paper's own models, all of whose options are those of a preset, for public data sets; of no table. What
# DIEN's auxiliary loss compares with is drawn by the loader.
def of_paper(preset: str) -> dict[str, Any]:
    """A row that is a preset, with the data that it wants."""
    options = PRESETS[preset]
    hard = {'lifelong': SEARCHED['lifelong'] | {'keep': options['keep']}}
    data: dict[str, Any] = {'history_negatives': 'uniform'} | (hard if options['search'] == 'hard' else WHOLE)
    data |= TIME if 'time_gap' in options else {}
    return {'task': 'jaxrec.models.sim:make_task', 'model': {'preset': preset}, 'data': data}


PAPER_ROWS = {name: of_paper(name) for name in PRESETS if name.startswith('cikm20')}
# Those whose cost hardly grows with the history, and the reference.
SEARCHING = tuple(name for name in ROWS if name not in ('DIN-avg', 'DIN-full', 'MIMN'))
# Of arXiv 2006.05639, whose Taobao is another than the public one.
PUBLISHED = {
    'DIN-short': {'Amazon Books AUC': '.7276 ± .0005', 'Taobao AUC': '.9214 ± .0002'},
    'DIN-avg': {'Amazon Books AUC': '.7280 ± .0001', 'Taobao AUC': '.9281 ± .0003'},
    'MIMN': {'Amazon Books AUC': '.7396 ± .0004', 'Taobao AUC': '.9278 ± .0004'},
    'GSU-hard': {'Amazon Books AUC': '.7365 ± .0002', 'Taobao AUC': '.9330 ± .0003'},
    'GSU-soft': {'Amazon Books AUC': '.7342 ± .0001', 'Taobao AUC': '.9357 ± .0003'},
    'SIM-hard': {'Amazon Books AUC': '.7413 ± .0002', 'Taobao AUC': '.9332 ± .0001'},
    'SIM-soft': {'Amazon Books AUC': '.7510 ± .0005', 'Taobao AUC': '.9416 ± .0005'},
    'SIM-soft+time': {'Taobao AUC': '.9501 ± .0002'},
}
