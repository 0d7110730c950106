"""The MovieLens reader on extracts in the published formats, made here with every known irregularity."""

import csv
import gzip
import hashlib
import io
import os
import pathlib
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from jaxrec.data.readers import movielens_files
from jaxrec.data.readers.movielens import compile_movielens
from jaxrec.data.readers.movielens_files import download, find_files, year_of

TITLES = {
    1: ('Toy Story (1995)', 'Adventure|Animation|Children'),
    2: ('American President, The (1995)', 'Comedy|Drama'),  # a comma
    3: ('"Great Performances" Cats (1998)', 'Musical'),  # quotes
    4: ('Misérables, Les (1995)', 'Drama|War'),  # an accent and a comma
    5: ('Hyena Road', '(no genres listed)'),  # neither year nor genres
    6: ('Death Note: Desu nôto (2006–2007)', '(no genres listed)'),  # a range of years
    7: ('Diplomatic Immunity (2009– )', 'Comedy'),  # an open range
    8: ('2001: A Space Odyssey (1968) ', 'Adventure|Sci-Fi'),  # a number in front, a blank at the end
    9: ('Terminal (1996)', 'Drama'),
    10: ('Never Rated (2000)', 'Drama'),
}


def ratings_of_extract(step: float, seed: int = 3) -> list[tuple[int, int, float, int]]:
    """About 250 ratings: seconds shared by many, two pairs rated again, a movie (11) that has no title."""
    draw = np.random.default_rng(seed)
    rows = []
    for user in range(1, 41):
        for movie in draw.permutation([1, 2, 3, 4, 5, 6, 7, 8, 9, 11])[: draw.integers(3, 10)]:
            time = 900_000_000 + int(draw.integers(0, 5))
            rows.append((user, int(movie), step * int(draw.integers(1, round(5 / step) + 1)), time))
    again = rows[3], rows[60]
    return [*rows, *((user, movie, 5.0, time + n) for n, (user, movie, _, time) in enumerate(again))]


def small_files() -> dict[str, bytes]:
    """`ratings.csv` and `movies.csv`; the 2018 edition ends lines with CR LF."""
    ratings = ''.join(f'{u},{m},{r:.1f},{t}\r\n' for u, m, r, t in ratings_of_extract(0.5))
    movies = io.StringIO()
    csv.writer(movies, lineterminator='\r\n').writerows((n, *row) for n, row in TITLES.items())
    return {
        'ratings.csv': f'userId,movieId,rating,timestamp\r\n{ratings}'.encode(),
        'movies.csv': f'movieId,title,genres\r\n{movies.getvalue()}'.encode(),
    }


def million_files() -> dict[str, bytes]:
    """`ratings.dat`, `movies.dat` and `users.dat` of the 1m edition, in Latin-1, with some long zip codes."""
    titles = {n: (title.replace('–', '-'), genres) for n, (title, genres) in TITLES.items()}
    zips = ('48067', '02460', '98107-2117')
    tables = {
        'ratings.dat': [(u, m, int(r), t) for u, m, r, t in ratings_of_extract(1.0)],
        'movies.dat': [(n, *row) for n, row in titles.items()],
        'users.dat': [(u, 'FM'[u % 2], (1, 18, 56)[u % 3], u % 21, zips[u % 3]) for u in range(1, 43)],
    }
    return {
        name: ''.join('::'.join(map(str, row)) + '\n' for row in rows).encode('latin-1')
        for name, rows in tables.items()
    }


def place(folder: pathlib.Path, files: dict[str, bytes]) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def expected_counts(ratings: str, separator: str) -> dict[str, int]:
    """An independent count: the latest rating of each user and movie, by splitting lines."""
    lines = [line.split(separator) for line in ratings.split('\n') if line and not line.startswith('userId')]
    latest = {}
    for user, movie, rating, time in lines:
        if (user, movie) not in latest or int(time) >= latest[user, movie][0]:
            latest[user, movie] = int(time), float(rating)
    return {
        'lines': len(lines),
        'events': len(latest),
        'users': len({user for user, _ in latest}),
        'items': len({movie for _, movie in latest}),
        'liked': sum(rating >= 4 for _, rating in latest.values()),
    }


