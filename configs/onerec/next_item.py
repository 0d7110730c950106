"""Models of the public next-item benchmarks: what each learns from, and published results.

The protocol is leave-last-out with all items ranked: a user's last item is test, the one before it chooses the
checkpoint, those before train; items of the history stay in the ranking. The sequential models learn from all places of
a user's history at once, the generative ones from each item as an example.
"""

from typing import Any

from ml_collections import ConfigDict

from jaxrec.models.onerec.presets import FEATURES, ITEMS, UNBALANCED, onerec, sequential, tokenized
from jaxrec.options import changed
from jaxrec.runs.config import run_config

HISTORY, LONG_HISTORY = 20, 50  # items that generative and sequential models read
# Two thirds of what histories of 20 hold would be padding: on Beauty the median history has 4 items. Batches of like
# lengths read 7.8 places an example for 20, in five programs; an epoch has the same examples, each the same loss.
# Sequential models average over places, so that in such batches short histories would count for more.
WIDTHS = (2, 4, 7, 12)
# Three levels of 256 codes and a rank, of texts and of what users did in training. Nearest centroids: they
# leave a quarter less of Beauty's vectors than the balanced assignment, and fewer items share codes.
TOKENS = {
    'encoding': 'nearest', 'content': 'column:text', 'text_width': 128, 'behaviour': 64, 'share': 0.5, 'levels': 3,
    'clusters': 256, 'seed': 0,
}  # fmt: skip
NETWORK = {
    'history': HISTORY, 'width': 128, 'heads': 4, 'encoder_layers': 2, 'decoder_layers': 2, 'hidden': 256,
    'expert_hidden': 128, 'dropout': 0.1,
}  # fmt: skip
# As the best documented recipe of TIGER has it: 200,000 steps of 256 on an accelerator, to the end of
# a cosine whose gains come last, so that no evaluation ends it early.
LARGE = {
    'heads': 6, 'head_dim': 64, 'encoder_layers': 6, 'decoder_layers': 6, 'hidden': 1_024, 'expert_hidden': 512,
    'dropout': 0.2,
}  # fmt: skip
SEQUENTIAL = {'width': 64, 'heads': 2, 'layers': 2, 'dropout': 0.5, 'length': LONG_HISTORY + 1}


def generative(ids: dict[str, Any], **options: Any) -> dict[str, Any]:
    """A model that generates the semantic ID of the next item; `ids` is a file as in `config.files`."""
    row = onerec(session=1, **NETWORK | options)
    return row | {
        'task': 'jaxrec.models.onerec.next_item:make_task',
        'files': {'ids': ids},
        'data': ITEMS | {'per_user': 'each', 'history_length': HISTORY, 'widths': WIDTHS},
        'train': {
            'batch_size': 128, 'eval_batch_size': 128, 'epochs': 6,
            # Four epochs on Beauty by AdamW, at 1e-3, gave a recall@10 of .065 on validation, by Muon .070
            # after three, with half as many more items named.
            'optimizer': 'muon', 'learning_rate': 2e-3, 'schedule': {'kind': 'cosine', 'warmup': 0.05},
            'clip_norm': 1.0, 'evals_per_epoch': 2, 'patience': 6, 'monitor': 'recall@10', 'maximize': True,
            'eval_batches': 32,  # beams are slow: the first 4,096 users choose the checkpoint
        },
    }  # fmt: skip


def scored(name: str, **options: Any) -> dict[str, Any]:
    """A model that scores all items."""
    train = {
        'batch_size': 128, 'eval_batch_size': 256, 'epochs': 60, 'evals_per_epoch': 1, 'learning_rate': 1e-3,
        'patience': 6,
    }  # fmt: skip
    return changed(sequential(name, **SEQUENTIAL | options), data={'history_length': LONG_HISTORY}, train=train)


def make_rows(tokens: dict[str, Any] | None = None, features: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """The models of one data set, by name.

    Args:
      tokens: arguments of `jaxrec.models.onerec.tokenizing.tokens:make_ids`, laid over `TOKENS`.
      features: columns of items that FDSA reads; without any there is no FDSA.
    """
    ids = tokenized(**TOKENS | (tokens or {}))
    rows = {'SASRec': scored('sasrec'), 'BERT4Rec': scored('bert4rec')}
    if features:
        rows['FDSA'] = scored('fdsa', columns=features)
        rows['FDSA']['features'] = {'history': ('item', *features)}
    rows['TIGER'] = changed(generative(ids, experts=0), files=UNBALANCED)
    rows['OneRec'] = generative(ids, experts=8)
    return rows


def published_ids(row: dict[str, Any], column: str) -> dict[str, Any]:
    """A generative model on published semantic IDs, a column of the log's items."""
    ids = tokenized(column=column) | {'make': 'jaxrec.models.onerec.tokenizing.published:make_ids'}
    return row | {'files': {'ids': ids}}


def longer(row: dict[str, Any]) -> dict[str, Any]:
    """A generative model of the published size and length of training, for an accelerator."""
    train = {
        'batch_size': 256, 'eval_batch_size': 512, 'epochs': 390, 'optimizer': 'adamw', 'learning_rate': 3e-4,
        'weight_decay': 0.035, 'evals_per_epoch': 1, 'eval_batches': None, 'patience': None,
    }  # fmt: skip
    return changed(row, model=LARGE, train=train)


def on_log(row: str, rows: dict[str, dict[str, Any]], log: str, /, **arguments: Any) -> ConfigDict:
    """The config of one of `rows` on a log that a reader compiles with `arguments`; last items are left out."""
    data = {'log': log, 'arguments': {'data_dir': '', **arguments}, 'cache': 'runs/logs', 'label': {}}
    data['split'] = {'kind': 'leave_last_out'}
    return run_config(row, {'features': FEATURES, 'data': data, 'train': {'log_every': 100}}, rows)
