"""OneRec, related models and its reward model on simulated sessions.

Semantic IDs are made of the items' content, which the simulator knows, and of training behaviour. Models learn from
three fifths of the users and are evaluated on them; the reward model learns from the others.
"""

from typing import Any

from ml_collections import ConfigDict

from jaxrec.models.onerec.presets import FEATURES, OF_ROWS, ROWS, by_request, of_length, tokenized
from jaxrec.models.onerec.stages import OF_METHOD, pipeline, reward_config
from jaxrec.options import changed
from jaxrec.runs.config import run_config

WORLD = {'users': 5_000, 'items': 2_000, 'requests': 20}
HISTORY = 20
JUDGE_HISTORY = 60  # of the reward model, which is asked for far fewer histories
# Of a request a user likes 3.9 items on average and 9 at most. Encoding their history once for up to 6 takes
# a third of the FLOPs of an example for each item, the least of all such numbers; 16 of them are 60 items.
BY_REQUEST = of_length(by_request(ROWS, targets=6, batch_size=16), HISTORY)
# As long as it takes until validation gains nothing more: OneRec has some 10,000 sessions of high quality and
# gets worse after seven epochs. Evaluated so often that the last two stand for the end of the cosine.
LASTING: dict[str, dict[str, Any]] = {
    **{name: {'epochs': 16, 'evals_per_epoch': 1} for name in ('SASRec', 'BERT4Rec', 'FDSA')},
    'TIGER': {'epochs': 2, 'evals_per_epoch': 20, 'eval_batches': 16},
    'OneRec': {'epochs': 8, 'evals_per_epoch': 4, 'learning_rate': 4e-3},
}
TRAIN = {
    'batch_size': 64, 'eval_batch_size': 256, 'learning_rate': 2e-3, 'schedule': {'kind': 'cosine', 'warmup': 0.05},
    'log_every': 50,
}  # fmt: skip
OWN_ROWS = {name: changed(row, train=LASTING[name]) for name, row in BY_REQUEST.items()}
# Levels of 64 codes: 31 items share the first code of an ID on average.
IDS = tokenized(content='simulated', behaviour=32, share=0.3, levels=3, clusters=64, seed=0)


def get_config(name: str = 'OneRec') -> ConfigDict:
    """Builds the config of a model of `jaxrec.models.onerec.presets` on the simulated sessions."""
    return run_config(
        name,
        {
            'features': FEATURES,
            'files': {'ids': IDS},
            'data': {
                'log': 'jaxrec.data.simulators.sessions:simulate',
                'arguments': {**WORLD, 'seed': 0},
                'cache': 'runs/logs',
                'label': {},
                'split': {'kind': 'per_user_time', 'validation': 0.1, 'test': 0.2},
                'history_length': HISTORY,
                'users': OF_ROWS,
            },
            'train': TRAIN,
        },
        OWN_ROWS,
    )


def reward_on_simulated() -> ConfigDict:
    """The config of the reward model, which learns from the other users."""
    config = reward_config(get_config('OneRec'))
    config.data.history_length = JUDGE_HISTORY
    return config


def pipeline_config() -> ConfigDict:
    """The complete pipeline: 3 levels and ranks, 8 experts of which 2 are active, sessions of 5, 32 beams."""
    generator = get_config('OneRec')
    generator.train.epochs = 6
    # Of 2% of the requests a pair weighs half of what it does of 1%.
    of_method = OF_METHOD | {'ipo': {'weight': OF_METHOD['ipo']['weight'] / 2}}
    return pipeline(generator, reward_on_simulated(), of_method)
