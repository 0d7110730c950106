"""What all data sets of this folder share: the models of CAN's tables, by the names of their rows."""

from typing import Any

from jaxrec.options import changed

BASE = {'dim': 18, 'widths': (200, 80), 'history_pooling': 'sum', 'row_l2': 0.0}
# Matched types, as CAN's own pairs are.
CARTESIAN = {'cartesian': {'pairs': (('item', 'history/item'), ('category', 'history/category'))}}
# What DIEN's auxiliary loss compares with.
NEGATIVES = {'history_negatives': 'uniform'}
# Crossed types too: with matched pairs alone every id has one partner, and nothing to be independent of.
ALL_PAIRS = tuple((candidate, f'history/{past}') for candidate in ('item', 'category') for past in ('item', 'category'))
DIEN = {'hidden': 36, 'attention': (36,)}


def can(**options: Any) -> dict[str, Any]:
    """A row of CAN, with options of its own."""
    model = BASE | {'preset': 'wsdm22_code', 'pooling': 'sum'} | options
    return {'task': 'jaxrec.models.can:make_task', 'model': model}


# A row's `data` is added to the data set's.
ROWS: dict[str, dict[str, Any]] = {
    'LR': {'task': 'jaxrec.models.baselines.lr:make_task', 'model': {'row_l2': 0.0}},
    'DNN': {'task': 'jaxrec.models.baselines.dnn:make_task', 'model': {**BASE}},
    'DIN': {'task': 'jaxrec.models.baselines.din:make_task', 'model': BASE | {'attention': (36,)}},
    'DIEN': {'task': 'jaxrec.models.baselines.dien:make_task', 'model': BASE | DIEN, 'data': NEGATIVES},
    'Cartesian': {'task': 'jaxrec.models.baselines.cartesian:make_task', 'model': {**BASE}, 'data': CARTESIAN},
    'CAN-DNN': can(),
    'CAN+Cartesian': can(base='cartesian') | {'data': CARTESIAN},
    'CAN-DIEN': can(base='dien', base_options={**DIEN}) | {'data': NEGATIVES},
    'FFM': {
        'task': 'jaxrec.models.baselines.ffm:make_task',
        'model': {key: BASE[key] for key in ('dim', 'history_pooling', 'row_l2')},
    },
    'DeepFM': {'task': 'jaxrec.models.baselines.deepfm:make_task', 'model': {**BASE}},
    'DeepFFM': {'task': 'jaxrec.models.baselines.deepffm:make_task', 'model': BASE | {'aware_dim': 18}},
    # Of 32 maps, since there are five fields; the hundreds of the papers are for dozens.
    'xDeepFM': {'task': 'jaxrec.models.baselines.xdeepfm:make_task', 'model': BASE | {'cin': (32, 32)}},
    'PNN': {'task': 'jaxrec.models.baselines.pnn:make_task', 'model': BASE | {'product': 'inner'}},
    # As CAN's authors have it: the history stands for the user, and the MLP reads all features.
    'NCF': {
        'task': 'jaxrec.models.baselines.ncf:make_task',
        'model': BASE | {'user': ('history/item', 'history/category'), 'item': ('item', 'category'), 'context': True},
    },
    'ONN': {'task': 'jaxrec.models.baselines.onn:make_task', 'model': BASE | {'aware_dim': 18}},
    # Table 5 of the paper, and the levels of independence that its public tables leave out.
    'CAN-1layer': can(dims=(16, 8)),
    'CAN-3layer': can(dims=(16, 8, 4, 4)),
    'CAN-orders1': can(orders=1),
    'CAN-orders2': can(orders=2),
    'CAN-orders4': can(orders=4),
    'CAN-linear': can(activation='none'),
    'CAN-all-pairs': can(pairs=ALL_PAIRS),
    'CAN-combination': can(pairs=ALL_PAIRS, combination_independence=True),
    'CAN-order-independent': can(order_independence=True),
}
# The paper's comparison (its tables 2 and 3), and its ablation (table 5) with the levels of independence.
COMPARED = (
    'LR', 'DNN', 'FFM', 'DeepFM', 'DeepFFM', 'xDeepFM', 'PNN', 'NCF', 'ONN', 'DIN', 'DIEN',
    'Cartesian', 'CAN-DNN', 'CAN+Cartesian', 'CAN-DIEN',
)  # fmt: skip
ABLATED = (
    'CAN-1layer', 'CAN-3layer', 'CAN-orders1', 'CAN-orders2', 'CAN-orders4', 'CAN-linear',
    'CAN-order-independent', 'CAN-all-pairs', 'CAN-combination',
)  # fmt: skip
# Occurrences in training below which a pair has no row of its own, in the tables' rows that read pairs by id.
PAIR_FLOOR = 20
# Tables 2 to 5 of arXiv 2011.05625.
PUBLISHED = {
    name: {'Amazon Books AUC': auc}
    for name, auc in {
        'DNN': '.7640 ± .0007',
        'FFM': '.7523 ± .0004',
        'DeepFM': '.7682 ± .0005',
        'DeepFFM': '.7711 ± .0004',
        'xDeepFM': '.7697 ± .0005',
        'PNN': '.7801 ± .0002',
        'NCF': '.7820 ± .0005',
        'ONN': '.7851 ± .0007',
        'Cartesian': '.7891 ± .0007',
        'CAN-DNN': '.7935 ± .0007',
        'CAN+Cartesian': '.8054 ± .0007',
        'DIEN': '.8346 ± .0007',
        'CAN-DIEN': '.8468 ± .0008',
        'CAN-1layer': '.7889 ± .0007',
        'CAN-3layer': '.7913 ± .0013',
        'CAN-orders1': '.7902 ± .0008',
        'CAN-orders2': '.7921 ± .0012',
        'CAN-orders4': '.7934 ± .0014',
        'CAN-linear': '.7917 ± .0008',
    }.items()
}


def averaged(row: dict[str, Any]) -> dict[str, Any]:
    """One of `ROWS` with its histories averaged, where its model pools a history, those of co-actions included."""
    means = {key: 'mean' for key in ('history_pooling', 'pooling') if key in row['model']}
    return changed(row, model=means)


def floored(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """`ROWS` in which pairs have ids of their own from `PAIR_FLOOR` occurrences in training on.

    With every pair in a row of its own a pair is seen once or twice in training, and its labels are learned by heart.
    """
    floor = {'cartesian': {'min_count': PAIR_FLOOR}}
    by_pairs = {name: row for name, row in rows.items() if 'cartesian' in row.get('data', {})}
    return rows | {name: changed(row, data=floor) for name, row in by_pairs.items()}
