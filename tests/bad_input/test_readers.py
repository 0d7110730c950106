"""Files of publishers, spoiled: each error names the file, where it can the line, and what to do."""

import gzip
import re
import zipfile

import pytest

from jaxrec.data.readers.amazon import compile_amazon
from jaxrec.data.readers.avazu import compile_avazu
from jaxrec.data.readers.taobao import compile_taobao
from tests.data.extracts import amazon, avazu, taobao


def edited(path, change):
    """Replaces the bytes of a file, unpacked where it is packed."""
    packed = path.suffix == '.gz'
    content = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    path.write_bytes(gzip.compress(change(content)) if packed else change(content))


def line(number, change):
    """Changes one line of a file, counted from 1."""

    def apply(content):
        lines = content.split(b'\n')
        lines[number - 1] = change(lines[number - 1])
        return b'\n'.join(lines)

    return apply


def field(number, position, value):
    """Sets one field of one line of a comma-separated file."""

    def change(text):
        fields = text.split(b',')
        fields[position] = value
        return b','.join(fields)

    return line(number, change)


def of_taobao(change=None, **arguments):
    def call(folder):
        path = taobao.write(folder)
        if change:
            edited(path, change)
        compile_taobao(folder, folder / 'log', **arguments)

    return call


def of_avazu(change=None, whole=None, **arguments):
    def call(folder):
        path = avazu.write(folder, 300)
        if change:
            edited(path, change)
        if whole:
            path.write_bytes(whole(path.read_bytes()))
        compile_avazu(folder, folder / 'log', **arguments)

    return call


def of_amazon(spoil=lambda reviews, metadata: None, **arguments):
    def call(folder):
        spoil(*amazon.write(folder))
        compile_amazon(folder, folder / 'log', **arguments)

    return call


def zip_of_another_file(folder):
    with zipfile.ZipFile(folder / 'UserBehavior.csv.zip', 'w') as archive:
        archive.writestr('README.txt', 'no lines here')
    compile_taobao(folder, folder / 'log')


def junk(line_count):
    return b'\n'.join([b'not a record'] * line_count) + b'\n'


