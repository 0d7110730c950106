"""From a config to sessions in a file: trained, restored, written; and models of single items beside."""

import dataclasses
import itertools
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxrec.data.logs.vocabulary import FIRST
from jaxrec.data.sessions.log import compile_sessions
from jaxrec.data.sources.user_histories import UserHistories
from jaxrec.models.onerec.generate import catalogue
from jaxrec.models.onerec.recommend import Recommended, check_extended, expand, make_recommender, take_turns
from jaxrec.models.onerec.requests import Asked, Tally, answer, read_users, to_rows
from jaxrec.models.onerec.task import CODES
from jaxrec.models.onerec.tokenizing.semantic_ids import SemanticIds
from jaxrec.models.onerec.tokenizing.tokens import IDS, read_trie, write_tokens
from jaxrec.runs.artifacts import file_folder
from jaxrec.runs.build import build
from jaxrec.runs.fit import fit
from jaxrec.runs.predict import request_builder
from jaxrec.runs.restore import restore_model
from jaxrec.training.state import init_state
from tests.conftest import REPOSITORY
from tests.data.worlds import SESSION_COLUMNS, raw_sessions, raw_videos
from tests.models.onerec.run_worlds import tiny
from tests.runs.worlds import tiny as tiny_ctr


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('onerec')
    run = build(tiny('OneRec', folder / 'logs'))
    return run, folder / 'run', fit(run, folder / 'run')


@pytest.fixture(scope='module')
def loaded(trained):
    run, workdir, _ = trained
    return run, restore_model(run, workdir)[0]


def histories_of(run):
    return UserHistories(run.log, {}, run.config.features.history, 6)


@pytest.mark.slow
def test_a_trained_model_writes_sessions(trained, tmp_path):
    run, workdir, progress = trained
    assert 0 < progress.best < 3
    keys = run.log.vocabulary('user').keys
    (tmp_path / 'users.csv').write_text('who,when\n' + '\n'.join(f'{k},{2**40}' for k in [*keys[:5], 777]))
    flags = {
        'workdir': str(workdir), 'input': str(tmp_path / 'users.csv'), 'output': str(tmp_path / 'o.jsonl'),
        'user': 'who', 'time': 'when', 'sessions': 2, 'items': 2, 'beams': 4, 'batch_size': 6,
    }  # fmt: skip
    given = [f'--{name}={value}' for name, value in flags.items()]
    command = [sys.executable, '-m', 'jaxrec', 'recommend', '--mesh=1,1', *given]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in (tmp_path / 'o.jsonl').read_text().splitlines()]
    assert [(row['user'], row['rank']) for row in rows] == [(k, rank) for k in keys[:5] for rank in (1, 2)]
    known = set(run.log.vocabulary('item').keys.tolist())
    assert all(len(set(row['items'])) == 2 and set(row['items']) <= known for row in rows)
    assert all(a['score'] >= b['score'] for a, b in zip(rows[::2], rows[1::2], strict=True))
    said = done.stdout
    assert 'illegal share 0.0000 of 40 items that were written' in said
    assert '10 sessions for 5 users' in said and 'left out: 1 users that the log does not know' in said


def test_rows_of_sessions():
    found = Recommended(
        np.array([[[2, 3], [4, 2]], [[3, 4], [-1, -1]]]), np.float32([[-1, -2], [-3, -np.inf]]), *np.ones((2, 2))
    )
    names = np.array(['', '', 'x', 'y', 'z'], object)
    flat = to_rows(np.array(['u', 7], object).astype(str), found, names, nested=False).to_pydict()
    assert flat == {
        'user': ['u', 'u', '7'], 'rank': [1, 2, 1], 'item_1': ['x', 'z', 'y'], 'item_2': ['y', 'x', 'z'],
        'score': [-1.0, -2.0, -3.0],
    }  # fmt: skip
    assert to_rows(np.array([1, 2]), found, names, nested=True).to_pydict()['items'][1] == ['z', 'x']
    dead = found._replace(scores=np.full((2, 2), -np.inf))
    for nested in (False, True):  # a file has the columns of its first rows, also where they are none
        some, none = (to_rows(np.array([1, 2]), each, names, nested) for each in (found, dead))
        assert none.num_rows == 0 and none.schema == some.schema


