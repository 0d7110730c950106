"""Small runs of about a hundred steps whose configs are the papers' own, to be trained on several layouts."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from tests.models.onerec.run_worlds import tiny as tiny_onerec
from tests.runs import worlds

TRAIN = {'keep': 2, 'log_every': 1, 'patience': None}


def can(cache: str | Path) -> ConfigDict:
    """CAN-DNN, 102 steps of 64."""
    return _trained(worlds.tiny('CAN-DNN', cache), batch_size=64, epochs=6, evals_per_epoch=1 / 3)


def sim(cache: str | Path) -> ConfigDict:
    """SIM with soft search, 112 steps of 32."""
    return _trained(worlds.tiny_sim('SIM-soft', cache), epochs=7, evals_per_epoch=1 / 4)


def onerec(cache: str | Path) -> ConfigDict:
    """OneRec with eight experts and dropout, 100 steps of 16."""
    config = tiny_onerec('OneRec', cache)
    config.model.experts = 8
    config.model.dropout = 0.1
    return _trained(config, batch_size=16, epochs=25, evals_per_epoch=1 / 13)


def _trained(config: ConfigDict, **train: Any) -> ConfigDict:
    with config.ignore_type():  # of evaluations an epoch some configs have a whole number
        config.train.update(TRAIN | train)
    return config
