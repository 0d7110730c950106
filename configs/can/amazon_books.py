"""CAN and its bases on Amazon Books (2014): a user's last review against one drawn book.

    jaxrec counts --config=configs/can/amazon_books.py
    jaxrec train --config=configs/can/amazon_books.py:CAN-DNN --workdir=runs/can_books

The files `reviews_Books_5.json.gz` and `meta_Books.json.gz` lie in $JAXREC_DATA or --data_dir, or in a folder `amazon`
there; they come from http://snap.stanford.edu/data/amazon/productGraph/categoryFiles/, and
--config.data.arguments.fetch=True fetches them. In full they hold the reviews of 603,668 users, each of whom makes one
positive and one drawn negative example; not yet run here.

The protocol is the paper's (arXiv 2011.05625), which takes DIEN's data: category = the last entry of a book's first
path; reviews of a user by day, those of one day in the order of their lines; at least one earlier review; a book is
drawn as often as it was reviewed; a tenth of the users is test. Two things differ. The paper has no part to choose a
step on: 2 % of the users, out of its training part, are validation. And a drawn book is none that the user ever
reviewed, where the published script excludes the positive alone. Epochs, batching and the width of embeddings are not
in the paper but in its code.
"""

from ml_collections import ConfigDict

from jaxrec.models.can.presets import ROWS
from jaxrec.runs.config import run_config


def get_config(name: str = 'CAN-DNN') -> ConfigDict:
    """Builds the config of one row of `jaxrec.models.can.presets` on Amazon Books."""
    return run_config(
        name,
        {
            'data': {
                'log': 'jaxrec.data.readers.amazon:compile_amazon',
                'arguments': {
                    'data_dir': '',
                    'category': 'Books',
                    'five_core': True,
                    'same_day': 'lines',
                    'fetch': False,
                },
                'cache': 'runs/logs',
                'label': {'kind': 'sampled_negatives', 'sampler': 'popularity', 'per_positive': 1},
                'split': {'kind': 'last_item_user_holdout', 'validation': 0.02, 'test': 0.1, 'seed': 0},
                'history_length': 100,
                'min_history': 1,
                # Table 1 of the paper; its features count the users of training alone.
                'published': {
                    'train + validation examples': 1_086_120,
                    'test examples': 121_216,
                    'values in all': 912_642,
                },
            },
            'train': {
                'batch_size': 128,
                'epochs': 1,
                'learning_rate': 1e-3,
                'row_optimizer': 'lazy_adam',
                'row_learning_rate': 1e-3,
                'evals_per_epoch': 4,
                'log_every': 500,
            },
        },
        ROWS,
    )