def test_free_beams_are_counted_and_left_out(loaded):
    run, state = loaded
    users = np.arange(2, 8, dtype=np.int32)
    batch, _ = histories_of(run).cut(users)
    found = make_recommender(run, state, sessions=3, items=2, beams=8, free=True)(batch)
    live = np.isfinite(found.scores)
    assert (found.items[live] >= 2).all() and (found.items[~live] == -1).all()
    assert (found.written == 16).all() and (found.illegal > 0).any() and (found.illegal <= 16).all()
    assert (np.diff(np.where(live, found.scores, -1e9), axis=1) <= 0).all()


def test_a_new_item_is_reached_by_its_trie(loaded):
    run, state = loaded
    task, batch = run.setup.task, histories_of(run).cut(np.arange(2, 8, dtype=np.int32))[0]
    first = make_recommender(run, state, sessions=2, items=2, beams=4)(batch).items[0, 0, 0]
    grown = np.concatenate([task.codes, task.codes[[first]]])  # it has the ID of the favourite, which leaves
    grown[first] = -1
    trie = catalogue(grown, task.network.levels)
    again = make_recommender(run, state, sessions=2, items=2, beams=4, trie=trie)(batch)
    assert again.items[0, 0, 0] == len(task.codes)
    with pytest.raises(ValueError, match=r'the trie has levels of \(49, 49\) codes and the model'):
        make_recommender(run, state, items=2, trie=catalogue(grown, (49, 49)))


def test_a_model_keeps_to_the_codes_it_was_trained_with(loaded, tmp_path):
    run, state = loaded
    batch = histories_of(run).cut(np.arange(2, 8, dtype=np.int32))[0]
    want = make_recommender(run, state, sessions=2, items=2, beams=4)(batch).items
    moved = dataclasses.replace(run.setup.task, codes=run.setup.task.codes[::-1].copy())
    other = dataclasses.replace(run, setup=run.setup._replace(task=moved))
    found = make_recommender(other, state, sessions=2, items=2, beams=4)(batch).items
    np.testing.assert_array_equal(found, want)
    codes = np.asarray(state.model_state[CODES])
    ids = SemanticIds(codes[FIRST:, :-1], codes[FIRST:, -1], *run.setup.task.network.levels[-2:])
    ids.save(tmp_path / IDS)
    check_extended(tmp_path, codes, tmp_path)
    dataclasses.replace(ids, codes=ids.codes[::-1], ranks=ids.ranks[::-1]).save(tmp_path / IDS)
    with pytest.raises(ValueError, match='do not extend the tokens that'):
        check_extended(tmp_path, codes, tmp_path)


@pytest.mark.parametrize('row', ['SASRec', 'TIGER'])
def test_models_of_single_items_give_pages_of_their_ranking(row, loaded):
    run = build(tiny(row, loaded[0].config.data.cache))
    state = init_state(run.setup, run.example(run.source('train', shuffle=True)), 0)
    batch, _ = histories_of(run).cut(np.arange(2, 6, dtype=np.int32))
    found = make_recommender(run, state, sessions=2, items=3, beams=8)(batch)
    one = make_recommender(run, state, sessions=1, items=6, beams=8)(batch)
    np.testing.assert_array_equal(found.items.reshape(4, 6), one.items.reshape(4, 6))
    np.testing.assert_allclose(found.scores.sum(1), one.scores[:, 0], rtol=1e-5)
    assert all(len(set(items)) == 6 for items in one.items[:, 0].tolist()) and not found.illegal.any()
    assert (found.scores[:, 0] >= found.scores[:, 1]).all()
    with pytest.raises(ValueError, match='7 beams for 2 sessions of 4 items' if row == 'TIGER' else 'no semantic'):
        make_recommender(run, state, sessions=2, items=4, beams=7, free=True)