EXTRACTS = {'latest-small-2018': (small_files, 'ratings.csv', ','), '1m': (million_files, 'ratings.dat', '::')}


@pytest.mark.parametrize('edition', EXTRACTS)
def test_extracts_have_the_counts_of_an_independent_script(tmp_path, edition):
    make, name, separator = EXTRACTS[edition]
    files = make()
    expected = expected_counts(files[name].decode('latin-1').replace('\r', ''), separator)
    assert expected['lines'] >= 200
    log = compile_movielens(place(tmp_path / 'data', files), tmp_path / 'log', edition)
    counts = log.manifest['counts']
    assert {n: counts[n] for n in ('events', 'users', 'items')} == {
        n: expected[n] for n in ('events', 'users', 'items')
    }
    assert (log.events['rating'] >= 4).sum() == expected['liked']
    assert counts['items_without_attributes'] == 1
    assert log.manifest['dropped'] == {
        'ratings replaced by a later one of the same user and movie': 2,
        'items that occur in no event': 1,
    } | ({'users that occur in no event': 2} if edition == '1m' else {})
    assert log.manifest['notes'] == {'movies whose title has no year': 1, 'movies without listed genres': 2}
    assert log.manifest['sources'][0]['sha256'] == hashlib.sha256(files[name]).hexdigest()


@pytest.mark.parametrize('edition', EXTRACTS)
def test_titles_and_genres_survive(tmp_path, edition):
    log = compile_movielens(place(tmp_path / 'data', EXTRACTS[edition][0]()), tmp_path / 'log', edition)
    years = {1: 1995, 2: 1995, 3: 1998, 4: 1995, 5: 0, 6: 2006, 7: 2009, 8: 1968, 9: 1996, 11: 0}
    ids = log.vocabulary('item').encode(np.asarray(list(years)))
    assert log.items['year'][ids].tolist() == list(years.values())
    rated = [n for n in years if n in TITLES]
    for movie, item in zip(rated, log.vocabulary('item').encode(np.asarray(rated)), strict=True):
        genres = log.items['genres'].rows(np.asarray([item]), 3)[0]
        listed = [] if 'no genres' in TITLES[movie][1] else TITLES[movie][1].split('|')
        assert log.vocabulary('genres').decode(genres[genres > 0]).tolist() == listed
        category = log.vocabulary('category').decode(log.items['category'][[item]])[0]
        assert category == (listed or ['(no genres listed)'])[0]


def test_users_of_1m_keep_their_attributes(tmp_path):
    log = compile_movielens(place(tmp_path / 'data', million_files()), tmp_path / 'log', '1m')
    users = log.vocabulary('user').encode(np.arange(1, 41))
    decoded = {
        name: log.vocabulary(name).decode(log.users[name][users]) for name in ('gender', 'age', 'occupation', 'zip')
    }
    assert decoded['gender'].tolist() == ['FM'[u % 2] for u in range(1, 41)]
    assert decoded['age'].tolist() == [(1, 18, 56)[u % 3] for u in range(1, 41)]
    assert decoded['occupation'].tolist() == [u % 21 for u in range(1, 41)]
    assert set(decoded['zip'].tolist()) == {'48067', '02460', '98107-2117'}


@pytest.mark.parametrize('way', ['folder', 'parent', 'zip', 'gzip'])
def test_files_placed_by_hand_are_found(tmp_path, way):
    files = small_files()
    root = place(tmp_path / 'data', {})
    if way == 'folder':
        place(root, files)
    elif way == 'parent':
        place(root / 'ml-latest-small', files)
    elif way == 'gzip':
        place(root, {f'{name}.gz': gzip.compress(content) for name, content in files.items()})
    else:
        with zipfile.ZipFile(root / 'ml-latest-small.zip', 'w') as archive:
            for name, content in files.items():
                archive.writestr(f'ml-latest-small/{name}', content)
    found = find_files(root, 'latest-small-2018')
    assert len(list(found.rows('ratings'))) == len(ratings_of_extract(0.5))
    assert len(list(found.rows('movies'))) == len(TITLES)


