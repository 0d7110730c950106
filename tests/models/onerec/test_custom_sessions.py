"""Sessions of one's own, from a CSV file and an .npy file of item vectors to recommended sessions."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

from jaxrec.data.ingest.mapping import make_mapping
from jaxrec.data.ingest.sessions import ingest_sessions
from jaxrec.data.sources.user_histories import UserHistories
from jaxrec.models.onerec.alignment.setup import prepare
from jaxrec.models.onerec.custom import log_config
from jaxrec.models.onerec.recommend import make_recommender
from jaxrec.models.onerec.requests import Tally, answer, read_users, to_rows
from jaxrec.models.onerec.reward.generated import all_requests
from jaxrec.models.onerec.reward.train import fit_reward, to_text
from jaxrec.models.onerec.stages import align_config
from jaxrec.models.onerec.tokenizing.semantic_ids import SemanticIds
from jaxrec.models.onerec.tokenizing.tokens import item_names
from jaxrec.options import plain
from jaxrec.runs.build import build
from jaxrec.runs.fit import fit
from jaxrec.runs.restore import restore_model
from jaxrec.runs.workdir import claim
from tests.conftest import REPOSITORY
from tests.models.onerec.run_worlds import NETWORK

USERS, VISITS, PLACES, ITEMS = 40, 10, 5, 30
MAPPING = {
    'user': 'user', 'item': 'video', 'time': {'column': 'at', 'unit': 's'},
    'events': {
        'session': {'kind': 'categorical', 'column': 'request'},
        'watch_time': {'kind': 'numeric', 'column': 'seconds'},
        'view': {'kind': 'numeric'}, 'like': {'kind': 'numeric'},
    },
}  # fmt: skip


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """`shown.csv`, `mapping.json`, `vectors.npy` and `names.txt`, in another order than the log's ids."""
    folder, draw = tmp_path_factory.mktemp('own'), np.random.default_rng(0)
    with (folder / 'shown.csv').open('w', newline='') as file:
        rows = csv.writer(file)
        rows.writerow(['user', 'request', 'video', 'at', 'seconds', 'view', 'like'])
        for user, visit, place in np.ndindex(USERS, VISITS, PLACES):
            video, view = draw.integers(ITEMS), int(draw.random() < 0.8)
            at = 1_700_000_000 + 86_400 * visit + 30 * place + user
            seconds, like = view * draw.integers(5, 40), view * int(place == 0)
            rows.writerow([f'u{user}', f'r{visit}', f'v{video}', at, seconds, view, like])
    (folder / 'mapping.json').write_text(json.dumps(MAPPING))
    np.save(folder / 'vectors.npy', draw.normal(size=(ITEMS, 6)).astype(np.float32))
    (folder / 'names.txt').write_text('\n'.join(f'v{n}' for n in range(ITEMS)))
    return folder


@pytest.fixture(scope='module')
def log_path(folder):
    flags = {'input': 'shown.csv', 'mapping': 'mapping.json', 'output': 'log'}
    given = [f'--{name}={folder / value}' for name, value in flags.items()]
    command = [sys.executable, '-m', 'jaxrec', 'ingest', '--sessions', *given]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f'Wrote {folder / "log"}: {USERS * VISITS} events, {USERS} users, {ITEMS} items' in done.stdout
    assert f'jaxrec onerec tokenize --model=OneRec --log={folder / "log"}' in done.stdout
    return folder / 'log'


@pytest.mark.slow
def test_from_a_csv_file_to_sessions(folder, log_path, tmp_path):
    config = log_config(str(log_path), 'OneRec')
    config.files.ids.arguments.content = str(folder / 'vectors.npy')
    config.files.ids.arguments.content_items = str(folder / 'names.txt')
    assert config.data.quality.to_dict() == {
        'watched': 5, 'seconds': None, 'quantile': 0.5, 'combine': 'all', 'interactions': None,
    }  # fmt: skip
    assert config.files.ids.arguments.behaviour == ITEMS - 1 and config.files.ids.arguments.clusters == 16
    config.data.cache, config.data.history_length = str(tmp_path / 'logs'), 6
    config.data.session, config.data.quality.watched = 2, 2
    config.files.ids.arguments.update({'levels': 1, 'clusters': 8})
    config.model.update(NETWORK | {'session': 2, 'experts': 0})
    config.train.update({'batch_size': 16, 'eval_batch_size': 16, 'epochs': 1})
    config.mesh = (1, 1)
    run = build(config)
    made = next(tmp_path.glob('logs/make_ids-*/ids.npz'))
    assert len(SemanticIds.load(made).codes) == ITEMS
    assert json.loads((made.parent / 'report.json').read_text())['width'] == 6 + ITEMS - 1
    assert 0 < fit(run, tmp_path / 'run').best < 4
    state, _ = restore_model(run, tmp_path / 'run')
    (tmp_path / 'users.csv').write_text('user\nu3\nnobody\nu7\n')
    asked = read_users(str(tmp_path / 'users.csv'), run.log, 'user', None)
    histories = UserHistories(run.log, plain(run.data['label']), run.config.features.history, 6)
    recommend, tally = make_recommender(run, state, sessions=2, items=2, beams=4), Tally()
    rows, names = [], item_names(run.log)
    for places, found in answer(asked, histories, recommend, 2, run.data['min_history'], tally):
        rows += to_rows(asked.names[places], found, names, nested=True).to_pylist()
    assert [(row['user'], row['rank']) for row in rows] == [('u3', 1), ('u3', 2), ('u7', 1), ('u7', 2)]
    known = {f'v{n}' for n in range(ITEMS)}
    assert all(len(set(row['items'])) == 2 and set(row['items']) <= known for row in rows)
    assert (tally.users, tally.unknown, tally.illegal) == (2, 1, 0)


