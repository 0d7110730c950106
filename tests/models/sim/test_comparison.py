"""The judge of searches against loops over users, candidates and behaviours."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxrec.data.simulators.lifelong import load_truth
from jaxrec.models.sim import comparison as searching
from jaxrec.runs.build import batches, build
from jaxrec.training.state import init_state
from tests.conftest import slow_but_for
from tests.runs.worlds import tiny, tiny_sim


def judged(config):
    run = build(config)
    state = init_state(run.setup, run.example(run.source('test')), 0)
    return run, searching.judge(run, state)


def examples(config):
    """(candidate, its category, recent items, long items, their categories) of each test example."""
    config = config.copy_and_resolve_references()
    config.data.lifelong = ConfigDict({'length': 100, 'search': None})
    for batch in batches(build(config).source('test')):
        for row in np.flatnonzero(batch['valid'][:, 0]):
            near, far = batch['history/length'][row], batch['long/length'][row]
            yield (
                *(batch[f'candidate/{name}'][row, 0] for name in ('item', 'category')),
                batch['history/item'][row, :near],
                *(batch[f'long/{name}'][row, :far] for name in ('item', 'category')),
            )


def test_a_hard_search_keeps_of_what_matters_what_the_loop_finds(tmp_path):
    config = tiny_sim('SIM-hard', tmp_path)
    run, values = judged(config)
    truth = load_truth(run.log.folder)
    matters = lambda candidate, item: truth.lends[truth.group[item], truth.group[candidate]] != 0
    windows, density, recall = [], [], []
    for candidate, category, short, long, categories in examples(config):
        near, far = (sum(matters(candidate, item) for item in window) for window in (short, long))
        density.append(far / len(long))
        if near + far:
            windows.append(near / (near + far))
        if not far:
            continue
        relevant = {at for at, item in enumerate(long) if matters(candidate, item)}
        kept = [at for at in range(len(long)) if categories[at] == category][-5:]
        recent = range(len(long) - 5, len(long))
        recall.append([len(relevant & set(kept)) / far, len(relevant & set(recent)) / far, 5 / len(long)])
    wanted = dict(zip(('recall', 'recall_recent', 'recall_random'), np.mean(recall, 0), strict=True))
    wanted |= {'relevant_short': np.mean(windows), 'relevant_long': 1 - np.mean(windows)}
    wanted['relevant_of_long'] = np.mean(density)
    assert 0 <= values.pop('agreement') <= 1
    assert values == pytest.approx(wanted)
    assert 0 < values['recall_random'] < 1 and values['recall'] > 0


@pytest.mark.parametrize(
    ('row', 'names'),
    [
        pytest.param('DIN-short', set(), marks=pytest.mark.slow),
        ('DIN-avg', {'relevant_short', 'relevant_long', 'relevant_of_long'}),
        pytest.param('GSU-soft', {'recall', 'recall_recent', 'recall_random'}, marks=pytest.mark.slow),
        ('SIM-soft+time', {'recall', 'agreement'}),
        ('SDIM', {'recall'}),
        pytest.param('TWIN', {'recall', 'agreement'}, marks=pytest.mark.slow),
    ],
)
def test_each_row_has_what_can_be_said_of_it(row, names, tmp_path):
    _, values = judged(tiny_sim(row, tmp_path))
    assert names <= values.keys() and ('agreement' in values) == ('agreement' in names)
    assert ('recall' in values) == ('recall' in names)
    assert all(0 <= value <= 1 for value in values.values())


@pytest.mark.parametrize('row', slow_but_for(('SIM-hard',), ('SIM-hard', 'TWIN')))
def test_a_page_is_judged_as_its_candidates_one_by_one(row, tmp_path):
    config = tiny_sim(row, tmp_path)
    config.data.arguments.page = 4
    alone_run, alone = judged(config)
    config.data.candidates = 4
    run, pages = judged(config)
    assert run.source('test').examples < alone_run.source('test').examples == run.source('test').events
    assert pages == pytest.approx(alone)


def test_a_search_that_keeps_all_finds_all(tmp_path):
    _, values = judged(tiny_sim('SIM-soft', tmp_path, keep=100))
    assert values['recall'] == values['recall_random'] == values['agreement'] == 1


def test_without_a_known_truth_the_stages_are_compared(tmp_path):
    config = tiny('DIN', tmp_path)
    config.task = 'jaxrec.models.sim:make_task'
    config.model = ConfigDict({'dim': 4, 'widths': (8,), 'search': 'soft', 'keep': 3})
    config.data.lifelong = ConfigDict({'length': 10, 'search': None})
    config.data.history_length = 2
    _, values = judged(config)
    assert values.keys() == {'agreement'} and 0 <= values['agreement'] <= 1


def test_the_truth_is_about_items(tmp_path):
    config = tiny_sim('SIM-hard', tmp_path)
    config.features = ConfigDict({'candidate': ('category',), 'history': ('category',)})
    with pytest.raises(ValueError, match=r"lack 'candidate/item'.* add item to features\.candidate and"):
        judged(config)


def test_some_of_a_large_test_part_are_judged(tmp_path, monkeypatch):
    config = tiny_sim('SIM-hard', tmp_path)
    _, all_of_them = judged(config)
    read, add = [], searching.Means.add
    monkeypatch.setattr(searching, 'EXAMPLES', 64)
    monkeypatch.setattr(searching.Means, 'add', lambda *given: (read.append(given[2].sum()), add(*given)))
    _, some = judged(config)
    assert read == [64] and some.keys() == all_of_them.keys()
    assert abs(some['recall'] - all_of_them['recall']) > 0  # not so if either is NaN
