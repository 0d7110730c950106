"""SIM and what it is compared with on Amazon Books (2014): 10 recent and 90 older reviews, one drawn book.

    jaxrec counts --config=configs/sim/amazon_books.py
    jaxrec train --config=configs/sim/amazon_books.py:cikm20_soft --workdir=runs/sim_books
    jaxrec train --config=configs/sim/amazon_books.py:SIM-soft --workdir=runs/sim_dien \
        --config.model.short_model=dien --config.data.history_negatives=uniform

The files `reviews_Books_5.json.gz` and `meta_Books.json.gz` lie in $JAXREC_DATA or --data_dir, or in a folder `amazon`
there; configs/can/amazon_books.py says where they come from and how they are read. Not yet run here.

The windows are the paper's (arXiv 2006.05639): the latest 10 reviews are short, the 90 before them long. Its selection
is not published. It counts 75,053 users and 150,016 instances, which reads as one positive and one negative of each
user, cut to whole batches; so it is here, for all users of the 5-core file. Width 4 and the MLP are its text's. Heads,
batch and epochs are not in it; batch 256 and two epochs are those of public code. Its short model is read as DIEN, and
so it is in the rows `cikm20_hard` and `cikm20_soft`, which are its presets; the others have DIN unless the command says
otherwise. It has no row with times; the reviews have days, which `cikm20_hard_time` and `cikm20_soft_time` read.
"""

from ml_collections import ConfigDict, config_dict

from configs.can.amazon_books import get_config as of_can
from jaxrec.models.sim.presets import PAPER_ROWS, PUBLIC_ROWS
from jaxrec.runs.config import run_config


def get_config(name: str = 'SIM-soft') -> ConfigDict:
    """Builds the config of one row of `jaxrec.models.sim.presets` on Amazon Books, those of the paper included."""
    data = of_can('DNN').data.to_dict()
    # What the paper counts in its selection.
    data['published'] = {'values of user': 75_053, 'values of item': 358_367, 'values of category': 1_583}
    return run_config(
        name,
        {
            'data': data
            | {'history_length': 10, 'lifelong': {'length': 90}, 'history_negatives': config_dict.placeholder(str)},
            'train': {
                'batch_size': 256,
                'epochs': 2,
                'learning_rate': 1e-3,
                'row_optimizer': 'lazy_adam',
                'row_learning_rate': 1e-3,
                'evals_per_epoch': 4,
                'log_every': 500,
            },
        },
        rows=PUBLIC_ROWS | PAPER_ROWS,
    )