@pytest.mark.parametrize(
    ('unit', 'factor', 'column'),
    [('s', 1, '1700000000.5'), ('ms', 1000, '1700000000500'), ('ms', 1000, '2023-11-14 22:13:20.5')],
)
def test_times_are_asked_for_as_the_files_of_the_log_have_them(folder, tmp_path, unit, factor, column):
    with (folder / 'shown.csv').open() as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / 'shown.csv').open('w', newline='') as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows({**row, 'at': int(row['at']) * factor} for row in rows)
    mapping = {**MAPPING, 'time': {'column': 'at', 'unit': unit}}
    log = ingest_sessions([tmp_path / 'shown.csv'], make_mapping(mapping), tmp_path / 'log')
    assert log.events['time'].min() == 1_700_000_000
    (tmp_path / 'users.csv').write_text(f'user,when\nu3,{column}\n')
    asked = read_users(str(tmp_path / 'users.csv'), log, 'user', 'when')
    assert asked.times.tolist() == [1_700_000_000.5]
    (tmp_path / 'users.csv').write_text('user,when\nu3,-5\n')
    with pytest.raises(ValueError, match="1 rows have time before 1970 in 'when': mend them"):
        read_users(str(tmp_path / 'users.csv'), log, 'user', 'when')


def small(config, folder):
    """The same config, for this log."""
    config.data.cache, config.data.history_length = str(folder / 'logs'), 6
    config.data.session, config.mesh = 2, (1, 1)
    config.train.update({'batch_size': 16, 'eval_batch_size': 16, 'epochs': 1})
    return config


@pytest.mark.slow
def test_a_reward_model_learns_the_labels_that_there_are_and_may_judge(log_path, tmp_path):
    """No row says who was followed; the generator that it is to judge keeps to other users."""
    config = log_config(str(log_path), 'reward')
    assert config.model.head_weights.to_dict() == {'swt': 1.0, 'vtr': 1.0, 'ltr': 1.0} and config.files is None
    assert config.features.candidate == ('item',) and config.data.users == (0.6, 1.0)
    report = fit_reward(small(config, tmp_path), tmp_path / 'judge')
    assert 0 <= report['calibrated']['auc_ltr'] <= 1 and 'auc_wtr' not in report['calibrated']
    assert [line.split()[0] for line in to_text(report).splitlines()] == ['head', 'swt', 'vtr', 'ltr']

    config = small(log_config(str(log_path), 'OneRec'), tmp_path)
    config.data.users, config.data.quality.watched = (0.0, 0.6), 2
    config.files.ids.arguments.update({'levels': 1, 'clusters': 8})
    config.model.update(NETWORK | {'session': 2, 'experts': 0})
    (tmp_path / 'ntp').mkdir()
    claim(tmp_path / 'ntp', config)
    wanted = align_config(beams=4, ratio=0.1, chunk=4)
    pieces = prepare(wanted, tmp_path / 'ntp', tmp_path / 'judge')
    assert pieces.bench.weights == {'swt': 1.0, 'vtr': 1.0, 'ltr': 1.0} and pieces.bench.audience is None
    asked = all_requests(pieces.run, 'test')
    items = np.array([[[2, 3], [4, 5], [3, 2]]] * 4, np.int32)
    probability, reward = pieces.bench.judge(asked.at(np.arange(4))['host/event'], items)
    np.testing.assert_allclose(reward, probability[..., [0, 1, 3]].sum(-1), rtol=1e-5)


def test_rows_of_models_that_score_items_read_the_log_too(folder, log_path):
    config = log_config(str(log_path), 'SASRec')
    assert config.data.source == 'next_item' and config.files is None
    with pytest.raises(ValueError, match='ingest it with --item_attribute'):  # its items have no attributes
        log_config(str(log_path), 'FDSA')
