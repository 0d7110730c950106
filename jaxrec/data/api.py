"""From a config to a log and its batches: `config.data.log` names the function that compiles the log."""

import dataclasses
import fcntl
import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jaxrec.data.batch_source import BatchSource
from jaxrec.data.behaviour_log import BehaviourLog
from jaxrec.data.click_log import ClickLog
from jaxrec.data.click_source import ClickSource
from jaxrec.data.images.log import SceneLog
from jaxrec.data.images.source import SceneSource
from jaxrec.data.log import REMEDY, Log
from jaxrec.data.pool_log import PoolLog
from jaxrec.data.pool_source import ImpressionSource
from jaxrec.data.sessions.log import SessionLog
from jaxrec.data.sessions.source import SessionSource
from jaxrec.data.source import RequestSource
from jaxrec.importing import resolve

# Which source cuts batches from which kind of log.
SOURCES: dict[type[Log], type[BatchSource]] = {
    BehaviourLog: RequestSource,
    ClickLog: ClickSource,
    PoolLog: ImpressionSource,
    SceneLog: SceneSource,
    SessionLog: SessionSource,
}


def open_log(config: Mapping[str, Any], folder: str | Path) -> Log:
    """Compiles the log that a config describes, or opens it if it is compiled already.

    Args:
      config: `log`, the import path of a function `(folder=..., **arguments) -> Log`, and `arguments`,
        its keywords.
      folder: where the log lies or will lie.

    Raises:
      ValueError: when `log` is missing or does not name such a function, or the function refuses its input.
    """
    if 'log' not in config:
        raise ValueError(
            f"config.data has no 'log' but {', '.join(config.keys())}: "
            "name a function as 'package.module:name'"
        )
    given = config['arguments'] if 'arguments' in config else {}
    arguments = {name: given[name] for name in given.keys()}
    compile_function = resolve(config['log'])
    try:
        inspect.signature(compile_function).bind(folder=folder, **arguments)
    except TypeError as error:
        takes = ', '.join(inspect.signature(compile_function).parameters)
        raise ValueError(
            f'config.data.arguments do not fit {config["log"]} ({error}): it takes {takes}'
        ) from None
    with _alone(Path(folder)):
        log = compile_function(folder=folder, **arguments)
    if type(log) not in SOURCES:
        raise ValueError(
            f'config.data.log = {config["log"]!r} returned {type(log).__name__}: '
            f'it must return a {" or a ".join(kind.__name__ for kind in SOURCES)}'
        )
    return log


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lets one process at a time compile a log; the others then find it compiled."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f'.{folder.name}.lock').open('w') as file:
        with suppress(OSError):  # some network file systems have no locks; a log is moved in place whole
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def stored(folder: str | Path, path: str) -> Log:
    """Opens a log that `ingest` or a compiler has written; `config.data.log` for a log of one's own.

    Args:
      folder: where a compiled log would be kept; nothing is written there.
      path: of the log.

    Raises:
      ValueError: when there is no log.
    """
    del folder
    manifest = Path(path) / 'manifest.json'
    if not path or not manifest.is_file():
        raise ValueError(
            f'data.arguments.path = {path!r} is no log: give a folder that `python -m experiments.ingest` '
            'has written, as in --config=configs/can/own.py:CAN-DNN,logs/mine'
        )
    try:
        found = json.loads(manifest.read_text()).get('format')
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise ValueError(f'{manifest} is damaged ({error!r}): {REMEDY}') from None
    for kind in SOURCES:
        if kind.FORMAT == found:
            return kind(path)
    raise ValueError(f'{manifest} is of format {found!r}: {REMEDY}')


def make_source(log: Log, **arguments: Any) -> BatchSource:
    """The source that cuts batches from this kind of log.

    Args:
      log: the log.
      **arguments: of the source.

    Raises:
      ValueError: for an argument that this kind of source does not take, or that does not fit the log.
    """
    for name in arguments:
        if name not in source_arguments(log):
            raise ValueError(f'{log.folder} is a {log.KIND}, whose batches have no {name}: leave it out')
    return SOURCES[type(log)](log.folder, **arguments)


def source_arguments(log: Log) -> set[str]:
    """What the source of this kind of log takes."""
    return {field.name for field in dataclasses.fields(SOURCES[type(log)])}