GROUPS = {3: np.array([3, 7, 9]), 5: np.array([5, 6])}


def test_items_of_a_group_stand_behind_each_other_in_a_ranking():
    items = np.array([[4, 3, 5, 8], [5, -1, -1, -1], [-1] * 4])
    scores = np.where(items >= 0, np.float32([-1, -2, -3, -4]), -np.inf)
    found, of_found = expand(items, scores, GROUPS)
    assert found.tolist() == [[4, 3, 7, 9], [5, 6, -1, -1], [-1] * 4]
    none = -np.inf
    assert of_found.tolist() == [[-1, -2, -2, -2], [-1, -1, none, none], [none] * 4]
    assert expand(items, scores, {}) == (items, scores)


def test_items_of_a_group_take_turns_in_sessions():
    items = np.array([[[3, 5], [5, 3], [3, 4], [3, 8]], [[3, 4], [-1, -1], [4, 3], [5, 3]]])
    want = [[[3, 5], [6, 7], [9, 4], [3, 8]], [[3, 4], [-1, -1], [4, 7], [5, 9]]]
    assert take_turns(items, GROUPS).tolist() == want and items[0, 1].tolist() == [5, 3]


@pytest.mark.slow
@pytest.mark.parametrize('row', ['OneRec', 'TIGER'])
def test_without_ranks_all_items_of_a_group_are_reached(row, loaded, tmp_path):
    config = tiny(row, loaded[0].config.data.cache)
    config.model.ranks = False
    run = build(config)
    state = init_state(run.setup, run.example(run.source('train', shuffle=True)), 0)
    ids = SemanticIds.load(build_ids(run))
    group = dict(enumerate(ids.codes[:, 0].tolist(), FIRST))
    batch, _ = histories_of(run).cut(np.arange(2, 6, dtype=np.int32))
    write_tokens(tmp_path, ids, {'options': {}, 'items': len(ids.codes), 'new': []})
    trie = read_trie(tmp_path, run.setup.task.network.levels)
    assert trie.sizes == (8,) and read_trie(tmp_path).sizes == (8, ids.room)
    for given in (None, trie):
        sizes = {'sessions': 6, 'items': 2, 'beams': 12}
        found = make_recommender(run, state, trie=given, **sizes)(batch)
        for sessions in found.items:
            named = sessions.reshape(-1).tolist()
            counts = {}
            for item in named:
                counts.setdefault(group[item], []).append(item)
            for of_group in counts.values():
                members = [item for item in group if group[item] == group[of_group[0]]]
                assert of_group == np.resize(members, len(of_group)).tolist()
            if row == 'TIGER':  # a ranking, whose groups are whole but for the last
                assert len(set(named)) == 12
                assert len(list(itertools.groupby(map(group.get, named)))) == len(counts)
            assert max(map(len, counts.values())) > 1


def build_ids(run):
    """The file of IDs that a run was built with; beside its log lie those of other rows too."""
    ids = run.config.files.ids
    return file_folder(ids.make, ids.arguments, run.log, run.data) / 'ids.npz'


def test_who_is_answered_and_when(loaded):
    run, _ = loaded
    log, asked = run.log, []
    times = log.events['time'][log.user_offsets[2:6]]  # of each user's first request: nothing before it
    request = Asked(
        np.array(['a', 'b', 'c', 'd'], object), np.array([2, 1, 4, 5], np.int32), times + np.array([0, 0, 1, 9**9])
    )

    def recommender(batch):
        asked.append(batch['history/length'].tolist())
        return _sessions(len(asked[-1]))

    tally = Tally()
    done = list(answer(request, histories_of(run), recommender, 3, least=1, tally=tally))
    rows = np.concatenate([rows for rows, _ in done])
    assert 3 in rows and 0 not in rows and 1 not in rows
    assert tally.unknown == 1 and tally.users + tally.short == 3 and tally.users == len(rows)
    assert all(len(lengths) == 3 for lengths in asked) and tally.items == 4 * len(rows)
    assert tally.sessions == tally.users and tally.missing == tally.users


