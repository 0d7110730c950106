"""The whole path of a log of one's own: ingest, train, predict, the next day's ingest, warm start, export."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxrec.data.ingest import ingest, make_mapping
from jaxrec.data.ingest.rows import RowReader
from jaxrec.data.sources.from_config import stored
from jaxrec.data.sources.splits import TEST, TRAIN, UNUSED, VALIDATION, make_split
from jaxrec.parallel import put_batch
from jaxrec.runs import fit as running
from jaxrec.runs import predict as scoring
from jaxrec.runs import restore as restoring
from jaxrec.runs.build import build
from jaxrec.runs.models import model_config
from jaxrec.training.export import export_scorer, load_scorer
from jaxrec.training.step import make_predict_step
from tests.conftest import REPOSITORY
from tests.runs.custom_logs import MAPPING, config_of, write_day


def score_file(run, workdir, log, files):
    """The probabilities of all rows of some files, as `jaxrec predict` computes them."""
    builder = scoring.request_builder(run, log)
    reader = RowReader([str(file) for file in files], scoring.row_mapping(log, None), log, builder.row_columns)
    state, _ = restoring.restore_model(run, workdir)
    scored = list(scoring.score_rows(run, state, builder, reader.blocks(), reader.unknown))
    return np.concatenate([scores for _, scores in scored]), reader


@pytest.fixture(scope='module')
def days(tmp_path_factory):
    """Two days, each ingested and trained, the second from the first."""
    root = tmp_path_factory.mktemp('own')
    files = [write_day(root / 'day1.csv', 1, 600, 20, 30), write_day(root / 'day2.csv', 2, 500, 26, 40)]
    mapping = make_mapping(MAPPING)
    first = ingest([files[0]], mapping, root / 'log1')
    run1 = build(config_of(first))
    running.fit(run1, root / 'run1')
    second = ingest([files[1]], mapping, root / 'log2', extend=first.folder)
    run2 = build(config_of(second, init_from=str(root / 'run1')))
    running.fit(run2, root / 'run2')
    return {'root': root, 'files': files, 'logs': (first, second), 'runs': (run1, run2)}


def test_old_ids_stay_and_new_ones_follow(days):
    first, second = days['logs']
    for name in ('user', 'item', 'brand', 'place'):
        old, new = first.vocabulary(name).keys, second.vocabulary(name).keys
        assert new[: len(old)].tolist() == old.tolist()
    assert second.schema['user'].rows > first.schema['user'].rows
    assert len(second) == 1100 and second.manifest['extends']['events'] == 600
    np.testing.assert_array_equal(np.bincount(second.events['generation']), [600, 500])
    part = make_split({'kind': 'latest_generation', 'validation': 0.1, 'test': 0.2})(second, None)
    assert (part[second.events['generation'] == 0] == UNUSED).all()
    assert {TRAIN, VALIDATION, TEST} == set(part[second.events['generation'] == 1].tolist())


def test_what_was_not_clicked_is_no_item_that_a_next_item_model_learns(days):
    wanted = {'kind': 'impressions', 'column': 'click'}
    assert model_config('SASRec', days['logs'][0].folder).data.label.to_dict() == wanted


def test_a_warm_start_goes_on_from_the_first_day(days):
    lines = [json.loads(line) for line in (days['root'] / 'run2' / 'metrics.jsonl').read_text().splitlines()]
    steps = [line['step'] for line in lines]
    before = json.loads((days['root'] / 'run1' / 'metrics.jsonl').read_text().splitlines()[-1])['step']
    assert steps == sorted(steps) and before < steps[0]
    assert steps[-1] == before + len(days['runs'][1].source('train', shuffle=True))


def test_rows_of_the_log_score_as_in_evaluation(days):
    """Rows of the file of day 1, looked up as of their time, are the requests that the source cuts."""
    run, log = days['runs'][0], days['logs'][0]
    scores, _ = score_file(run, days['root'] / 'run1', log, days['files'][:1])
    source = run.source('test')
    held = {'probability': [], 'event': []}
    state, _ = restoring.restore_model(run, days['root'] / 'run1')
    step = make_predict_step(run.setup)
    for batch in (source[i] for i in range(len(source))):
        held['probability'].append(np.asarray(step(state, put_batch(batch))['probability'])[:, 0])
        held['event'].append(batch['host/event'][:, 0])
    probability, event = (np.concatenate(held[name]) for name in ('probability', 'event'))
    with days['files'][0].open() as file:
        rows = list(csv.DictReader(file))
    user, item = log.vocabulary('user'), log.vocabulary('item')
    keys = lambda u, i, t, p: list(zip(u.tolist(), i.tolist(), t.tolist(), p.tolist(), strict=True))
    of_file = keys(
        user.encode(np.asarray([row['uid'] for row in rows])),
        item.encode(np.asarray([row['sku'] for row in rows])),
        np.asarray([int(row['ts']) for row in rows]),
        log.vocabulary('place').encode(np.asarray([row['place'] for row in rows])),
    )
    by_row = dict(zip(of_file, scores, strict=True))
    events = event[event >= 0]
    of_log = keys(*(log.events[name][events] for name in ('user', 'item', 'time', 'place')))
    assert len(of_log) > 50
    np.testing.assert_allclose([by_row[key] for key in of_log], probability[event >= 0], rtol=1e-6)


def test_the_next_day_scores_before_and_after_its_training(days):
    run1, run2 = days['runs']
    first, second = days['logs']
    before, reader = score_file(run1, days['root'] / 'run1', first, days['files'][1:])
    assert reader.rows == 500 and reader.unknown['item'] > 0 and reader.unknown['user'] > 0
    after, reader = score_file(run2, days['root'] / 'run2', second, days['files'][1:])
    assert reader.unknown == {'user': 0, 'item': 0, 'place': 0}
    assert before.shape == after.shape and np.abs(before - after).max() > 1e-3
    # The first model with the longer log: new values are as unknown as they were to it.
    builder = scoring.request_builder(run1, scoring.history_log(run1, str(second.folder)))
    reader = RowReader(days['files'][1:], scoring.row_mapping(second, None), second, builder.row_columns)
    state, _ = restoring.restore_model(run1, days['root'] / 'run1')
    list(scoring.score_rows(run1, state, builder, reader.blocks(), reader.unknown))
    assert reader.unknown['item'] > 0


@pytest.mark.parametrize('bake', [False, True])
def test_the_exported_scorer_gives_the_same_scores_without_the_models_code(days, bake, tmp_path):
    run = days['runs'][1]
    state, _ = restoring.restore_model(run, days['root'] / 'run2')
    source = run.source('test')
    path = tmp_path / 'scorer.jaxexport'
    manifest = export_scorer(path, run.setup, state, source[0], bake=bake)
    assert manifest['inputs']['history/item'] == {'shape': ['b', 5], 'dtype': 'int32'}
    assert 'label' not in manifest['inputs'] and manifest['outputs']['probability']['shape'] == ['b', 1]
    scorer = load_scorer(path)
    wanted = make_predict_step(run.setup)(state, put_batch(source[0]))
    for size in (64, 7):
        batch = {key: array[:size] for key, array in source[0].items()}
        np.testing.assert_allclose(scorer(batch)['probability'], np.asarray(wanted['probability'])[:size], rtol=1e-6)
    if bake:
        return
    np.savez(tmp_path / 'batch.npz', **source[0])
    program = (
        'import sys, numpy as np\n'
        'from jaxrec.training.export import load_scorer\n'
        f'scorer = load_scorer({str(path)!r})\n'
        f'scores = scorer(dict(np.load({str(tmp_path / "batch.npz")!r})))\n'
        'assert not any(name.startswith("jaxrec.models") for name in sys.modules)\n'
        f'np.save({str(tmp_path / "scores.npy")!r}, scores["probability"])\n'
    )
    subprocess.run([sys.executable, '-c', program], cwd=REPOSITORY, check=True, timeout=120)
    np.testing.assert_allclose(np.load(tmp_path / 'scores.npy'), wanted['probability'], rtol=1e-6)


def test_the_config_follows_the_log(days):
    config = model_config('DIN', days['logs'][1].folder)
    assert config.features.candidate == ('item', 'brand', 'place', 'price')
    assert config.features.history == ('item', 'brand') and config.features.user == ('user',)
    assert config.data.label == ConfigDict({'kind': 'impressions', 'column': 'click'})
    assert config.data.split.kind == 'latest_generation'
    assert stored('', config.data.arguments.path).folder == days['logs'][1].folder