def test_a_zip_compiles_and_changed_files_are_read_again(tmp_path):
    archive_path = place(tmp_path / 'data', {}) / 'ml-1m.zip'
    with zipfile.ZipFile(archive_path, 'w') as archive:
        for name, content in million_files().items():
            archive.writestr(f'ml-1m/{name}', content)
    log = compile_movielens(tmp_path / 'data', tmp_path / 'log', '1m')
    assert log.manifest['sources'][0]['name'] == 'ml-1m.zip'
    shorter = million_files()
    shorter['ratings.dat'] = b''.join(shorter['ratings.dat'].splitlines(keepends=True)[:50])
    place(tmp_path / 'data' / 'ml-1m', shorter)
    assert len(compile_movielens(tmp_path / 'data', tmp_path / 'log2', '1m')) == 50


def edit(name: str, old: str, new: str):
    return lambda files: files.update({name: files[name].replace(old.encode(), new.encode(), 1)})


BROKEN = {
    'a word for a rating': ('latest-small-2018', edit('ratings.csv', ',0.5,', ',half,'), r'ratings.csv:\d+: .*numbers'),
    'a rating off the scale': (
        'latest-small-2018',
        edit('ratings.csv', ',5.0,', ',5.5,'),
        r'ratings.csv:\d+: rating 5.5',
    ),
    'half a star in 1m': (
        '1m',
        edit('ratings.dat', '::5::9', '::4.5::9'),
        r'ratings.dat:\d+: rating 4.5 .*steps of 1.0',
    ),
    'a missing field': ('latest-small-2018', edit('ratings.csv', '\r\n1,', '\r\n'), r'ratings.csv:2: 3 fields'),
    'a time before 1970': ('1m', edit('ratings.dat', '::9000', '::-9000'), r'ratings.dat:\d+: .*timestamps at 0'),
    'another header': (
        'latest-small-2018',
        edit('movies.csv', 'title', 'name'),
        r'movies.csv:1: header .*another file',
    ),
    'an open quote': ('latest-small-2018', edit('movies.csv', '(1998)"', '(1998)'), r'movies.csv:\d+ is broken'),
    'a movie listed twice': (
        'latest-small-2018',
        edit('movies.csv', '\n9,', '\n8,'),
        r'movies.csv:10: movie 8 .*csv:9',
    ),
    'an empty genre': ('latest-small-2018', edit('movies.csv', 'Drama|War', 'Drama|'), r'movies.csv:5: genres'),
    'a movie without number': ('1m', edit('movies.dat', '\n9::', '\nnine::'), r"movies.dat:9: movie 'nine'"),
    'an unknown gender': ('1m', edit('users.dat', '::M::', '::X::'), r'users.dat:1: .*F or M'),
    'a user without line': ('1m', edit('users.dat', '7::', '77::'), r'user 7 has ratings but no line among'),
    'another encoding': (
        'latest-small-2018',
        lambda files: files.update({'movies.csv': files['movies.csv'].decode().replace('–', '-').encode('latin-1')}),
        r'movies.csv cannot be read .*fetch it again',
    ),
    'a missing file': (
        '1m',
        lambda files: files.pop('users.dat'),
        r'neither ratings.dat, movies.dat, users.dat .*ml-1m.zip',
    ),
}


@pytest.mark.parametrize('name', BROKEN)
def test_broken_files_name_the_place(tmp_path, name):
    edition, damage, message = BROKEN[name]
    files = EXTRACTS[edition][0]()
    damage(files)
    with pytest.raises(ValueError) as error:
        compile_movielens(place(tmp_path / 'data', files), tmp_path / 'log', edition)
    assert re.search(message, str(error.value)), error.value
    assert not (tmp_path / 'log').exists()


