"""Tiny runs of the configs of SMS, for the tests of its stages."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from configs.sms.scenes import get_config

SCENES = {'seed': 0, 'train': 12, 'validation': 4, 'test': 4, 'size': 64}
NETWORK = {
    'size': 'tiny', 'trunk': 'dla_tiny', 'neck': 16, 'hidden': 8, 'keep': 8, 'points': 12, 'triplets': 12,
    'mask_stride': 2, 'any_subject': True,
}  # fmt: skip


def tiny(row: str, cache: str | Path, **train: Any) -> ConfigDict:
    """The config of a row on 20 scenes of 64 pixels."""
    config = get_config(row)
    config.data.arguments = ConfigDict(SCENES)
    config.data.cache = str(cache)
    config.data.image_size = 64
    config.model = ConfigDict(
        NETWORK | {k: v for k, v in config.model.items() if k not in NETWORK | {'norm': 0}}
    )
    config.train.update(
        {'batch_size': 4, 'eval_batch_size': 4, 'epochs': 1, 'log_every': 1, 'evals_per_epoch': 1}
    )
    config.train.update(train)
    config.mesh = (1, 1)
    return config
