"""New events over a base: merged in one pass, outside every lock, and kept within a number of bytes."""

import concurrent.futures
import shutil
import threading

import numpy as np

from jaxrec.serving import behaviour_index
from jaxrec.serving.behaviour_index import BehaviourIndex
from jaxrec.serving.user_view import UserView
from tests.serving.worlds import agree, drawn_events, loop, world


def test_views_are_kept_within_their_bytes_and_all_are_right(tmp_path):
    log, index = world(tmp_path)
    index.close()
    added = [drawn_events(log, 60, seed) for seed in range(2)]
    most = 0
    for view_bytes in (0, 2000, 1 << 20):
        with BehaviourIndex(
            shutil.copytree(index.folder, tmp_path / f'{view_bytes}'), log, True, False, view_bytes
        ) as opened:
            for n, events in enumerate(added):
                opened.append(*events)
                agree(opened, loop(log, added[: n + 1]))
            kept = opened._new.kept_bytes
            assert kept == sum(view.nbytes for view, _ in opened._new._kept.values()) <= view_bytes
            assert kept > most or not view_bytes
            most = kept


class Gate:
    """Stands for a merge that takes long: says that it has begun, and ends when it is told to."""

    def __init__(self, monkeypatch):
        self.begun, self.open, merged = threading.Event(), threading.Event(), UserView.merged

        def waits(view, events, categories):
            self.begun.set()
            assert self.open.wait(30)
            return merged(view, events, categories)

        monkeypatch.setattr(UserView, 'merged', waits)


def test_nobody_waits_for_a_merge_and_what_comes_meanwhile_is_in_the_next_view(tmp_path, monkeypatch):
    log, index = world(tmp_path)
    added = [(np.full(20, 3), drawn_events(log, 20)[1]), (np.asarray([3, 4]), drawn_events(log, 2, 1)[1])]
    index.append(*added[0])
    gate = Gate(monkeypatch)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        slow = pool.submit(index.view, 3)
        assert gate.begun.wait(30)
        try:
            quick = pool.submit(lambda: (len(index.view(5)), index.append(*added[1])))
            assert quick.result(10) == (len(loop(log)[5]), len(index))
        finally:
            gate.open.set()
        assert len(slow.result(30)) == len(loop(log)[3]) + 20
    agree(index, loop(log, added))


def test_new_events_of_a_user_are_merged_in_one_pass(tmp_path, monkeypatch):
    log, index = world(tmp_path)
    sizes, merged = [], UserView.merged
    monkeypatch.setattr(UserView, 'merged', lambda *given: sizes.append(len(given[2])) or merged(*given))
    for count in (30, 5):
        for seed in range(2):
            index.append(np.full(count, 3), drawn_events(log, count, seed)[1])
        index.view(3)
        index.view(3)
    assert sizes == [60, 10]  # appends merge nothing, a lookup what came since the one before


def test_lookups_go_on_while_the_journal_is_folded_in(tmp_path, monkeypatch):
    log, index = world(tmp_path)
    added = [drawn_events(log, 30)]
    index.append(*added[0])
    write = behaviour_index.write_base

    def looked_up(*arguments):
        agree(index, loop(log, added))
        return write(*arguments)

    monkeypatch.setattr(behaviour_index, 'write_base', looked_up)
    before = index._new
    assert index.compact() == 30
    agree(index, loop(log, added))
    assert len(before.view(3)) == len(index.view(3))  # a lookup that began before it ends as well
