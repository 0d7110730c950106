"""LR trained by us agrees with scikit-learn's on the same one-hots of real logs."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder

from configs.can.movielens import get_config
from jaxrec.evaluation import auc, gauc
from jaxrec.parallel import put_batch
from jaxrec.runs.build import batches, build
from jaxrec.training.evaluate import evaluate
from jaxrec.training.state import init_state
from jaxrec.training.step import make_predict_step, make_train_step


@pytest.fixture(scope='module')
def run(tmp_path_factory, data_folder):
    """LR on user and movie one-hots; the first 80 % of each user train, since nothing is tuned here."""
    folder = data_folder('ml-latest-small')
    config = get_config('LR').copy_and_resolve_references()
    config.features = ConfigDict({'user': ('user',), 'candidate': ('item',)})
    config.data.split.validation = 0.0
    config.data.cache = str(tmp_path_factory.mktemp('logs'))
    config.mesh = (1, 1)
    # scikit-learn penalizes each weight once, we once a rating that reads it: about 1 / (ratings of a movie).
    config.model.row_l2 = 0.02
    config.train.update(
        {
            'batch_size': 1024,
            'epochs': 12,
            'learning_rate': 0.01,
            'row_optimizer': 'lazy_adam',
            'row_learning_rate': 0.02,
        }
    )
    return build(config, str(folder.parent))


def columns(run, part):
    """user, item and label of a part, one row an example."""
    parts = []
    for batch in batches(run.source(part)):
        real = batch['valid'][:, 0] > 0
        keys = ('user/user', 'candidate/item', 'label')
        parts.append(np.stack([batch[key].reshape(-1).astype(np.int64) for key in keys], 1)[real])
    return np.concatenate(parts)


@pytest.fixture(scope='module')
def theirs(run):
    train, test = columns(run, 'train'), columns(run, 'test')
    assert len(train) + len(test) == 100_004 and 0.795 < len(train) / 100_004 < 0.8
    encoder = OneHotEncoder(handle_unknown='ignore')
    model = LogisticRegression(max_iter=1000).fit(encoder.fit_transform(train[:, :2]), train[:, 2])
    probability = model.predict_proba(encoder.transform(test[:, :2]))[:, 1]
    return auc(test[:, 2], probability), gauc(test[:, 2], probability, test[:, 0]).value


@pytest.mark.slow
def test_scikit_learn_reaches_its_known_figures_on_our_split(theirs):
    assert theirs == pytest.approx((0.775, 0.649), abs=0.003)


@pytest.mark.slow
def test_lr_agrees_with_scikit_learn(run, theirs):
    source = run.source('train', shuffle=True)
    state, step = init_state(run.setup, run.example(source), 0), make_train_step(run.setup)
    for batch in batches(source):
        state, _ = step(state, put_batch(batch, run.setup.mesh))
    predict = make_predict_step(run.setup)
    ours = evaluate(run.setup, predict, state, batches(run.source('test'))).compute()
    assert (ours['auc'], ours['gauc']) == pytest.approx(theirs, abs=0.005)
