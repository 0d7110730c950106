"""The folder of a behaviour index: what its manifest says, and who may write to it."""

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxrec.serving.journal import write_whole

FORMAT, VERSION = 'jaxrec.behaviour_index', 1
MANIFEST, LOCK = 'manifest.json', '.lock'
KEYS = {'log', 'label', 'category', 'columns', 'generation', 'counts'}
REMEDY = 'delete the folder and build the index again'


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads and checks the manifest of an index.

    Raises:
      ValueError: when it is missing, damaged, or of another format or version.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        found = manifest['format'], manifest['version']
        missing = KEYS - manifest.keys()
    except FileNotFoundError:
        raise ValueError(f'{path} is missing, {folder} is no index: build one with `build_index`') from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{path} is damaged ({error!r}): {REMEDY}') from None
    if found != (FORMAT, VERSION):
        raise ValueError(
            f'{path} is {found[0]} version {found[1]}, this library reads {FORMAT} version {VERSION}: {REMEDY}'
        )
    if missing:
        raise ValueError(f'{path} lacks {", ".join(sorted(missing))}: {REMEDY}')
    return manifest


def write_manifest(folder: Path, described: Mapping[str, Any]) -> None:
    """Writes the manifest, whole or not at all; what it names must be on the disk by then."""
    manifest = {'format': FORMAT, 'version': VERSION, **described}
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=1).encode())


def base_folder(generation: int) -> str:
    """The name of the folder that holds a generation's base."""
    return f'base-{generation:06d}'


def hold(folder: Path) -> Any:
    """Keeps other processes from writing until the returned file is closed or this process ends.

    Raises:
      ValueError: another process holds it.
    """
    file = (folder / LOCK).open('a+')
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ValueError(
            f'{folder} is being written to by another process: stop it, or open the index for reading'
        ) from None
    return file
