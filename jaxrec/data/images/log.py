"""Scene logs: sets of annotated images, wherever their pixels are stored.

A log folder holds `manifest.json` and `events/`, one row an image: `number` (in its reader), `part` (0 train, 1
validation, 2 test) and, where they were counted, `entities`, `people` and `relations`. The manifest names the reader, a
class by its import path, and its arguments; pixels stay where they are.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from jaxrec.configurable import configurable, resolve
from jaxrec.data.images.records import ImageFolder, check_folder
from jaxrec.data.images.scene import Scene, Vocabulary
from jaxrec.data.logs.columns import write_columns
from jaxrec.data.logs.log import REMEDY, Log, describe_settings
from jaxrec.options import plain

FOLDER_READER = 'jaxrec.data.images.records:ImageFolder'
Columns = dict[str, np.ndarray]
SHOWN = 20  # problems in a message
KEPT = 2  # readers that a process keeps open: those of COCO hold all its annotations
_READERS: dict[tuple[str, ...], 'SceneReader'] = {}
BY_PART = {'kind': 'by_column', 'column': 'part', 'validation': (1,), 'test': (2,)}  # the split of a log's own


class SceneReader(Protocol):
    """What gives the scenes of a log, by number.

    Attributes:
      vocabulary: the names behind the numbers of the scenes.
      splits: int8 [number of images], the part of each, as `jaxrec.data.sources.splits.PARTS` numbers them.
    """

    vocabulary: Vocabulary
    splits: np.ndarray

    def __len__(self) -> int: ...

    @property
    def dropped(self) -> Mapping[str, int]:
        """{reason: how many} of what is left out, complete once `usable` was called."""
        ...

    def usable(self) -> list[int]:
        """Numbers of the readable images, ascending; a ValueError names an unreadable one if those are not dropped."""
        ...

    def scene(self, index: int) -> Scene:
        """The scene of that number."""
        ...

    def sources(self) -> list[Path]:
        """The files whose content makes it another data set."""
        ...


class SceneLog(Log):
    """A set of N annotated images, see `Log`; `names` is their vocabulary, `events` has N rows, `schema` is empty."""

    KIND: ClassVar[str] = 'scene log'
    FORMAT: ClassVar[str] = 'jaxrec.scene_log'
    COMPILER: ClassVar[str] = 'compile_scenes'

    def __init__(self, folder: str | Path, check_ids: bool = True):
        """Opens a log folder; with `check_ids` its reader is opened anew, and a ValueError says if it does not fit."""
        super().__init__(folder, check_ids)
        given = {key: _tuples(value) for key, value in self.manifest['names'].items()}
        self.names = Vocabulary(**given)
        if check_ids:
            _READERS.pop(_key(self.manifest), None)
        if check_ids and self.reader.vocabulary != self.names:
            raise ValueError(f'{self.folder} has other names than what it reads, {self.manifest["reader"]}: {REMEDY}')
        if check_ids and len(self) and int(self.events['number'].max()) >= len(self.reader):
            raise ValueError(
                f'{self.folder} knows image {int(self.events["number"].max())}, but there are '
                f'{len(self.reader)}: {REMEDY}'
            )

    @functools.cached_property
    def reader(self) -> SceneReader:
        """What gives the scenes; opened on first use, once a process for all that open the log."""
        key = _key(self.manifest)
        reader = _READERS.pop(key, None)
        if reader is None:
            reader = resolve(self.manifest['reader'], 'reader')(**self.manifest['arguments'])
        _READERS[key] = reader  # behind those that were used before
        for other in list(_READERS)[:-KEPT]:
            _READERS.pop(other, None)
        return reader

    def task_schema(self) -> dict[str, Any]:
        """What a task is told of the log: {'vocabulary': the names}."""
        return {'vocabulary': self.names}

    def scene(self, row: int) -> Scene:
        """The scene of a row of `events`; a ValueError names its broken files."""
        return self.reader.scene(int(self.events['number'][row]))


def compile_scenes(
    folder: str | Path,
    reader: str,
    arguments: Mapping[str, Any],
    *,
    columns: Mapping[str, np.ndarray] | None = None,
    counts: Mapping[str, int] | None = None,
    dropped: Mapping[str, int] | None = None,
    request: Mapping[str, Any] | None = None,
    provenance: str = 'real',
) -> SceneLog:
    """Compiles the log of the images that a reader can use; it appears complete or not at all.

    Args:
      folder: where the log goes; if it holds the log of the same reader and content, that one is returned.
      reader: import path of a class with the interface of `SceneReader`.
      arguments: its keywords, of types that JSON keeps; paths absolute, so that workers find them.
      columns: further columns of `events`, [N]; with `number`, int, exactly these images are in the log.
      counts: what a run reports of the log at its start.
      dropped: {reason: images} left out, in addition to the reader's.
      request: by which `Log.of_request` finds the log again, of types that JSON keeps; where the folder holds the log
        of this request and of the same sources, or anything else, no image is read.
      provenance: 'real' or 'simulated'.

    Raises:
      ValueError: no such reader, no images, one that it cannot use, or a folder that holds anything else.
    """
    folder, given = Path(folder), dict(plain(arguments))
    opened: SceneReader = resolve(reader, 'reader')(**given)
    if request is not None and (made := _made(folder, opened, request)):
        return made
    table, left_out = _table(opened, columns or {})
    number, dropped = table['number'], {**(dropped or {}), **left_out}
    if not len(number):
        raise ValueError(f'{reader} of {given} gives no images: a log needs at least one')
    digest = json.dumps([reader, given, dataclasses.asdict(opened.vocabulary), number.tolist()], sort_keys=True)
    settings = describe_settings(
        {}, digest, sources=opened.sources(), dropped=dropped, notes=None, request=request, seed=0,
        provenance=provenance,
    )  # fmt: skip
    if existing := SceneLog.existing(folder, settings['fingerprint']):
        return existing

    def tables(partial: Path) -> tuple[dict[str, Any], dict[str, int]]:
        write_columns(partial / 'events', table)
        described = {
            'schema': {},
            'vocabularies': {},
            'counts': {'events': len(number), **(counts or {})},
            'reader': reader,
            'arguments': given,
            'names': dataclasses.asdict(opened.vocabulary),
        }
        return described, {}

    return SceneLog.publish(folder, settings, tables)


@configurable('log')
def own_images(folder: str | Path, path: str, broken: str = 'refuse') -> SceneLog:
    """Compiles the log of a user's own images, `config.data.log` for them; every file is read and checked.

    A folder that holds the log of the same annotations is used as it is, and no image is read: delete the log to have
    corrected images or masks checked again.

    Args:
      folder: where the log goes.
      path: of a folder as `jaxrec.data.images.records` describes it.
      broken: 'refuse' stops at broken images, 'skip' leaves them out and counts them in `manifest['dropped']`.

    Raises:
      ValueError: no path; a log's folder that holds anything else; problems, the first by file; or nothing is left.
    """
    if not path:
        raise ValueError('data.arguments.path is empty: name the folder of the images, as in --model=SMS --log=album')
    if broken not in ('refuse', 'skip'):
        raise ValueError(f"broken {broken!r} is unknown: use 'refuse' or 'skip'")
    where = Path(path).resolve()
    request = {'reader': 'own_images', 'folder': str(where), 'broken': broken}
    if made := _made(Path(folder), ImageFolder(where), request):
        return made
    found = check_folder(where)
    if found.problems and broken == 'refuse':
        shown, more = found.problems[:SHOWN], len(found.problems) - SHOWN
        raise ValueError('\n'.join([*shown, *([f'and {more} more'] if more > 0 else [])]))
    if found.broken and len(found.broken) == found.counts['images']:
        raise ValueError(f'all {len(found.broken)} images are broken: {found.problems[0]}')
    kept = np.setdiff1d(np.arange(found.counts['images']), found.broken)
    return compile_scenes(
        folder,
        FOLDER_READER,
        {'folder': str(where)},
        columns={'number': kept},
        counts={name: count for name, count in found.counts.items() if name not in ('images', 'broken')},
        dropped={'broken image': len(found.broken)} if found.broken else None,
        request=request,
    )


def compile_annotated(folder: str | Path, reader: str, arguments: Mapping[str, Any]) -> SceneLog:
    """Compiles the log of a published set, in `folder`, from the reader at an import path and its keywords.

    All images are read once. A log of the same sources and arguments is used as it is; pixels are no sources. What is
    left out is in `manifest['dropped']`.

    Raises:
      ValueError: as the reader and `compile_scenes`.
    """
    given = json.loads(json.dumps(plain(arguments)))  # as a manifest gives them back
    return compile_scenes(folder, reader, given, request={'reader': reader, 'arguments': given})


def absolute(paths: Any) -> Any:
    """The absolute form of a path, or of all in a list or a dict of them, so that workers find them."""
    if isinstance(paths, str | Path):
        return str(Path(paths).resolve())
    if hasattr(paths, 'keys'):  # a ConfigDict is no Mapping
        return {key: absolute(paths[key]) for key in paths.keys()}
    return [absolute(path) for path in paths]


def _made(folder: Path, reader: SceneReader, request: Mapping[str, Any]) -> SceneLog | None:
    """The log of a request if the folder holds it; what else it holds is refused before an image is read."""
    return SceneLog.of_request(folder, reader.sources(), request) or SceneLog.existing(folder, '')


def _key(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """What tells the readers of logs apart."""
    arguments = json.dumps(manifest['arguments'], sort_keys=True)
    return manifest['reader'], arguments, manifest['fingerprint']


def _table(opened: SceneReader, columns: Mapping[str, np.ndarray]) -> tuple[Columns, Mapping[str, int]]:
    """The columns of a log, and what its reader left out."""
    table: Columns = dict(columns)
    left_out: Mapping[str, int] = {}
    if 'number' not in table:
        table['number'], left_out = np.array(opened.usable()), opened.dropped
    number = np.asarray(table.pop('number'), np.int32)
    return {'number': number, 'part': opened.splits[number].astype(np.int8), **table}, left_out


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
