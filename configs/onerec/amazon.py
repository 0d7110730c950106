r"""OneRec as a model of the next item, and what it is compared with, on Amazon's reviews of 2014, 5-core.

    python -m experiments.train --config=configs/onerec/amazon.py:SASRec,Sports_and_Outdoors \
        --workdir=runs/sports/sasrec

The data root is $JAXREC_DATA or --data_dir; it or its folder `amazon` holds `reviews_<category>_5.json.gz`
and `meta_<category>.json.gz`, placed by hand. After the colon stand the row, as in
configs/onerec/amazon_beauty.py, and the category as the files are called: Beauty (the default),
Sports_and_Outdoors, Toys_and_Games. Reviews of a user and day stand in the order of their lines; item vectors
are made of title, brand, price and categories.
"""

from ml_collections import ConfigDict

from configs.onerec.next_item import FEATURES, longer, make_rows
from configs.runs import run_config

ROWS = make_rows(features=('category',))
COMPARED = tuple(ROWS)
ROWS['OneRec-long'] = longer(ROWS['OneRec'])
# R@5 N@5 R@10 N@10, from the READMEs of the repositories; all rank all items. Beauty: amazon_beauty.py.
PUBLISHED = {
    'Sports_and_Outdoors': {
        'SASRec': {'genrec': '.0249 .0145 .0373 .0185'},
        'TIGER': {
            'paper': '.0264 .0181 .0400 .0225',
            'genrec': '.0266 .0176 .0414 .0224',
            'cornac': '.0240 .0155 .0394 .0204',
            'XiaoLongtaoo': '.0233 .0150 .0379 .0197',
        },
    },
    'Toys_and_Games': {
        'SASRec': {'genrec': '.0483 .0304 .0700 .0374'},
        'TIGER': {
            'paper': '.0521 .0371 .0712 .0432',
            'genrec': '.0420 .0280 .0647 .0350',
            'cornac': '.0348 .0222 .0578 .0295',
            'XiaoLongtaoo': '.0396 .0270 .0577 .0328',
        },
    },
}


def get_config(text: str = 'SASRec') -> ConfigDict:
    """Builds the config of one row for one category.

    Args:
      text: 'row,category', of which the category may be left out.

    Returns:
      The config.
    """
    name, category = (*text.split(','), 'Beauty')[:2]
    return run_config(
        name,
        {
            'features': FEATURES,
            'data': {
                'log': 'jaxrec.data.readers.amazon:compile_amazon',
                'arguments': {'data_dir': '', 'category': category, 'texts': True},
                'cache': 'runs/logs',
                'label': {},
                'split': {'kind': 'leave_last_out'},
            },
            'train': {'log_every': 100},
        },
        ROWS,
    )
