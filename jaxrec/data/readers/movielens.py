"""MovieLens: TFDS builders of its tables, and the compiler that turns them into a `BehaviourLog`.

An example of `MovielensRatings` is a user with all ratings in file order, one of `MovielensMovies` a movie. Decoding
examples one by one is slow, so nothing trains from them: they are read once, into columns.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from jaxrec.configurable import configurable
from jaxrec.data.logs.behaviour_log import BehaviourLog, ColumnSpec, compile_log
from jaxrec.data.logs.columns import Ragged
from jaxrec.data.readers.files import prepared_folder
from jaxrec.data.readers.movielens_files import (
    ADDRESS,
    EDITIONS,
    NO_GENRES,
    Files,
    download,
    find_files,
    parse_movie,
    parse_rating,
    parse_user,
    year_of,
)


class _Movielens(tfds.core.GeneratorBasedBuilder):
    """What both builders share: editions as configs, and files placed in `manual_dir`."""

    VERSION = tfds.core.Version('1.0.0')
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name=name) for name in EDITIONS]
    # TFDS 4.9 finds this by a package that it does not declare as a dependency (importlib_resources); told, it need not
    # look.
    code_path = Path(__file__)
    MANUAL_DOWNLOAD_INSTRUCTIONS = f'Place the folder or the zip of the edition from {ADDRESS} here.'

    files: Files | None = None  # found by the caller; else looked for in the manual folder

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        files = self.files or find_files(dl_manager.manual_dir, self.builder_config.name)
        return {'train': self._generate_examples(files)}

    def _described(self, **features: Any) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))


class MovielensRatings(_Movielens):
    """Users: `user`, `movies`, `ratings`, `times`; of 1m also `gender`, `age`, `occupation`, `zip`."""

    def _info(self) -> tfds.core.DatasetInfo:
        attributes = {}
        if EDITIONS[self.builder_config.name].users:
            text = tfds.features.Text()
            attributes = {'gender': text, 'age': np.int32, 'occupation': np.int32, 'zip': text}
        sequences = {'movies': np.int64, 'ratings': np.float32, 'times': np.int64}
        vectors = {name: tfds.features.Tensor(shape=(None,), dtype=dtype) for name, dtype in sequences.items()}
        return self._described(user=np.int64, **vectors, **attributes)

    def _generate_examples(self, files: Files) -> Iterator[tuple[int, dict[str, Any]]]:
        ratings: dict[int, list[tuple[int, float, int]]] = {}
        for place, fields in files.rows('ratings'):
            user, movie, rating, time = parse_rating(place, fields, files.edition)
            ratings.setdefault(user, []).append((movie, rating, time))
        attributes = _attributes(files) if files.edition.users else {}
        without_line = ratings.keys() - attributes.keys() if files.edition.users else ()
        if without_line:
            raise ValueError(f'{files.root}: user {min(without_line)} has ratings but no line among the users: add one')
        for user in sorted(ratings.keys() | attributes.keys()):  # also users who rated nothing, to be counted
            movies, values, times = zip(*ratings[user], strict=True) if user in ratings else ((), (), ())
            sequences = {'movies': np.asarray(movies, np.int64), 'ratings': np.asarray(values, np.float32)}
            yield user, {'user': user, **sequences, 'times': np.asarray(times, np.int64), **attributes.get(user, {})}


class MovielensMovies(_Movielens):
    """Movies: `movie`, `title`, `genres`."""

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        return self._described(movie=np.int64, title=text, genres=tfds.features.Sequence(text))

    def _generate_examples(self, files: Files) -> Iterator[tuple[int, dict[str, Any]]]:
        seen: dict[int, str] = {}
        for place, fields in files.rows('movies'):
            movie, title, genres = parse_movie(place, fields)
            _check_once('movie', movie, place, seen)
            yield movie, {'movie': movie, 'title': title, 'genres': genres}


def _attributes(files: Files) -> dict[int, dict[str, Any]]:
    attributes: dict[int, dict[str, Any]] = {}
    seen: dict[int, str] = {}
    for place, fields in files.rows('users'):
        user, gender, age, occupation, code = parse_user(place, fields)
        _check_once('user', user, place, seen)
        attributes[user] = {'gender': gender, 'age': age, 'occupation': occupation, 'zip': code}
    return attributes


def _check_once(what: str, key: int, place: str, seen: dict[int, str]) -> None:
    if key in seen:
        raise ValueError(f'{place}: {what} {key} is listed before, at {seen[key]}: keep one of the lines')
    seen[key] = place


@configurable('log')
def compile_movielens(
    data_dir: str | Path, folder: str | Path, edition: str = 'latest-small-2016', *, seed: int = 0, fetch: bool = False
) -> BehaviourLog:
    """Compiles an edition of MovieLens.

    Events have `rating`; items (movies) have `genres` (multi-valued), `category` (the first genre) and `year` (numeric,
    0 where the title has none); users of the 1m edition have `gender`, `age`, `occupation` and `zip`. Of several
    ratings of a movie by one user the latest is kept. The prepared TFDS data lie beside `folder`, under `tfds/`.

    Args:
      data_dir: where the files lie: the publisher's folder, a folder that holds it, or one that holds the zip.
      folder: where the log will lie.
      edition: 'latest-small-2016', 'latest-small-2018' or '1m'.
      seed: of the hash that assigns ids.
      fetch: download the zip into `data_dir` when no files are found there.

    Raises:
      ValueError: when files are missing, or for a malformed line, which is named.
    """
    try:
        files = find_files(data_dir, edition)
    except ValueError:
        if not fetch:
            raise
        download(edition, data_dir)
        files = find_files(data_dir, edition)
    prepared = prepared_folder(folder, files.paths)
    events, users, dropped = _ratings(_read(MovielensRatings, edition, prepared, files), files.edition.users)
    items, notes = _movies(_read(MovielensMovies, edition, prepared, files))
    kinds = {'rating': 'numeric', 'genres': 'multi', 'category': 'categorical', 'year': 'numeric'}
    kinds |= {name: 'categorical' for name in users or {} if name != 'user'}
    columns = {name: ColumnSpec(kind) for name, kind in kinds.items()}
    return compile_log(
        folder, events, items, users, columns=columns, sources=files.paths, dropped=dropped, notes=notes, seed=seed
    )


def _read(builder: type[_Movielens], edition: str, folder: Path, files: Files) -> list[dict[str, Any]]:
    """All examples of a builder, prepared on the first call."""
    made = builder(config=edition, data_dir=str(folder), file_format='array_record')
    made.files = files
    made.download_and_prepare()
    source = made.as_data_source('train')
    return [source[index] for index in range(len(source))]


def _ratings(examples: list[dict[str, Any]], with_users: bool) -> tuple[dict, dict | None, dict[str, int]]:
    """Columns of events and users, and the number of ratings that a later one replaced."""
    events = {
        'user': np.repeat([e['user'] for e in examples], [len(e['movies']) for e in examples]),
        'item': np.concatenate([e['movies'] for e in examples]),
        'time': np.concatenate([e['times'] for e in examples]),
        'rating': np.concatenate([e['ratings'] for e in examples]),
    }
    order = np.lexsort((events['time'], events['item'], events['user']))  # stable: later lines of a time are last
    user, item = events['user'][order], events['item'][order]
    last = np.append((user[1:] != user[:-1]) | (item[1:] != item[:-1]), True)
    keep = np.sort(order[last])
    users = None
    if with_users:
        users = {name: np.asarray([e[name] for e in examples]) for name in ('user', 'age', 'occupation')}
        users |= {name: np.asarray([e[name].decode() for e in examples]) for name in ('gender', 'zip')}
    replaced = len(order) - len(keep)
    dropped = {'ratings replaced by a later one of the same user and movie': replaced} if replaced else {}
    return {name: column[keep] for name, column in events.items()}, users, dropped


def _movies(examples: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, int]]:
    """Columns of items, and what their titles and genres lacked."""
    genres = [[genre.decode() for genre in e['genres']] for e in examples]
    years = np.asarray([year_of(e['title'].decode()) for e in examples])
    items = {
        'item': np.asarray([e['movie'] for e in examples]),
        'genres': Ragged.from_rows(genres, str),
        'category': np.asarray([row[0] if row else NO_GENRES for row in genres]),
        'year': years,
    }
    notes = {
        'movies whose title has no year': int((years == 0).sum()),
        'movies without listed genres': sum(not row for row in genres),
    }
    return items, notes
