"""The stages that follow a generator's training on any data set: its reward model and its alignment."""

from typing import Any

from ml_collections import ConfigDict

from jaxrec.models.onerec.alignment.task import METHODS
from jaxrec.models.onerec.presets import OF_JUDGE
from jaxrec.options import lay_over

REWARD: dict[str, Any] = {
    'task': 'jaxrec.models.onerec.reward.network:make_task',
    'files': None,
    'data': {'mode': 'reward', 'choose': 'first', 'quality': None, 'users': OF_JUDGE},
    'train': {
        'batch_size': 256, 'eval_batch_size': 1024, 'epochs': 6, 'evals_per_epoch': 1, 'log_every': 100,
        'learning_rate': 2e-3, 'row_optimizer': 'row_adagrad', 'row_learning_rate': 0.1,
        'monitor': 'auc', 'maximize': True, 'patience': 2,
    },
}  # fmt: skip
COLUMNS = ('item', 'category')  # of items, that a simulated log has
# What a method wants that is not DPO's: S-DPO several losers, SimPO a beta for log-probabilities that are means over
# some twenty tokens. At the reference IPO's slope is 1 / beta where DPO's is beta / 2, so its lambda is smaller.
OF_METHOD: dict[str, dict[str, Any]] = {'sdpo': {'losers': 3}, 'simpo': {'beta': 2.0}, 'ipo': {'weight': 3.0}}


def reward_model(columns: tuple[str, ...] = COLUMNS, heads: tuple[str, ...] | None = None) -> dict[str, Any]:
    """The `model` and `features` of a reward model on item `columns`; `heads` are those it learns, None for all."""
    weights = {} if heads is None else {'head_weights': dict.fromkeys(heads, 1.0)}
    return {
        'model': {'dim': 16, 'width': 64, 'heads': 4, **weights},
        'features': {'user': (), 'candidate': columns, 'history': columns},
    }


def reward_config(
    generator: ConfigDict, columns: tuple[str, ...] = COLUMNS, heads: tuple[str, ...] | None = None
) -> ConfigDict:
    """The config of a reward model on the log of a generator: all sessions of its users, as they were shown.

    It reads `columns` of items and learns those `heads`, of swt, vtr, wtr and ltr, for which the log has labels; None
    for all.
    """
    config = generator.copy_and_resolve_references()
    lay_over(config, REWARD)
    for name, section in reward_model(columns, heads).items():
        config[name] = ConfigDict(section)
    return config


def pipeline(generator: ConfigDict, reward: ConfigDict, of_method: dict[str, dict[str, Any]]) -> ConfigDict:
    """The config of the complete pipeline: pairs of 2% of the requests, 32 beams."""
    align = align_config(beams=32, passes=2.0, ratio=0.02, weight=50.0, judged=128)
    stages = {'methods': ('ntp', 'ipa'), 'of_method': of_method, 'requests': 600}
    return ConfigDict({'generator': generator, 'reward': reward, 'align': align, 'pipeline': stages})


def align_config(method: str = 'ipa', **options: Any) -> ConfigDict:
    """The config of an alignment by one of `METHODS` and `alignment.setup.ALIGN_OPTIONS`; a ValueError without one."""
    if method not in METHODS:
        raise ValueError(f'after the colon of --config: there is no method {method!r}: use one of {METHODS}')
    monitor = {'monitor': 'judge_reward_mean', 'maximize': True, 'patience': None}
    align = {'method': method, 'losers': 1, **OF_METHOD.get(method, {}), **options}
    return ConfigDict({'align': align, 'train': {'learning_rate': 5e-4, 'checkpoint_every': 200, **monitor}})