def test_truncated_archives_are_refused(tmp_path):
    files = {f'{name}.gz': gzip.compress(content) for name, content in small_files().items()}
    files['ratings.csv.gz'] = files['ratings.csv.gz'][:-200]
    with pytest.raises(ValueError, match=r'ratings.csv.gz cannot be read'):
        list(find_files(place(tmp_path / 'a', files), 'latest-small-2018').rows('ratings'))
    place(tmp_path / 'b', {'ml-1m.zip': b'PK not a zip'})
    with pytest.raises(ValueError, match=r'ml-1m.zip cannot be read'):
        list(find_files(tmp_path / 'b', '1m').rows('ratings'))


def test_downloads_are_checked_against_the_published_md5(tmp_path, monkeypatch):
    published = place(tmp_path / 'publisher', {'ml-latest-small.zip': b'zip', 'ml-1m.zip': b'another zip'})
    md5 = hashlib.md5(b'zip').hexdigest()
    (published / 'ml-latest-small.zip.md5').write_text(f'MD5 (ml-latest-small.zip) = {md5}\n')
    address = f'{published.as_uri()}/'
    assert download('latest-small-2018', tmp_path / 'data', address).read_bytes() == b'zip'
    with pytest.raises(ValueError, match=r'ml-1m.zip has MD5 .* instead of c4d9eecfca2ab87c1945afe126590906'):
        download('1m', tmp_path / 'data', address)
    assert [path.name for path in (tmp_path / 'data').iterdir()] == ['ml-latest-small.zip']
    with pytest.raises(ValueError, match='no longer published'):
        download('latest-small-2016', tmp_path / 'data', address)
    assert movielens_files.ADDRESS.startswith('https://')


@pytest.mark.parametrize(
    ('title', 'year'),
    [
        ('A (1995)', 1995),
        ('A (1995) ', 1995),
        ('A (2006–2007)', 2006),
        ('A (2009-)', 2009),
        ('A', 0),
        ('(500) Days', 0),
    ],
)
def test_years(title, year):
    assert year_of(title) == year


def test_the_real_log(tmp_path, data_folder):
    folder = data_folder('ml-latest-small')
    log = compile_movielens(folder.parent, tmp_path / 'log', 'latest-small-2016')
    counts = log.manifest['counts']
    assert (counts['events'], counts['users'], counts['items']) == (100_004, 671, 9_066)
    assert counts['items_without_attributes'] == 0
    assert round(float((log.events['rating'] >= 4).mean()), 3) == 0.516
    lengths = np.diff(log.user_offsets)[2:]
    assert (np.median(lengths), lengths.max()) == (71, 2391)
    with gzip.open(folder / 'ratings.csv.gz', 'rt') as file:
        lines = [line.rstrip().split(',') for line in file][1:]
    raw = {(int(u), int(m), float(r), int(t)) for u, m, r, t in lines}
    decoded = zip(
        log.vocabulary('user').decode(log.events['user']).tolist(),
        log.vocabulary('item').decode(log.events['item']).tolist(),
        log.events['rating'].tolist(),
        log.events['time'].tolist(),
        strict=True,
    )
    assert set(decoded) == raw


def test_tensorflow_is_never_imported(tmp_path):
    place(tmp_path / 'data', small_files())
    script = (
        'import sys\nfrom jaxrec.data.readers.movielens import compile_movielens\n'
        f'compile_movielens({str(tmp_path / "data")!r}, {str(tmp_path / "log")!r}, "latest-small-2018")\n'
        'assert not {"tensorflow", "torch", "pandas"} & set(sys.modules)\n'
    )
    root = pathlib.Path(__file__).parents[3]
    environment = os.environ | {'PYTHONPATH': str(root)}
    done = subprocess.run([sys.executable, '-c', script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
