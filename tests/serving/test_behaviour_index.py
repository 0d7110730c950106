"""The index against loops over the log; new events, restarts, compaction, and folders it refuses."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from jaxrec.data.logs.behaviour_log import ColumnSpec, compile_log
from jaxrec.serving import behaviour_index, index_build
from jaxrec.serving.behaviour_index import BehaviourIndex, build_index
from jaxrec.serving.index_build import grow_trees, user_blocks
from tests.conftest import REPOSITORY
from tests.data.worlds import small_log
from tests.serving.worlds import COLUMNS, LABEL, agree, drawn_events, loop, world


@pytest.mark.parametrize('block', [1, 40, 1 << 22])
def test_lookups_are_those_of_a_loop(tmp_path, monkeypatch, block):
    monkeypatch.setattr(index_build, 'BLOCK', block)
    log, index = world(tmp_path)
    agree(index, loop(log))
    assert len(index) == sum(map(len, loop(log).values()))
    assert index.latest == max(event['time'] for events in loop(log).values() for event in events)


def test_new_events_are_seen_at_once_and_after_a_restart_and_a_compaction(tmp_path):
    log, index = world(tmp_path)
    added = [drawn_events(log, count, seed) for seed, count in enumerate((1, 7, 0, 30))]
    for n, (users, columns) in enumerate(added):
        agree(index, loop(log, added[:n]))  # views are in memory when the next events come
        index.append(users, columns)
    merged = loop(log, added)
    agree(index, merged)
    assert index.added == 38
    index.close()

    base = index.folder / 'base-000001' / 'behaviours' / 'item.npy'
    written = base.stat().st_mtime_ns
    index = BehaviourIndex(index.folder, log, writable=True)
    assert (index.added, index.torn) == (38, 0)
    agree(index, merged)
    assert base.stat().st_mtime_ns == written  # nothing was rebuilt

    assert index.compact() == 38
    assert index.added == 0 and not base.exists()
    agree(index, merged)
    more = drawn_events(log, 5, seed=9)
    index.append(*more)
    index.close()
    index = BehaviourIndex(index.folder, log)
    agree(index, loop(log, [*added, more]))
    assert index.latest == max(event['time'] for events in merged.values() for event in events)


def test_a_compacted_index_is_the_one_built_from_the_longer_log(tmp_path, monkeypatch):
    monkeypatch.setattr(index_build, 'BLOCK', 64)
    log, index = world(tmp_path)
    users, columns = drawn_events(log, 50)
    raw = {name: np.asarray(log.events[name]) for name in ('user', 'item', 'position', 'time', 'rating')}
    for name, new in {'user': users, **columns, 'rating': np.full(50, 5)}.items():
        raw[name] = np.append(raw[name], new)
    kinds = index.dtypes
    order = np.lexsort((raw['time'], raw['user']))
    kept = order[raw['rating'][order] >= 3]
    counts = np.bincount(raw['user'][kept], minlength=log.schema['user'].rows)
    rows = {name: raw[name][kept].astype(kind) for name, kind in kinds.items()}
    index_build.write_base(tmp_path / 'longer', kinds, [(counts, rows)], lambda items: log.items['category'][items])
    index.append(users, columns)
    index.compact()
    files = sorted(path.relative_to(tmp_path / 'longer') for path in (tmp_path / 'longer').rglob('*.npy'))
    assert len(files) == 8
    for file in files:
        wanted, found = np.load(tmp_path / 'longer' / file), np.load(index.folder / 'base-000002' / file)
        np.testing.assert_array_equal(found, wanted, err_msg=str(file))


def test_a_build_that_was_killed_is_begun_again(tmp_path):
    log = small_log(tmp_path / 'log')
    folder = tmp_path / 'index'
    program = (
        'import os, signal\n'
        'from jaxrec.data.logs.behaviour_log import BehaviourLog\n'
        'from jaxrec.serving import behaviour_index\n'
        'behaviour_index.write_manifest = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n'
        f'log = BehaviourLog({str(log.folder)!r})\n'
        f'behaviour_index.build_index({str(folder)!r}, log, {LABEL}, {COLUMNS})\n'
    )
    assert subprocess.run([sys.executable, '-c', program], cwd=REPOSITORY, timeout=60).returncode == -9
    assert (folder / 'base-000001').is_dir() and not (folder / 'manifest.json').exists()
    (folder / '.manifest.json.partial').write_text('{')
    (folder / 'base-000001' / 'users' / 'stray.npy').write_text('')
    with build_index(folder, log, LABEL, COLUMNS) as index:
        agree(index, loop(log))
    assert not list(folder.rglob('stray.npy')) and not list(folder.rglob('*.partial'))


@pytest.mark.parametrize('name', ['mine.txt', 'base-000001/mine.txt', 'journal-000001', 'base-000002/users'])
def test_a_build_clears_nothing_that_it_did_not_leave(tmp_path, name):
    log = small_log(tmp_path / 'log')
    path = tmp_path / 'index' / name
    path.parent.mkdir(parents=True)
    path.write_text('kept')
    with pytest.raises(ValueError, match='is not empty: give another folder, or open the index'):
        build_index(tmp_path / 'index', log, LABEL, COLUMNS)
    assert path.read_text() == 'kept' and not (tmp_path / 'index' / '.lock').exists()


def test_two_processes_do_not_build_in_one_folder(tmp_path):
    log = small_log(tmp_path / 'log')
    (tmp_path / 'index').mkdir()
    with (
        index_build.hold(tmp_path / 'index'),
        pytest.raises(ValueError, match='is being written to by another process'),
    ):
        build_index(tmp_path / 'index', log, LABEL, COLUMNS)


def test_a_log_without_times_keeps_the_order_of_arrival(tmp_path):
    events = {'user': np.asarray([5, 6, 5, 5]), 'item': np.asarray([1, 2, 3, 1])}
    items = {'item': np.asarray([1, 2, 3]), 'category': np.asarray([7, 7, 8])}
    log = compile_log(tmp_path / 'log', events, items, columns={'category': ColumnSpec('categorical')})
    label = {'kind': 'sampled_negatives'}
    index = build_index(tmp_path / 'index', log, label, ['item'])
    user, items = log.vocabulary('user').encode(np.asarray([5]))[0], log.vocabulary('item').encode
    index.append(np.asarray([user]), {'item': items(np.asarray([2]))})
    for _ in range(2):
        assert index.view(user).columns['item'].tolist() == items(np.asarray([1, 3, 1, 2])).tolist()
        assert index.view(user).before(3) == 4
        category = log.items['category'][items(np.asarray([1]))[0]]
        assert index.view(user).matching(category, 9).tolist() == [3, 2, 0]
        index.compact()


def test_it_can_branch_by_item(tmp_path):
    log = small_log(tmp_path / 'log')
    index = build_index(tmp_path / 'index', log, LABEL, ('item',), category='item')
    view = index.view(3)
    item = int(view.columns['item'][0])
    wanted = np.flatnonzero(view.columns['item'] == item)[::-1]
    assert view.matching(item, 99).tolist() == wanted.tolist()


def test_an_event_is_on_the_disk_before_it_is_acknowledged(tmp_path):
    log, index = world(tmp_path)
    index.close()
    program = (
        'import os, signal, sys\n'
        'from jaxrec.data.logs.behaviour_log import BehaviourLog\n'
        'from jaxrec.serving.behaviour_index import BehaviourIndex\n'
        'import numpy as np\n'
        f'index = BehaviourIndex({str(index.folder)!r}, BehaviourLog({str(log.folder)!r}), writable=True)\n'
        'one = np.ones(1, int)\n'
        'index.append(one * 3, {"item": one * 4, "position": one * 2, "time": one * 77})\n'
        'os.kill(os.getpid(), signal.SIGKILL)\n'
    )
    killed = subprocess.run([sys.executable, '-c', program], cwd=REPOSITORY, timeout=60)
    assert killed.returncode == -9
    event = (np.asarray([3]), {'item': np.asarray([4]), 'position': np.asarray([2]), 'time': np.asarray([77])})
    with BehaviourIndex(index.folder, log, writable=True) as opened:  # the lock went with the process
        agree(opened, loop(log, [event]))


def test_a_compaction_that_was_cut_short_leaves_the_old_generation(tmp_path, monkeypatch):
    log, index = world(tmp_path)
    added = [drawn_events(log, 9)]
    index.append(*added[0])

    def fails(*_):
        raise OSError('no space left')

    monkeypatch.setattr(behaviour_index, 'write_manifest', fails)
    with pytest.raises(OSError, match='no space'):
        index.compact()
    agree(index, loop(log, added))
    index.close()
    monkeypatch.undo()
    with BehaviourIndex(index.folder, log, writable=True) as index:
        agree(index, loop(log, added))
        assert not (index.folder / 'base-000002').exists()
        assert index.compact() == 9


def test_one_process_writes_and_any_reads(tmp_path):
    log, index = world(tmp_path)
    with pytest.raises(ValueError, match='written to by another process: stop it, or open the index for rea'):
        BehaviourIndex(index.folder, log, writable=True)
    reader = BehaviourIndex(index.folder, log)
    agree(reader, loop(log))
    users, columns = drawn_events(log, 2)
    with pytest.raises(ValueError, match='open for reading only'):
        reader.append(users, columns)
    with pytest.raises(ValueError, match='open for reading only'):
        reader.compact()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'item': None}, r'came with position, time: give item, position, time'),
        ({'item': np.asarray([3])}, 'unequal shapes'),
        ({'item': np.asarray([3, 4000])}, r'have item ids outside \[1, 42\): encode them'),
        ({'item': np.asarray([3, 0])}, 'have item ids outside'),
        ({'position': np.asarray([3.0, 1.0])}, 'have position ids outside'),
        ({'time': np.asarray([3.0, np.nan])}, 'have a time that is no finite number'),
        ({'time': np.asarray([3.0, 4.5])}, 'have a time between whole numbers: round it'),
    ],
)
def test_events_that_do_not_fit_are_refused_whole(tmp_path, change, message):
    log, index = world(tmp_path)
    users, columns = drawn_events(log, 2)
    columns = {name: value for name, value in (columns | change).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        index.append(users, columns)
    assert index.added == 0


def test_folders_that_are_no_index_of_this_log_are_refused(tmp_path):
    log, index = world(tmp_path)
    index.close()
    other = small_log(tmp_path / 'other', seed=1)
    with pytest.raises(ValueError, match=r'index of another log .* build an index of this one'):
        BehaviourIndex(index.folder, other)
    with pytest.raises(ValueError, match='is not empty: give another folder'):
        build_index(index.folder, log, LABEL, COLUMNS)
    with pytest.raises(ValueError, match=r'manifest.json is missing, .* is no index: build one'):
        BehaviourIndex(log.folder / 'events', log)

    def damaged(change, name):
        folder = shutil.copytree(index.folder, tmp_path / name)
        change(folder)
        return folder

    def cut(folder):
        path = folder / 'base-000001' / 'behaviours' / 'order.npy'
        path.write_bytes(path.read_bytes()[:-4])

    with pytest.raises(ValueError, match=r'order.npy has \d+ bytes instead of \d+, it was cut'):
        BehaviourIndex(damaged(cut, 'cut'), log)

    def another(folder):
        manifest = json.loads((folder / 'manifest.json').read_text())
        (folder / 'manifest.json').write_text(json.dumps(manifest | {'version': 99}))

    with pytest.raises(ValueError, match=r'version 99, this library reads .* version 1'):
        BehaviourIndex(damaged(another, 'another'), log)
    with pytest.raises(ValueError, match='is damaged'):
        BehaviourIndex(damaged(lambda f: (f / 'manifest.json').write_text('{'), 'json'), log)

    def fewer(folder):
        manifest = json.loads((folder / 'manifest.json').read_text())
        manifest['counts']['behaviours'] += 1
        index_build.write_manifest(folder, manifest)

    with pytest.raises(ValueError, match=r'does not hold the .* delete the folder and build'):
        BehaviourIndex(damaged(fewer, 'fewer'), log)

    def lacking(folder):
        (folder / 'manifest.json').write_text(
            json.dumps({'format': index_build.FORMAT, 'version': index_build.VERSION})
        )

    with pytest.raises(ValueError, match='lacks category, columns'):
        BehaviourIndex(damaged(lacking, 'lacking'), log)


@pytest.mark.parametrize(
    ('columns', 'category', 'message'),
    [
        (('item', 'colour'), 'category', "no behaviour column 'colour'; its columns are item, genres"),
        (('item', 'user'), 'category', "no behaviour column 'user'"),
        (('item',), 'genres', "no categorical item attribute 'genres' to branch by: use any of item, category"),
        (('item',), 'year', "no categorical item attribute 'year'"),
        (('item',), 'position', "no categorical item attribute 'position'"),
    ],
)
def test_columns_that_cannot_be_indexed_are_refused(tmp_path, columns, category, message):
    log = small_log(tmp_path / 'log')
    with pytest.raises(ValueError, match=message):
        build_index(tmp_path / 'index', log, LABEL, columns, category)


def test_blocks_hold_whole_users(monkeypatch):
    monkeypatch.setattr(index_build, 'BLOCK', 10)
    offsets = np.asarray([0, 0, 3, 3, 10, 25, 26, 26, 30])
    assert list(user_blocks(offsets)) == [(0, 4), (4, 5), (5, 8)]


def test_trees_of_users_without_behaviours():
    order, category, start, forks = grow_trees(np.asarray([0, 2, 0]), np.asarray([4, 4], np.int32))
    assert (order.tolist(), category.tolist(), start.tolist(), forks.tolist()) == ([1, 0], [4], [0], [0, 1, 0])
    order, category, start, forks = grow_trees(np.asarray([0]), np.zeros(0, np.int32))
    assert (len(order), len(category), len(start), forks.tolist()) == (0, 0, 0, [0])
