"""Lines of R6B become the rows that are written in them; an irregular one leaves nothing behind."""

import pytest

from jaxrec.data.readers.yahoo_lines import DROPPED, Irregular, Lines

GOOD = (
    (b'100 id-7 1 |user 3 1 |id-9 |id-7\n', (100, 7, 1), [7, 9], (1, 3)),
    (b'100 id-9 0 |user 136 |id-9 |id-7\n', (100, 9, 0), [7, 9], (136,)),
    (b'105 id-2 0 |user |id-2\n', (105, 2, 0), [2], ()),
    (b'106 id-9 0 |user 3 1 |id-7 |id-9\n', (106, 9, 0), [7, 9], (1, 3)),
)
BAD = {
    b'105 id-2 0\n': 'malformed lines',
    b'105 2 0 |user 1 |id-2\n': 'malformed lines',
    b'noon id-2 0 |user 1 |id-2\n': 'malformed lines',
    b'105 id-2 0 |user one |id-2\n': 'malformed lines',
    b'105 id-2 0 |user 1 |id-2 |x\n': 'malformed lines',
    b'99 id-2 0 |user 1 |id-2\n': 'lines out of time order',
    b'105 id-2 2 |user 1 |id-2\n': 'lines whose click is not 0 or 1',
    b'105 id-2 0 |user 1\n': 'lines with an empty pool',
    b'105 id-2 0 |user 1 |id-3\n': 'lines that show an article outside their pool',
    b'105 id-2 0 |user 137 |id-2\n': 'lines with a feature outside 1..136',
    b'105 id-2 0 |user 0 |id-2\n': 'lines with a feature outside 1..136',
}


def cut(values, lengths):
    ends = lengths.cumsum()
    return [values[end - length : end].tolist() for end, length in zip(ends, lengths, strict=True)]


def test_rows_users_and_pools_are_those_of_the_lines():
    lines, last = Lines(), None
    for text, *_ in GOOD:
        last = lines.add(text, 3, last)
    assert last == 106 and len(lines) == 4
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
        lines.add(text, 3, 100)
    assert caught.value.reason == BAD[text] and len(lines) == 1
    lines.drop(caught.value, 'first')
    lines.drop(caught.value, 'second')
    block = lines.take()
    assert dict(zip(DROPPED, block['dropped'].tolist(), strict=True)) == dict.fromkeys(DROPPED, 0) | {
        BAD[text]: 2
    }
    assert block['first_dropped'].values.tolist() == ['first']


def test_what_is_named_twice_is_counted_and_kept_once():
    lines = Lines()
    lines.add(b'1 id-2 0 |user 4 4 |id-2 |id-2 |id-5\n', 2, None)
    block = lines.take()
    assert block['noted'].tolist() == [1, 1]
    assert block['user_values'].tolist() == [4] and block['pool_values'].tolist() == [2, 5]
