"""Files of publishers with candidate pools that cannot be: Yahoo! R6B and Open Bandit."""

import gzip

import pytest

from jaxrec.data.pools.log import PoolLog
from jaxrec.data.readers.bandits.open_bandit import compile_open_bandit
from jaxrec.data.readers.bandits.yahoo import compile_yahoo
from tests.bad_input.test_readers import edited, field, line
from tests.bad_input.worlds import Case, assert_refused
from tests.data.extracts import open_bandit, yahoo


def of_yahoo(change=None, whole=None, **arguments):
    def call(folder):
        plain, packed = yahoo.write(folder, visits=60)
        if change:
            edited(plain, change)
        if whole:
            packed.write_bytes(whole(packed.read_bytes()))
        compile_yahoo(folder, folder / 'log', **arguments)

    return call


def of_open_bandit(change=None, items=None, behaviour='bts', campaign='men', affinity=True):
    def call(folder):
        path = open_bandit.write(folder, rows=60)
        if change:
            edited(path, change)
        if items:
            edited(path.parent / 'item_context.csv', items)
        compile_open_bandit(folder, folder / 'log', behaviour, campaign, affinity)

    return call


def click_of_2(text):
    return text.replace(b' 0 |user', b' 2 |user').replace(b' 1 |user', b' 2 |user')


READERS: dict[str, Case] = {
    'yahoo: no file': (
        lambda folder: compile_yahoo(folder, folder / 'log'),
        r'ydata-fp-td-clicks-v2_0\.20111002 \(or \.gz, \.zip\) is in none of .*R6B',
        'ask for R6B at https://webscope',
    ),
    'yahoo: a day that is not there': (
        of_yahoo(days=(2, 5)),
        r'ydata-fp-td-clicks-v2_0\.20111005',
        'place its files there',
    ),
    'yahoo: a day of no file': (of_yahoo(days=(1,)), 'days name 1', 'the days 2 to 16 of October 2011'),
    'yahoo: no such rule': (of_yahoo(irregular='keep'), "irregular='keep'", 'refuse or drop'),
    'yahoo: a line cut short': (
        of_yahoo(line(20, lambda text: text[:25])),
        r"20111002:20: '13175\d+ id-\d+.*' is no visit",
        "give irregular='drop'",
    ),
    'yahoo: a click of 2': (
        of_yahoo(line(20, click_of_2)),
        r"20111002:20: click is '2' and not 0 or 1",
        "repair the line, or give irregular='drop'",
    ),
    'yahoo: an article of letters': (
        of_yahoo(line(7, lambda text: text.replace(b'|id-', b'|id-x', 1))),
        r"20111002:7: '\|id-x\d+' is no \|id-article",
        'repair the line',
    ),
    'yahoo: out of time order': (
        of_yahoo(line(9, lambda text: b'1317500000' + text[10:])),
        r'20111002:9: time 1317500000 is earlier than 13175\d+ of the line before it',
        'repair the line',
    ),
    'yahoo: of another day': (
        of_yahoo(line(9, lambda text: b'1417513299' + text[10:])),
        r'20111002:9: time 1417513299 is not of 2 October 2011, the day of its file',
        "repair the line, or give irregular='drop'",
    ),
    'yahoo: an article of too many digits': (
        of_yahoo(line(7, lambda text: text.replace(b'|id-', b'|id-9999', 1))),
        r"20111002:7: '\|id-9999\d+' is above 2147483647",
        'repair the line',
    ),
    'yahoo: more dropped than slips': (
        of_yahoo(line(20, click_of_2), irregular='drop'),
        r'1 of 60 lines cannot be replayed: 1 lines whose click is not 0 or 1\. .* most_dropped = 0\.01',
        'look at the files, or give a larger share',
    ),
    'yahoo: a file cut short': (
        of_yahoo(whole=lambda packed: packed[:-30]),
        r'20111003\.gz cannot be read \(Compressed file ended',
        'ask for R6B',
    ),
    'yahoo: an empty file': (of_yahoo(whole=lambda packed: b''), r'20111003\.gz is empty', 'ask for R6B'),
    'open bandit: no file': (
        lambda folder: compile_open_bandit(folder, folder / 'log'),
        r'all\.csv \(or \.gz, \.zip\) is in none of .*random/all',
        'fetch the set from https://research',
    ),
    'open bandit: no such logger': (of_open_bandit(behaviour='ucb'), "behaviour='ucb'", 'random, bts'),
    'open bandit: no such campaign': (of_open_bandit(campaign='kids'), "campaign='kids'", 'all, men, women'),
    'open bandit: another header': (
        of_open_bandit(lambda content: content.replace(b'propensity_score', b'pscore', 1)),
        r"men\.csv:1: the header has no 'propensity_score'",
        'fetch the set',
    ),
    'open bandit: a click of 2': (
        of_open_bandit(field(30, 4, b'2')),
        r'men\.csv:30: click is 2 and not 0 or 1',
        'repair the line',
    ),
    'open bandit: a propensity of 0': (
        of_open_bandit(field(31, 5, b'0.0')),
        r'men\.csv:31: propensity_score is 0\.0 and not in \(0, 1\]',
        'repair the line',
    ),
    'open bandit: a local time': (
        of_open_bandit(field(32, 1, b'2019-11-24 00:00:01+09:00')),
        r'men\.csv:32: timestamp is 2019-11-24 00:00:01\+09:00 and not a time in UTC',
        'repair the line',
    ),
    'open bandit: no time': (
        of_open_bandit(field(33, 1, b'yesterday noon')),
        r'men\.csv:33: timestamp is yesterday noon',
        'repair the line',
    ),
    'open bandit: an item of another campaign': (
        of_open_bandit(field(34, 2, b'77')),
        r'visit \d+ shows item 77, which is not among the 6 items of its pool',
        'add it there or drop',
    ),
    'open bandit: fewer items than affinities': (
        of_open_bandit(items=lambda content: content.rsplit(b'\n', 2)[0] + b'\n'),
        r'item_context\.csv has 5 items, .*men\.csv affinities to 6, numbered',
        'fetch the set',
    ),
    'open bandit: items without features': (
        of_open_bandit(items=lambda content: content.replace(b'item_feature_2', b'feature', 1)),
        r"item_context\.csv has no item or not all have 'item_feature_2'",
        'fetch the set',
    ),
    'open bandit: a row cut short': (
        of_open_bandit(line(40, lambda text: text.rpartition(b',')[0])),
        r'men\.csv:40: 15 fields instead of 16',
        'repair the line',
    ),
}


@pytest.mark.parametrize('name', READERS)
def test_spoiled_files(tmp_path, name):
    assert_refused(READERS[name], tmp_path)
    assert not (tmp_path / 'log').exists()


def test_what_the_cases_spoil_is_sound(tmp_path):
    for number, call in enumerate((of_yahoo(), of_open_bandit())):
        (folder := tmp_path / str(number)).mkdir()
        call(folder)
        assert len(PoolLog(folder / 'log')) >= 60
    assert gzip.decompress((tmp_path / '0' / f'{yahoo.NAME.format(day=3)}.gz').read_bytes())
