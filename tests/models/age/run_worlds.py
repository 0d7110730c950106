"""Tiny replays of the real configs, for the tests of `jaxrec age`."""

from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from configs.age import simulated
from jaxrec.options import lay_over

# 1,500 visits in three days, of pools of some 6 items that live for a day.
WORLD = {
    'visits': 1_500, 'days': 3.0, 'users': 40, 'live': 6, 'lifetime': 1.0, 'user_groups': 3, 'item_groups': 3,
    'traits': 12, 'active': 3, 'categories': 4, 'sources': 3, 'bias': -1.0, 'history': 3, 'seed': 0,
}  # fmt: skip
STREAM = {'batch_size': 128, 'warm_up': 400, 'changed': 0.1}
REPLAY = {'refit_every': 200, 'window': 300, 'checkpoint_every': 256, 'tuned_on': 0.6}


def shrink(config: ConfigDict, cache: str | Path) -> ConfigDict:
    """The same config on a stream of a second's worth, with a model to match."""
    lay_over(config, {'data': {'cache': str(cache)}, 'stream': STREAM, 'replay': REPLAY})
    config.data.arguments = ConfigDict(WORLD)
    config.model.update({'dim': 3, 'widths': (6, 4)})
    lay_over(config, {'train': {'batch_size': 32, 'learning_rate': 0.01, 'row_learning_rate': 0.05}})
    return config


def tiny(row: str, cache: str | Path, file: ModuleType = simulated, **sections: Any) -> ConfigDict:
    """The config of a row in a file of the simulated feed, shrunk, with sections laid over."""
    config = shrink(file.get_config(row).copy_and_resolve_references(), cache)
    lay_over(config, sections)
    return config
