"""Batches, predictions and meshes of a wrong shape."""

from typing import Any

import numpy as np
import pytest

from jaxrec.embeddings import Table
from jaxrec.evaluation import CtrEvaluator
from jaxrec.parallel import make_mesh, put_batch
from jaxrec.parallel.mesh import pad_to
from jaxrec.training.state import init_state
from jaxrec.training.step import make_predict_step, make_train_step
from tests.bad_input.worlds import Case, assert_refused, batch, config


def train_on(world: Any) -> Any:
    run, first = world.run, put_batch(world.batch)
    without = {key: value for key, value in first.items() if key != 'candidate/item'}
    return make_train_step(run.setup)(init_state(run.setup, first, 0), without)


def predict_on(world: Any) -> Any:
    run, first = world.run, put_batch(world.batch)
    without = {key: value for key, value in first.items() if key != 'user/user'}
    return make_predict_step(run.setup)(init_state(run.setup, first, 0), without)


evaluator_add = lambda b: CtrEvaluator().add(b, {'probability': np.full(b['label'].shape, 0.5)})

CASES: dict[str, Case] = {
    'batch without a key': (train_on, r"the batch lacks 'candidate/item'", r'Give the source and the model the same'),
    'prediction without a key': (predict_on, r"the batch lacks 'user/user'", r'the same features'),
    'predictions of another shape': (
        lambda world: CtrEvaluator().add(world.batch, {'probability': np.zeros((40, 1))}),
        r'\(40, 1\).*\(32, 1\)',
        r'padded the batch',
    ),
    'mesh larger than the machine': (
        lambda world: make_mesh((64, 64)),
        r'mesh shape \(64, 64\)',
        r'xla_force_host_platform_device_count',
    ),
    'mesh of one size': (lambda world: make_mesh((8,)), r'mesh shape \(8,\)', r'give two sizes \(data, model\)'),
    'batch that the devices do not divide': (
        batch(lambda b: pad_to({k: v[:21] for k, v in b.items()}, 8), valid=None),
        r'batch of 21',
        r"add 'valid' float32",
    ),
    'label of one axis': (batch(evaluator_add, label=lambda a: a[:, 0]), r'\(32,\)', r'must be \[B, C\]'),
    'batch larger than the part': (
        config(train__batch_size=100_000),
        r"part 'train' of .* has 1120 examples, no batch of 100000",
        r'lower batch_size',
    ),
    'table of no width': (lambda world: Table('t', 9, 0), r"table 't': dim=0", r'at least one number'),
}


@pytest.mark.parametrize('name', CASES)
def test_bad_shapes(world, name):
    assert_refused(CASES[name], world)
