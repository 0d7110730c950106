"""Scores of requests in a batch, against those of each alone and against the offline prediction."""

import dataclasses

import numpy as np
import optax
import pytest

from jaxrec.data.features.lifelong import read_lifelong
from jaxrec.data.features.time_gap import read_time_gap
from jaxrec.data.logs.vocabulary import OUT_OF_VOCABULARY
from jaxrec.data.sources.requests import RequestBuilder
from jaxrec.embeddings import make_row_optimizer
from jaxrec.models.sim import make_task
from jaxrec.parallel import make_mesh, put_batch
from jaxrec.serving.assembly import Request, RequestAssembler, Sizes
from jaxrec.serving.scorer import RequestScorer
from jaxrec.training.state import Setup, init_state
from jaxrec.training.step import make_predict_step
from tests.conftest import slow_but_for
from tests.serving.worlds import LABEL, world

COLUMNS = ('item', 'category')
FEATURES = {'user': ('user',), 'candidate': COLUMNS, 'history': COLUMNS}
MODEL = {
    'features': FEATURES,
    'dim': 3,
    'init_std': 0.5,
    'widths': (6,),
    'keep': 3,
    'head_dim': 4,
    'time_gap': 2,
    'base_options': {'attention': (4,)},
}
SHORT, LONG = 5, 200  # long enough for bins, shorter than some histories
GAPS = {'unit': 30, 'buckets': 6}


@pytest.fixture(scope='module', params=slow_but_for(('hard',), ('hard', 'soft')))
def made(request, tmp_path_factory):
    """The index, a scorer, and a function from a request to its offline scores."""
    hard = request.param == 'hard'
    log, index = world(tmp_path_factory.mktemp(request.param), events=4500, span=900)
    lifelong = {'length': LONG, 'search': 'hard', 'keep': 3} if hard else {'length': LONG}
    builder = RequestBuilder(log, FEATURES, LABEL, SHORT, lifelong=lifelong, time_gap=GAPS)
    mesh = make_mesh((1, 1))
    task = make_task(MODEL | {'search': request.param}, log.schema)
    setup = Setup(task, optax.adam(1e-3), make_row_optimizer('row_adagrad', 0.05), mesh)

    def batch(one):
        rows = {'user': np.full(len(one.items), one.user, np.int32), 'item': one.items}
        return put_batch(builder.build(rows, np.full(len(one.items), one.time)), mesh)

    state = init_state(setup, batch(Request(2, np.asarray([2], np.int32), 5)), 0)
    predict = make_predict_step(setup)
    sizes = Sizes((1, 4), (3, 7), (2,) if hard else ())
    read = read_lifelong(lifelong, log), read_time_gap(GAPS, log)
    assembler = RequestAssembler(index, FEATURES, SHORT, *read, sizes)
    offline = lambda one: np.asarray(predict(state, batch(one))['probability'])[:, 0]
    return index, RequestScorer(setup, state, assembler), offline


def drawn(index):
    """Requests of all sizes, the last of a user that nobody knows."""
    draw, log = np.random.default_rng(0), index.log
    requests = []
    for size in (1, 3, 7, 2, 5, 3, 4, 6):
        items = draw.integers(2, log.schema['item'].rows, size).astype(np.int32)
        user = int(draw.integers(2, log.schema['user'].rows))
        requests.append(Request(user, items, int(draw.integers(600, 900))))
    requests[-1] = dataclasses.replace(requests[-1], user=OUT_OF_VOCABULARY)
    return requests


def test_a_batch_single_requests_and_the_offline_prediction_agree(made):
    index, scorer, offline = made
    assert max(len(index.view(user)) for user in range(2, 14)) > SHORT + LONG
    requests = drawn(index)
    found = [scores for n in (0, 4) for scores in scorer(requests[n : n + 4])]
    for request, scores in zip(requests, found, strict=True):
        (alone,) = scorer([request])
        np.testing.assert_allclose(scores, alone, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(scores, offline(request), rtol=1e-5, atol=1e-6)
    assert len(np.unique(np.concatenate(found))) > 20


def test_every_combination_of_sizes_is_compiled_once(made):
    index, scorer, _ = made
    groups = len(scorer.assembler.sizes.groups) + 1
    assert scorer.warm() == 2 * 2 * groups
    for request in drawn(index):
        scorer([request])
    assert scorer.traces == 2 * 2 * groups


def test_a_new_behaviour_is_in_the_next_scores(made):
    index, scorer, _ = made
    items = np.asarray([7, 9], np.int32)
    after, at = Request(4, items, 1001), Request(4, items, 1000)
    before = scorer([after, at])
    event = {'item': [7], 'position': [1], 'time': [1000]}
    index.append(np.asarray([4]), {name: np.asarray(event[name]) for name in index.dtypes})
    found = scorer([after, at])
    assert not np.allclose(found[0], before[0], rtol=1e-4)
    np.testing.assert_array_equal(found[1], before[1])  # strictly earlier behaviours are the history