def _sessions(size):
    scores = np.tile(np.float32([0.5, -np.inf]), (size, 1))
    return Recommended(np.full((size, 2, 2), 3), scores, np.full(size, 4), np.zeros(size, np.int64))


@pytest.mark.parametrize(
    ('name', 'content', 'arguments', 'message'),
    [
        ('u.txt', 'user\n1\n', {}, r'ends in \.csv or \.parquet'),
        ('u.csv', 'uid\n1\n', {}, "has no column 'user', it has uid"),
        ('u.csv', 'user,t\n1,2\n,3\n', {}, "1 empty values in 'user'"),
        ('u.csv', 'user,t\n1,x\n', {'time': 't'}, 'give numbers in the unit of the log'),
        ('u.csv', 'user\nx\n', {}, 'users of .* are integers'),
        ('u.csv', None, {}, 'cannot be read'),
    ],
)
def test_files_of_users_that_cannot_be_read(loaded, tmp_path, name, content, arguments, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_users(str(tmp_path / name), loaded[0].log, **arguments)


def test_names_of_users_that_look_like_numbers_are_text_where_the_log_has_text(tmp_path):
    raw, names = raw_sessions(users=6), ['007', 'NA', '1e3', 'true', '2020-01-01', 'null']
    raw['user'] = np.array(names)[[int(name[1:]) for name in raw['user']]]
    log = compile_sessions(tmp_path / 'log', raw, raw_videos(), columns=SESSION_COLUMNS, provenance='simulated')
    ids = log.vocabulary('user').encode(np.array(names))
    assert (ids >= FIRST).all()
    (tmp_path / 'u.csv').write_text('user,when\n' + ''.join(f'{name},5\n' for name in [*names, '7']))
    pq.write_table(pa.table({'user': [*names, '7'], 'when': [5] * 7}), tmp_path / 'u.parquet')
    for path in ('u.csv', 'u.parquet'):
        found = read_users(str(tmp_path / path), log, 'user', 'when')
        assert found.names.tolist() == [*names, '7'] and found.users.tolist() == [*ids, 1]
        assert found.times.tolist() == [5] * 7
        one = read_users(str(tmp_path / path), log)
        assert one.users.tolist() == found.users.tolist() and one.times is None
    for name in names:  # alone in its column it would be read as something else
        (tmp_path / 'u.csv').write_text(f'user\n{name}\n')
        assert read_users(str(tmp_path / 'u.csv'), log).names.tolist() == [name]
    (tmp_path / 'u.csv').write_text('user,when\n007,1\n,2\n')
    with pytest.raises(ValueError, match="1 empty values in 'user': fill them in"):
        read_users(str(tmp_path / 'u.csv'), log)


def test_what_cannot_be_asked_for(loaded):
    run, state = loaded
    with pytest.raises(ValueError, match='3 beams for 4 sessions of 2 items: give at least 4'):
        make_recommender(run, state, sessions=4, items=2, beams=3)
    with pytest.raises(ValueError, match='beams = 0: give at least 1'):
        make_recommender(run, state, beams=0)
    with pytest.raises(ValueError, match='5 items are asked for; the network writes 1 to 2'):
        make_recommender(run, state, items=5)
    with pytest.raises(ValueError, match=r'names items: use `jaxrec recommend`'):
        request_builder(run, run.log)
    ctr = build(tiny_ctr('LR', run.config.data.cache))
    with pytest.raises(ValueError, match='makes a CtrTask, which names no items: give the workdir of a model'):
        make_recommender(ctr, state)
