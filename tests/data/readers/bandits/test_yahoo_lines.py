"""Lines of R6B become the rows that are written in them; an irregular one leaves nothing behind."""

import pytest

from jaxrec.data.readers.bandits.yahoo_lines import DROPPED, Irregular, Lines

FIRST = 1_317_600_000  # midnight of 3 October 2011, UTC


def at(seconds, text):
    """A line of so many seconds after that."""
    return b'%d %s\n' % (FIRST + seconds, text)


GOOD = (
    (at(100, b'id-7 1 |user 3 1 |id-9 |id-7'), (FIRST + 100, 7, 1), [7, 9], (1, 3)),
    (at(100, b'id-9 0 |user 136 |id-9 |id-7'), (FIRST + 100, 9, 0), [7, 9], (136,)),
    (at(105, b'id-2 0 |user |id-2'), (FIRST + 105, 2, 0), [2], ()),
    (at(106, b'id-9 0 |user 3 1 |id-7 |id-9'), (FIRST + 106, 9, 0), [7, 9], (1, 3)),
)
BAD = {
    at(105, b'id-2 0'): 'malformed lines',
    at(105, b'2 0 |user 1 |id-2'): 'malformed lines',
    b'noon id-2 0 |user 1 |id-2\n': 'malformed lines',
    at(105, b'id-2 0 |user one |id-2'): 'malformed lines',
    at(105, b'id-2 0 |user 1 |id-2 |x'): 'malformed lines',
    at(105, b'id-2147483648 0 |user 1 |id-2147483648'): 'malformed lines',
    b'9%d id-2 0 |user 1 |id-2\n' % 10**30: 'lines of another day than their file',
    at(-86_401, b'id-2 0 |user 1 |id-2'): 'lines of another day than their file',
    at(2 * 86_400, b'id-2 0 |user 1 |id-2'): 'lines of another day than their file',
    at(99, b'id-2 0 |user 1 |id-2'): 'lines out of time order',
    at(105, b'id-2 2 |user 1 |id-2'): 'lines whose click is not 0 or 1',
    at(105, b'id-2 0 |user 1'): 'lines with an empty pool',
    at(105, b'id-2 0 |user 1 |id-3'): 'lines that show an article outside their pool',
    at(105, b'id-2 0 |user 137 |id-2'): 'lines with a feature outside 1..136',
    at(105, b'id-2 0 |user 0 |id-2'): 'lines with a feature outside 1..136',
}


def cut(values, lengths):
    ends = lengths.cumsum()
    return [values[end - length : end].tolist() for end, length in zip(ends, lengths, strict=True)]


def test_rows_users_and_pools_are_those_of_the_lines():
    lines, last = Lines(), None
    for text, *_ in GOOD:
        last = lines.add(text, 3, last)
    assert last == FIRST + 106 and len(lines) == 4
    block = lines.take()
    rows = zip(block['time'].tolist(), block['item'].tolist(), block['click'].tolist(), strict=True)
    assert list(rows) == [row for _, row, _, _ in GOOD] and block['day'].tolist() == [3] * 4
    pools, users = (cut(block[f'{x}_values'], block[f'{x}_lengths']) for x in ('pool', 'user'))
    assert [pools[code] for code in block['pool']] == [pool for _, _, pool, _ in GOOD]
    assert [tuple(users[code]) for code in block['user']] == [user for *_, user in GOOD]
    assert len(pools) == 3 and len(users) == 3  # by text: parsed once each
    assert len(lines) == 0 and len(lines.take()['time']) == 0  # a new block has begun


@pytest.mark.parametrize('text', BAD)
def test_an_irregular_line_has_its_reason_and_is_not_taken_in(text):
    lines = Lines()
    lines.add(GOOD[0][0], 3, None)
    with pytest.raises(Irregular) as caught:
        lines.add(text, 3, FIRST + 100)
    assert caught.value.reason == BAD[text] and len(lines) == 1
    lines.drop(caught.value, 'first')
    lines.drop(caught.value, 'second')
    block = lines.take()
    assert dict(zip(DROPPED, block['dropped'].tolist(), strict=True)) == dict.fromkeys(DROPPED, 0) | {BAD[text]: 2}
    assert block['first_dropped'].values.tolist() == ['first']


def test_what_is_named_twice_is_counted_and_kept_once():
    lines = Lines()
    lines.add(at(1, b'id-2147483647 0 |user 4 4 |id-2147483647 |id-2 |id-2'), 2, None)
    block = lines.take()
    assert block['noted'].tolist() == [1, 1]
    assert block['user_values'].tolist() == [4] and block['pool_values'].tolist() == [2, 2**31 - 1]


def test_a_wrong_time_takes_no_line_after_it_along():
    """A day ahead at most: a later one would put every line after it out of order."""
    lines, last = Lines(), None
    last = lines.add(at(-86_400, b'id-2 0 |user |id-2'), 3, last)
    with pytest.raises(Irregular, match=r'time \d+ is not of 3 October 2011, the day of its file'):
        lines.add(at(10**8, b'id-2 0 |user |id-2'), 3, last)
    assert lines.add(at(2 * 86_400 - 1, b'id-2 0 |user |id-2'), 3, last) and len(lines) == 2
