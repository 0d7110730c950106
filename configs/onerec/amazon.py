r"""OneRec as a model of the next item, and what it is compared with, on Amazon's reviews of 2014, 5-core.

    jaxrec train --config=configs/onerec/amazon.py:SASRec,Sports_and_Outdoors \
        --workdir=runs/sports/sasrec

The data root is $JAXREC_DATA or --data_dir; it or its folder `amazon` holds `reviews_<category>_5.json.gz`
and `meta_<category>.json.gz`, placed by hand. After the colon stand the row, as in
configs/onerec/amazon_beauty.py, and the category as the files are called: Beauty (the default),
Sports_and_Outdoors, Toys_and_Games. Reviews of a user and day stand in the order of their lines; item vectors
are made of title, brand, price and categories.
"""

from ml_collections import ConfigDict

from configs.onerec.next_item import longer, make_rows, on_log

ROWS = make_rows(features=('category',))
COMPARED = tuple(ROWS)
ROWS['OneRec-long'] = longer(ROWS['OneRec'])


def get_config(text: str = 'SASRec') -> ConfigDict:
    """Builds the config of 'model,category', of which the category may be left out."""
    name, _, category = text.partition(',')
    return on_log(name, ROWS, 'jaxrec.data.readers.amazon:compile_amazon', category=category or 'Beauty', texts=True)
