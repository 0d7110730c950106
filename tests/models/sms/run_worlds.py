"""Tiny runs of the configs of SMS, for the tests of its stages."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxrec.models.sms.network.options import SIZES
from jaxrec.models.sms.simulated import get_config

SCENES = {'seed': 0, 'train': 12, 'validation': 4, 'test': 4, 'size': 64}
NETWORK = {**SIZES['tiny'], 'hidden': 8, 'mask_stride': 2, 'any_subject': True, 'norm': 'batch'}


def tiny(row: str, cache: str | Path, **train: Any) -> ConfigDict:
    """The config of a row on 20 scenes of 64 pixels."""
    config = get_config(row)
    config.data.arguments = ConfigDict(SCENES)
    config.data.cache = str(cache)
    config.data.image_size = 64
    config.model.update(NETWORK)
    config.train.update({'batch_size': 4, 'eval_batch_size': 4, 'epochs': 1, 'log_every': 1, 'evals_per_epoch': 1})
    config.train.update(train)
    config.mesh = (1, 1)
    return config
