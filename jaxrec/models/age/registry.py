"""The policies of AGE's tables by name: on any pool log, and on the simulated feed."""

import functools

from ml_collections import ConfigDict

from jaxrec.data.pools.log import PoolLog
from jaxrec.models.age.presets import ROWS
from jaxrec.models.age.simulated import get_config
from jaxrec.runs.defaults import stored_log
from jaxrec.runs.models import Model


def replay_config(path: str, name: str) -> ConfigDict:
    """Builds the config of the replay of the policy `name` on the pool log at `path`; a ValueError if none is there."""
    from jaxrec.data.sources.from_config import stored  # it imports jax, and the table of models does not

    log = stored('', path)
    if not isinstance(log, PoolLog):
        raise ValueError(f'{name} replays a pool log, and {path} is a {log.KIND}: see jaxrec.data.pools')
    config = get_config(name)
    sides = {side: tuple(c for c in store.names if c in log.schema) for side, store in log.stores.items()}
    config.features = ConfigDict({'user': sides.get('events', ()), 'candidate': ('item', *sides.get('items', ()))})
    config.data = ConfigDict({**stored_log(path), 'cache': 'runs/logs'})
    config.stream.warm_up = max(1, log.manifest['counts']['events'] // 10)
    return config


MODELS = tuple(
    Model(
        name,
        'AGE, arXiv 2112.11136',
        'a pool log, randomly logged',
        'jaxrec age replay',
        'models/age',
        functools.partial(replay_config, name=name),
        functools.partial(get_config, name),
    )
    for name in ROWS
)
