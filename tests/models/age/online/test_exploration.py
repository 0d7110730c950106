"""Where policies explore: groups of candidates by what was taught of them."""

import numpy as np
import pytest

from jaxrec.models.age.online.exploration import draw, explored, named, taught, to_text
from jaxrec.models.age.replay.replayer import walk
from tests.models.age.run_worlds import tiny

EDGES = (1, 5, 20)
FAST = {'options': {'direction': 'fgm', 'gate': 'none'}}


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp('logs')


@pytest.fixture(scope='module')
def plain(cache):
    return walk(tiny('DNN', cache))


def test_what_was_taught_is_what_the_window_holds(plain):
    rows = plain.state.rows[: plain.state.learned]
    shown = [plain.stream.log.events['item'][row] for row in rows]
    counts = taught(plain)
    assert counts.sum() == len(shown) == 300  # the window
    for item in set(shown):
        assert counts[item] == shown.count(item)


def test_shares_are_of_all_and_a_plain_model_explores_nowhere(plain):
    groups = explored(plain, draws=2, edges=EDGES)
    for key in ('candidates', 'highest', 'picked'):
        assert np.isclose(sum(group[key] for group in groups), 1)
    assert all(group['moved'] == 0 and group['picked'] == group['highest'] for group in groups)


def test_groups_are_those_of_their_candidates(plain):
    """Against a loop over visits and candidates."""
    groups = {group['from']: group for group in explored(plain, draws=1, edges=EDGES)}
    counts, log = taught(plain), plain.stream.log
    rows = np.arange(plain.state.seen - plain.stream.source.batch_size, plain.state.seen)
    of, rates = {0: [], 1: [], 5: [], 20: []}, plain.stream.truth(rows)
    for row, rate in zip(rows, rates, strict=True):
        for item, true in zip(log.padded_pools[log.events['pool'][row]], rate, strict=True):
            if item:
                of[max(edge for edge in of if edge <= counts[item])].append(true)
    total = sum(map(len, of.values()))
    for edge, found in of.items():
        assert (edge in groups) == bool(found)
        if found:
            assert groups[edge]['candidates'] == pytest.approx(len(found) / total)
            assert groups[edge]['true_ctr'] == pytest.approx(np.mean(found))


def test_an_explorer_moves_scores_and_is_drawn(cache, tmp_path):
    groups = explored(walk(tiny('AGE-TS', cache, **FAST)), draws=3, edges=EDGES)
    assert any(group['moved'] > 0 for group in groups)
    assert any(group['picked'] != group['highest'] for group in groups)
    draw('AGE-TS', groups, tmp_path / 'exploring.png')
    assert (tmp_path / 'exploring.png').stat().st_size > 1_000
    assert len(to_text('AGE-TS', groups).splitlines()) == 1 + len(groups)


def test_names_of_groups():
    ends = ((0, 1), (1, 5), (20, None))
    assert [named({'from': begin, 'until': end}) for begin, end in ends] == ['0', '1 to 4', '20 and more']


def test_a_policy_that_predicts_nothing_is_refused(cache):
    with pytest.raises(ValueError, match='predicts no click rates'):
        explored(walk(tiny('random', cache)), draws=1)
