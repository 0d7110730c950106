r"""OneRec as a model of the next item, and what it is compared with, on Amazon Beauty 5-core of 2014.

    jaxrec train --config=configs/onerec/amazon_beauty.py:SASRec --workdir=runs/beauty/sasrec
    jaxrec evaluate --workdir=runs/beauty/sasrec
    jaxrec onerec tokenize --workdir=runs/beauty/tokens \
        --config=configs/onerec/amazon_beauty.py:OneRec

The data root is $JAXREC_DATA or --data_dir, which holds `amazon-beauty/` as `jaxrec.data.readers.sequences`
describes it. After the colon stands the row: SASRec, BERT4Rec, FDSA (on the items' attributes), TIGER and
OneRec (one item; without and with experts) with semantic IDs of ours, OneRec-letter with published ones, and
for an accelerator OneRec-long. An item is cold that occurs in fewer than five training interactions: 2,995 of
12,101 items, the targets of 4,732 of 22,363 users.
"""

from ml_collections import ConfigDict

from configs.onerec.next_item import longer, make_rows, on_log, published_ids

IDS = ('letter_sid', 'rqvae_native_sid', 'rkmeans_native_sid', 'rkmeans_zcr_sid')  # published
ROWS = make_rows({'beside': IDS}, ('attributes',))
ROWS['OneRec-letter'] = published_ids(ROWS['OneRec'], 'letter_sid')
COMPARED = tuple(ROWS)
ROWS['OneRec-long'] = longer(ROWS['OneRec'])
# R@5 N@5 R@10 N@10, from the READMEs of the repositories; all rank all items.
PUBLISHED = {
    'SASRec': {'genrec': '.0469 .0305 .0688 .0375', 'cornac': '.0508 .0348 .0740 .0423'},
    'TIGER': {
        'paper': '.0454 .0321 .0648 .0384',
        'genrec': '.0465 .0297 .0721 .0378',
        'cornac rkmeans': '.0404 .0259 .0641 .0335',
        'XiaoLongtaoo': '.0392 .0257 .0594 .0321',
    },
}


def get_config(name: str = 'SASRec') -> ConfigDict:
    """Builds the config of one of `ROWS` on Amazon Beauty."""
    return on_log(name, ROWS, 'jaxrec.data.readers.sequences:compile_sequences', name='amazon-beauty')
