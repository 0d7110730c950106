"""Tiny runs of OneRec's configs."""

from pathlib import Path

from ml_collections import ConfigDict

from jaxrec.models.onerec.simulated import get_config
from tests.runs.worlds import SESSIONS

NETWORK = {
    'width': 8, 'heads': 2, 'encoder_layers': 1, 'decoder_layers': 1, 'hidden': 8, 'expert_hidden': 8,
    'history': 6,
}  # fmt: skip
SEQUENTIAL = {'width': 8, 'heads': 2, 'layers': 1, 'length': 7}


def tiny(row: str, cache: str | Path) -> ConfigDict:
    """The config of a row of the simulated world, on 60 users and 49 items, sessions of 2."""
    config = get_config(row)
    config.data.arguments = ConfigDict(SESSIONS)
    config.data.cache = str(cache)
    config.data.history_length = 6
    config.data.users = (0.0, 1.0)  # few sessions are of high quality
    if config.files is not None:
        config.files.ids.arguments.update({'clusters': 8, 'levels': 1, 'behaviour': 4})
        config.model.update(NETWORK)
    else:
        config.model.update(SEQUENTIAL)
    if 'session' in config.data:
        config.data.session = config.model.session = 2
        config.model.experts = 0  # experts compile slowly and are tested elsewhere
        config.data.quality = ConfigDict({'watched': 2})
    config.train.update({'batch_size': 32, 'eval_batch_size': 32, 'epochs': 1, 'log_every': 2, 'evals_per_epoch': 1})
    config.mesh = (1, 1)
    return config
