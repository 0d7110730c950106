"""Named arrays in one `.npz` file without pickles, written complete or not at all, with a checked kind and version."""

import os
import uuid
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.files import needs_room

FORMAT, VERSION = 'format', 'version'  # the names of the two arrays that say what a file is
Described = Mapping[str, tuple[str, int]]  # {array: (kinds of its dtype, as in numpy, number of its axes)}


def save_arrays(path: str | Path, kind: str, version: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays to a file of a `kind`, such as 'jaxrec.onerec.codebooks', and a version; creates the folder.

    Raises:
      ValueError: an array of objects, which only a pickle could hold, or a full disk.
    """
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise ValueError(f'array {name!r} holds objects: turn it into numbers or `array.astype(str)`')
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{uuid.uuid4().hex}.partial.npz')
    try:
        named: dict[str, Any] = {FORMAT: np.array(kind), VERSION: np.array(version), **arrays}
        with needs_room(path), partial.open('wb') as file:
            np.savez(file, **named)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_arrays(path: str | Path, kind: str, version: int, described: Described, remedy: str) -> dict[str, np.ndarray]:
    """Reads {name: array} of what `save_arrays` wrote.

    Args:
      path, kind, version: of the file.
      described: the arrays it must hold, their kinds and numbers of axes.
      remedy: what to do about an unusable file, for the message.

    Raises:
      ValueError: a file that is missing, damaged, of another kind or version, or lacks an array as described.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in (FORMAT, VERSION, *described) if name in file}
    except FileNotFoundError:
        raise ValueError(f'{path} is missing: {remedy}') from None
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f'{path} is no readable .npz file ({error}): {remedy}') from None
    is_kind, is_version = (str(found.get(name)) for name in (FORMAT, VERSION))
    if (is_kind, is_version) != (kind, str(version)):
        raise ValueError(
            f'{path} is {is_kind} version {is_version}, this library reads {kind} version {version}: {remedy}'
        )
    for name, (kinds, axes) in described.items():
        array = found.get(name)
        if array is None or array.dtype.kind not in kinds or array.ndim != axes:
            what = 'nothing' if array is None else f'{array.dtype} {list(array.shape)}'
            raise ValueError(f'{path} holds {what} as {name!r}, not {axes} axes of kind {kinds!r}: {remedy}')
    return {name: found[name] for name in described}
