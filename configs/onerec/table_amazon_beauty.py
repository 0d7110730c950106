"""Next items on Amazon Beauty 5-core of 2014, real logs: 22,363 users, all 12,101 items ranked, 3 seeds.

    jaxrec compare --config=configs/onerec/table_amazon_beauty.py --workdir=runs/beauty_table

The data root is $JAXREC_DATA or --data_dir. A user's last item is test, the one before it chooses the
checkpoint; items of the history stay among those that are ranked. `OneRec` writes the semantic ID of one item
(three levels and a rank, of texts and behaviour; nearest centroids of balanced k-means), `TIGER` is the same
network without experts on IDs of plain k-means, of which more items share one, and `OneRec-letter` the
control: OneRec's network on IDs that others published. Learning curves are in the cells' curves.png and
result.json. Run so far: `OneRec`, `OneRec-letter` and `SASRec`, 20 to 75 minutes of a core a cell, from which
--cells=docs/results/onerec/cells_amazon_beauty.jsonl.gz goes on.

Rows that write IDs learn from batches of histories of 2, 4, 7, 12 or 20 items at most (`data.widths`): the same 131,413
examples and 1,026 steps an epoch, each example with the loss that it has in a batch of 20, of less than half its FLOPs.
An example's neighbours in a batch have histories of about its length. --quick takes a fifth of the users.
"""

from ml_collections import ConfigDict

from configs.onerec.amazon_beauty import COMPARED, PUBLISHED, ROWS
from configs.onerec.amazon_beauty import get_config as one_run

# The same steps for all rows, about: an epoch of those that write IDs is of items, of the others of users.
QUICK_EPOCHS = {name: 2 if ROWS[name].get('files') else 12 for name in COMPARED}
SHOWN = (
    'recall@5', 'recall@10', 'ndcg@5', 'ndcg@10', 'recall@10_minus_SASRec', 'ndcg@10_minus_SASRec', 'coverage',
    'cold_recall@10', 'cold_users', 'users', 'ntp', 'trained', 'parameters', 'seconds',
)  # fmt: skip


def get_config() -> ConfigDict:
    """Builds the config of the table, of one data set."""
    run = one_run('SASRec')
    data = {name: run.data[name] for name in ('log', 'arguments', 'cache', 'label', 'split')}
    column = {'features': run.features, 'data': data, 'train': {'log_every': 100}}
    return ConfigDict(
        {
            'title': 'Next items on Amazon Beauty (2014, 5-core)',
            'columns': {'beauty': ConfigDict(column).copy_and_resolve_references()},
            'main': 'beauty',  # a ConfigDict forgets the order of its keys
            'order': COMPARED,
            'rows': {name: ROWS[name] for name in COMPARED}, 'reference': 'SASRec', 'seeds': 3,
            'trials': 0, 'search': {}, 'slices': ('cold_items',), 'paired': ('recall@10', 'ndcg@10'),
            'shown': SHOWN, 'published': PUBLISHED, 'note': NOTE,
            'quick': {
                'seeds': 2,
                'columns': {'beauty': {'data': {'users': (0.0, 0.2)}}},
                'rows': {
                    name: {'train': {'epochs': epochs, 'evals_per_epoch': 1, 'eval_batches': 8}}
                    for name, epochs in QUICK_EPOCHS.items()
                },
            },
        }
    )  # fmt: skip


NOTE = (
    'Published: R@5 N@5 R@10 N@10 by the READMEs of repositories and, of TIGER, its paper; an older README of genrec '
    "labels TIGER's numbers as those of validation. All users, all items ranked, one target a user, items of the "
    'history not removed; the checkpoint of the best recall@10 on the item before the last, of the first 4,096 users '
    'for generative rows and of all users for the others. Generative rows rank what 20 beams name, over the '
    "catalogue's trie. `coverage`: share of the items that are among the first ten of any user. TIGER has IDs of plain "
    'residual k-means, OneRec of balanced: the two differ in experts and in IDs. `cold_recall@10`: of users whose '
    'target occurs in fewer than five training interactions, `cold_users` of them. Seeds change the order of the data '
    'and the initial values. No row was tuned here: each has the values that its config states.'
)
