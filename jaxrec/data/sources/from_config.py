"""From a config to a log and its batches: `config.data.log` names the function that compiles the log."""

import dataclasses
import fcntl
import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jaxrec.configurable import configurable, resolve
from jaxrec.data.images.log import SceneLog
from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.click_log import ClickLog
from jaxrec.data.logs.log import REMEDY, Log
from jaxrec.data.pools.log import PoolLog
from jaxrec.data.sessions.log import SessionLog
from jaxrec.data.sources.batch_source import BatchSource
from jaxrec.data.sources.behaviour_source import RequestSource
from jaxrec.data.sources.click_source import ClickSource
from jaxrec.data.sources.next_item_source import NextItemSource
from jaxrec.data.sources.pool_source import ImpressionSource
from jaxrec.data.sources.scene_source import SceneSource
from jaxrec.data.sources.session_source import SessionSource
from jaxrec.files import needs_room

# The source that cuts batches from each kind of log.
SOURCES: dict[type[Log], type[BatchSource]] = {
    BehaviourLog: RequestSource,
    ClickLog: ClickSource,
    PoolLog: ImpressionSource,
    SceneLog: SceneSource,
    SessionLog: SessionSource,
}
# Those that a config may ask for by name, and the logs that they read.
NAMED: dict[str, tuple[type[BatchSource], tuple[type[Log], ...]]] = {
    'requests': (RequestSource, (BehaviourLog,)),
    'sessions': (SessionSource, (SessionLog,)),
    'next_item': (NextItemSource, (BehaviourLog, SessionLog)),
}


def open_log(config: Mapping[str, Any], folder: str | Path) -> Log:
    """Compiles the log that a config describes, or opens it if it is compiled already.

    Args:
      config: `log`, the import path of a function `(folder=..., **arguments) -> Log`, and `arguments`, its keywords.
      folder: of the log.

    Raises:
      ValueError: `log` is missing or does not name such a function, or the function refuses its input.
    """
    if 'log' not in config:
        raise ValueError(
            f"config.data has no 'log' but {', '.join(config.keys())}: name a function as 'package.module:name'"
        )
    given = config['arguments'] if 'arguments' in config else {}
    arguments = {name: given[name] for name in given.keys()}
    compile_function = resolve(config['log'], 'log')
    try:
        inspect.signature(compile_function).bind(folder=folder, **arguments)
    except TypeError as error:
        takes = ', '.join(inspect.signature(compile_function).parameters)
        raise ValueError(f'config.data.arguments do not fit {config["log"]} ({error}): it takes {takes}') from None
    with alone(Path(folder)), needs_room(Path(folder)):  # what lies beside a log is written here too
        log = compile_function(folder=folder, **arguments)
    if type(log) not in SOURCES:
        raise ValueError(
            f'config.data.log = {config["log"]!r} returned {type(log).__name__}: '
            f'it must return a {" or a ".join(kind.__name__ for kind in SOURCES)}'
        )
    return log


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lets one process at a time write what belongs into a folder; the others then find it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f'.{folder.name}.lock').open('w') as file:
        with suppress(OSError):  # some network file systems have no locks; a log is moved in place whole
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@configurable('log')
def stored(folder: str | Path, path: str) -> Log:
    """Opens the log at `path` that `ingest` or a compiler has written; `config.data.log` for a custom log.

    Nothing is written to `folder`, that of compiled logs. No log at `path` is a ValueError.
    """
    del folder
    manifest = Path(path) / 'manifest.json'
    if not path or not manifest.is_file():
        raise ValueError(f'{path!r} is no log: give a folder that `jaxrec ingest` has written, as in --log=logs/mine')
    try:
        found = json.loads(manifest.read_text()).get('format')
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise ValueError(f'{manifest} is damaged ({error!r}): {REMEDY}') from None
    for kind in SOURCES:
        if kind.FORMAT == found:
            return kind(path)
    raise ValueError(f'{manifest} is of format {found!r}: {REMEDY}')


def make_source(log: Log, name: str = '', /, **arguments: Any) -> BatchSource:
    """Builds the source that cuts batches from this kind of log.

    Args:
      log: the log.
      name: one of `NAMED`; '' for the one that its kind of log has in `SOURCES`.
      **arguments: of the source.

    Raises:
      ValueError: a source that does not read this kind of log, or an argument that it does not take or that does not
        fit.
    """
    takes = source_defaults(log, name)
    for argument in arguments:
        if argument not in takes:
            of = f', cut for {name!r},' if name else ','
            raise ValueError(f'{log.folder} is a {log.KIND}{of} whose batches have no {argument}: leave it out')
    return _source_class(log, name)(log.folder, **arguments)


def source_defaults(log: Log, name: str = '') -> dict[str, Any]:
    """{argument: default, or `dataclasses.MISSING`} of the source that `make_source` takes; same errors."""
    fields = dataclasses.fields(_source_class(log, name))
    empty = dataclasses.MISSING
    return {f.name: f.default if f.default_factory is empty else f.default_factory() for f in fields}


def _source_class(log: Log, name: str) -> type[BatchSource]:
    if not name:
        return SOURCES[type(log)]
    if name not in NAMED:
        raise ValueError(f'data.source = {name!r} is unknown: use one of {", ".join(NAMED)}, or leave it out')
    source, logs = NAMED[name]
    if not isinstance(log, logs):
        raise ValueError(
            f'data.source = {name!r} reads a {" or a ".join(kind.KIND for kind in logs)}, and {log.folder} '
            f'is a {log.KIND}: compile such a log, or leave data.source out'
        )
    return source