# What to do in a folder, the place that the message names, the remedy it gives.
CASES = {
    'taobao: no file': (
        lambda folder: compile_taobao(folder, folder / 'log'),
        r'UserBehavior\.csv \(or \.gz, \.zip\) is in none of .*taobao',
        r'fetch UserBehavior\.csv\.zip from https://tianchi',
    ),
    'taobao: a field too few': (
        of_taobao(line(17, lambda text: text.rpartition(b',')[0])),
        r'UserBehavior\.csv:17: 4 fields instead of 5',
        'repair the line',
    ),
    'taobao: a field too many': (
        of_taobao(line(800, lambda text: text + b',1')),
        r'UserBehavior\.csv:800: 6 fields instead of 5',
        'repair the line',
    ),
    'taobao: a blank line': (
        of_taobao(line(5, lambda text: b'')),
        r'UserBehavior\.csv:5: user cannot be read',
        'repair the line',
    ),
    'taobao: a date for a time': (
        of_taobao(field(3, 4, b'2017-11-25')),
        r"UserBehavior\.csv:3: time cannot be read .*'2017-11-25'",
        'repair the line',
    ),
    'taobao: a word for an item': (
        of_taobao(field(700, 1, b'shoe')),
        r"UserBehavior\.csv:700: item cannot be read .*'shoe'",
        'repair the line',
    ),
    'taobao: a user beyond 32 bits': (
        of_taobao(field(2, 0, b'99999999999')),
        r"UserBehavior\.csv:2: user cannot be read .*'99999999999'",
        'repair the line',
    ),
    'taobao: a header': (
        of_taobao(lambda content: b'user,item,category,behaviour,time\n' + content),
        r"UserBehavior\.csv:1: user cannot be read .*'user'",
        'repair the line',
    ),
    'taobao: another behaviour': (
        of_taobao(field(42, 3, b'look')),
        r"UserBehavior\.csv:42: behaviour 'look' is none of pv, cart, fav, buy",
        'repair the line',
    ),
    'taobao: an empty file': (
        of_taobao(lambda content: b''),
        r'UserBehavior\.csv is empty',
        r'fetch UserBehavior\.csv\.zip',
    ),
    'taobao: a zip of another file': (
        zip_of_another_file,
        r'UserBehavior\.csv\.zip holds no UserBehavior\.csv',
        'fetch',
    ),
    'taobao: no line in the stated days': (
        of_taobao(lambda content: b'1,2,3,pv,0\n1,3,3,pv,5\n'),
        r'UserBehavior\.csv has no line within the stated days',
        'fetch',
    ),
    'taobao: no such rule for times': (of_taobao(outside='clip'), "outside='clip'", 'drop or keep'),
    'avazu: another header': (
        of_avazu(lambda content: content.replace(b'banner_pos', b'banner', 1)),
        r"train\.gz:1: header 'id,click,hour,C1,banner,.* instead of 'id,click,hour,C1,banner_pos,",
        r'another file\?',
    ),
    'avazu: the file without clicks': (
        of_avazu(lambda content: content.replace(b'id,click,', b'id,', 1)),
        r"train\.gz:1: header 'id,hour,C1",
        r'another file\?',
    ),
    'avazu: a field too few': (
        of_avazu(line(200, lambda text: text.rpartition(b',')[0])),
        r'train\.gz:200: 23 fields instead of 24',
        'repair the line',
    ),
    'avazu: a click of 2': (of_avazu(field(9, 1, b'2')), r'train\.gz:9: click is 2 and not 0 or 1', 'repair the line'),
    'avazu: an hour of 25': (
        of_avazu(field(150, 2, b'14102125')),
        r'train\.gz:150: hour is 14102125 and not YYMMDDHH',
        'repair the line',
    ),
    'avazu: a word for an hour': (
        of_avazu(field(301, 2, b'noon')),
        r"train\.gz:301: hour cannot be read .*'noon'",
        'repair the line',
    ),
    'avazu: cut short': (
        of_avazu(whole=lambda packed: packed[:-500]),
        r'train\.gz cannot be read \(Compressed file ended before',
        r'fetch train\.gz from https://www\.kaggle\.com',
    ),
    'avazu: not packed': (
        of_avazu(whole=lambda packed: b'id,click\n1,0\n'),
        r'train\.gz cannot be read \(Not a gzipped file',
        r'fetch train\.gz',
    ),
    'avazu: packed nothing': (of_avazu(lambda content: b''), r"train\.gz:1: header '' instead of", r'another file\?'),
    'avazu: a header alone': (
        of_avazu(lambda content: content.partition(b'\n')[0] + b'\n'),
        r'train\.gz cannot be read \(Empty CSV file',
        r'fetch train\.gz',
    ),
    'avazu: buckets for no field': (of_avazu(buckets={'C13': 5}), "the field 'C13'", 'the fields are C1, '),
    'amazon: no metadata': (
        of_amazon(lambda reviews, metadata: metadata.unlink()),
        r'meta_Books\.json \(or \.gz, \.zip\) is in none of',
        r'fetch http://snap\.stanford\.edu/.*/meta_Books\.json\.gz and place it there',
    ),
    'amazon: another category': (
        of_amazon(category='Electronics'),
        r'reviews_Electronics_5\.json',
        r'fetch http://.*/reviews_Electronics_5\.json\.gz',
    ),
    'amazon: all reviews instead of the subset': (
        of_amazon(five_core=False),
        r'reviews_Books\.json ',
        r'fetch http://.*/reviews_Books\.json\.gz',
    ),
    'amazon: reviews cut short': (
        of_amazon(lambda reviews, metadata: reviews.write_bytes(reviews.read_bytes()[:-100])),
        r'reviews_Books_5\.json\.gz cannot be read \(Compressed file ended',
        r'fetch it again from http://snap',
    ),
    'amazon: metadata cut short': (
        of_amazon(lambda reviews, metadata: metadata.write_bytes(metadata.read_bytes()[:-100])),
        r'meta_Books\.json\.gz cannot be read',
        'fetch it again',
    ),
    'amazon: an empty file': (
        of_amazon(lambda reviews, metadata: reviews.write_bytes(b'')),
        r'reviews_Books_5\.json\.gz is empty',
        'fetch it again',
    ),
    'amazon: packed nothing': (
        of_amazon(lambda reviews, metadata: metadata.write_bytes(gzip.compress(b''))),
        r'meta_Books\.json\.gz has no lines that belong here',
        'Fetch it again',
    ),
    'amazon: no review in any line': (
        of_amazon(lambda reviews, metadata: reviews.write_bytes(gzip.compress(junk(30)))),
        r'reviews_Books_5\.json\.gz has 30 lines and no review among them',
        r'another file\?',
    ),
    'amazon: no product in any line': (
        of_amazon(lambda reviews, metadata: metadata.write_bytes(gzip.compress(junk(8)))),
        r'meta_Books\.json\.gz has 8 lines and no product',
        r'another file\?',
    ),
    'amazon: no such order of a day': (of_amazon(same_day='shuffled'), "'shuffled'", 'lines or unordered'),
}


@pytest.mark.parametrize('name', CASES)
def test_spoiled_files_are_refused(tmp_path, name):
    call, place, remedy = CASES[name]
    with pytest.raises(ValueError) as error:
        call(tmp_path)
    message = str(error.value)
    assert re.search(place, message) and re.search(remedy, message), message
    assert not (tmp_path / 'log').exists()


def test_unspoiled_files_compile(tmp_path):
    for call in (of_taobao(), of_avazu(), of_amazon()):
        (folder := tmp_path / str(id(call))).mkdir()
        call(folder)
        assert (folder / 'log' / 'manifest.json').exists()
