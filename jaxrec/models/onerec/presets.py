"""The models of OneRec's table before alignment, by name, and the sizes that all data sets share.

OneRec learns sessions of high quality; the others learn the next item that a user liked. TIGER is the same network
without experts that generates one item, on IDs of plain residual k-means, where its authors have an RQ-VAE: balanced
k-means is OneRec's.
"""

from typing import Any

from jaxrec.options import changed

# Named sizes of the network.
SHALLOW = {'encoder_layers': 3, 'decoder_layers': 3}
SIZES: dict[str, dict[str, Any]] = {
    'tiny': {
        'levels': (64, 64, 64), 'history': 20, 'width': 64, 'heads': 4, 'encoder_layers': 2,
        'decoder_layers': 2, 'hidden': 128, 'experts': 8, 'expert_hidden': 128,
    },
    '50m': {**SHALLOW, 'width': 256, 'heads': 4, 'hidden': 512, 'expert_hidden': 768},
    '100m': {**SHALLOW, 'width': 384, 'heads': 6, 'hidden': 768, 'expert_hidden': 1_024},
    '200m': {**SHALLOW, 'width': 512, 'hidden': 1_024, 'expert_hidden': 1_536},
    '500m': {'width': 768, 'hidden': 1_536, 'expert_hidden': 2_048},
    '1b': {},
}  # fmt: skip

SESSION = 5
# Shares of the users: a reward model learns from others than the rows learn from and are judged on.
OF_ROWS, OF_JUDGE = (0.0, 0.6), (0.6, 1.0)
FEATURES = {'user': (), 'candidate': ('item',), 'history': ('item',)}
ITEMS = {'source': 'next_item', 'min_history': 1}
# Of real logs of sessions.
HISTORY = 50
SPLIT = {'kind': 'per_user_time', 'validation': 0.1, 'test': 0.2}
TRAIN = {
    'batch_size': 128, 'eval_batch_size': 256, 'epochs': 10, 'learning_rate': 1e-3, 'evals_per_epoch': 1,
    'log_every': 100, 'patience': 2,
}  # fmt: skip
UNBALANCED = {'ids': {'arguments': {'balanced': False}}}
SEQUENTIAL = {'width': 64, 'heads': 2, 'layers': 2, 'dropout': 0.2}


def tokenized(**arguments: Any) -> dict[str, Any]:
    """A file of semantic IDs, for `config.files.ids`, that tokenizing makes by `arguments` of `make_ids`."""
    module = 'jaxrec.models.onerec.tokenizing.tokens'
    return {'make': f'{module}:make_ids', 'check': f'{module}:check_ids', 'arguments': arguments}


def onerec(**options: Any) -> dict[str, Any]:
    """A model of session generation, with options of its own."""
    return {
        'task': 'jaxrec.models.onerec:make_task',
        'model': {'size': 'tiny', 'session': SESSION, 'active': 2, 'ids': ''} | options,
        'data': {
            'source': 'sessions',
            'session': SESSION,
            # Those that the user liked: the paper asks for five that were watched, not for the first five.
            'choose': 'positive',
            'quality': {'watched': 5, 'seconds': None, 'quantile': 0.5, 'combine': 'all'},
        },
        'train': {'monitor': 'ntp', 'maximize': False},
    }


def sequential(name: str, **options: Any) -> dict[str, Any]:
    """A model of the next item that scores all items, and learns from all places of a history at once.

    Its histories are as long as those of the other models, so it is given each user's in consecutive windows.
    """
    return {
        'task': f'jaxrec.models.sequential.{name}:make_task', 'model': SEQUENTIAL | options,
        'data': ITEMS | {'per_user': 'windows'}, 'files': None, 'train': {'monitor': 'recall@10', 'maximize': True},
    }  # fmt: skip


# A row's sections are laid over the data set's; None takes one out.
ROWS: dict[str, dict[str, Any]] = {
    'SASRec': sequential('sasrec'),
    'BERT4Rec': sequential('bert4rec'),
    'FDSA': sequential('fdsa', columns=('category',)),
    'TIGER': {
        **onerec(session=1, experts=0),
        'files': UNBALANCED,
        'data': ITEMS | {'per_user': 'each'},
        # Every liked item is an example: an epoch has some thirty times those of OneRec's sessions.
        'train': {'monitor': 'ntp', 'maximize': False, 'epochs': 2, 'evals_per_epoch': 5},
    },
    'OneRec': onerec(),
}
ROWS['FDSA']['features'] = {'history': ('item', 'category')}
COMPARED = tuple(ROWS)
# Those that a data set with a training part of many users has: the sizes of the paper.
SIZED = {f'OneRec-{size}': changed(ROWS['OneRec'], model={'size': size}) for size in SIZES}
# Table 1 of arXiv 2502.18965, mean and max over generated sessions, of models of .1B parameters.
PUBLISHED = {
    name: dict(zip(('swt', 'vtr', 'wtr', 'ltr'), values, strict=True))
    for name, values in {
        'SASRec': ('.0375 / .0803', '.4313 / .5801', '.00294 / .00978', '.0314 / .0604'),
        'BERT4Rec': ('.0336 / .0706', '.4192 / .5633', '.00281 / .00932', '.0316 / .0606'),
        'FDSA': ('.0325 / .0683', '.4145 / .5588', '.00271 / .00921', '.0313 / .0604'),
        'TIGER': ('.0879 / .1286', '.5826 / .6625', '.00277 / .00671', '.0316 / .0541'),
        'OneRec': ('.0973 / .1501', '.6001 / .6981', '.00326 / .00870', '.0349 / .0642'),
    }.items()
}


def by_request(rows: dict[str, dict[str, Any]], targets: int, batch_size: int) -> dict[str, dict[str, Any]]:
    """Models whose TIGER encodes a history once for up to `targets` items of a request, with the same loss."""
    shared = {'data': {'targets': targets}, 'train': {'batch_size': batch_size}}
    return {**rows, 'TIGER': changed(rows['TIGER'], **shared)}


def of_length(rows: dict[str, dict[str, Any]], history: int) -> dict[str, dict[str, Any]]:
    """Models {name: model}, as `ROWS`, whose networks read histories of so many items."""
    # BERT4Rec reads a hidden place behind the history.
    lengths = lambda row: {'history': history} if 'size' in row['model'] else {'length': history + 1}
    return {name: changed(row, model=lengths(row)) for name, row in rows.items()}
