"""Reads weights that PyTorch wrote, without PyTorch and without running what a pickle names.

Three formats: safetensors (a JSON header and bytes), the ZIP archives of `torch.save` since version 1.6, and the
pickles in a row before that. A pickle may name only dictionaries, kinds of storage and what builds a tensor.
"""

import collections
import contextlib
import errno
import io
import json
import math
import mmap
import operator
import pickle
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np

SAFE_DTYPES: dict[str, Any] = {
    'F64': np.float64, 'F32': np.float32, 'F16': np.float16, 'BF16': jnp.bfloat16, 'I64': np.int64,
    'I32': np.int32, 'I16': np.int16, 'I8': np.int8, 'U8': np.uint8, 'BOOL': np.bool_,
}  # fmt: skip
STORAGES: dict[str, Any] = {
    'DoubleStorage': np.float64, 'FloatStorage': np.float32, 'HalfStorage': np.float16,
    'BFloat16Storage': jnp.bfloat16, 'LongStorage': np.int64, 'IntStorage': np.int32,
    'ShortStorage': np.int16, 'CharStorage': np.int8, 'ByteStorage': np.uint8, 'BoolStorage': np.bool_,
}  # fmt: skip
# What damaged bytes become: in a header of JSON, in a pickle, and in an archive, where they may ask for a
# password or a later version of the format, both a RuntimeError. All of it is raised again as `Refused`.
NO_HEADER = (struct.error, ValueError, TypeError, AttributeError, KeyError)
NO_PICKLE = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, KeyError, IndexError,
    OverflowError, struct.error,
)  # fmt: skip
NO_MEMBER = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # torch.save stores, others may pack its file again
MOST = 2**40  # numbers of a tensor, beyond which arithmetic on them overflows
OLD_MAGIC = 0x1950A86A20F9469CFC6C  # what the oldest of the three formats begins with


class Refused(ValueError):
    """A file that cannot be taken for weights, with what is wrong with it."""


class _Storage(NamedTuple):
    """A run of numbers, by its name in the file."""

    key: str
    dtype: Any


class _Tensor(NamedTuple):
    """A view of a storage; strides and offset are in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Reads {name: array} from a `.safetensors` file, or from what `torch.save` wrote (its 'state_dict' or 'model').

    Raises:
      ValueError: another format, a file cut short or damaged, or a pickle that names more than tensors.
    """
    path = Path(path)
    with path.open('rb') as file:
        start = file.read(2)
        file.seek(0)
        if path.suffix == '.safetensors':
            return _read_safetensors(path, file)
        if start == b'PK':
            with _unpacking(path):
                archive = zipfile.ZipFile(file)
            return _read_archive(path, archive)
        if start[:1] == b'\x80':
            # A file makes room for as many bytes as it is asked for, a map of it for those that there are.
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
                return _read_old(path, whole)
    raise Refused(f'{path} is neither a .safetensors file nor one that torch.save wrote: it begins {start!r}')


class _Entry(NamedTuple):
    """What a safetensors header says of a tensor; places are in bytes behind the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @classmethod
    def read(cls, entry: Any) -> '_Entry':
        start, stop = map(operator.index, entry['data_offsets'])
        shape = tuple(map(operator.index, entry['shape']))
        if min((0, *shape)) < 0:
            raise TypeError(f'a shape of {shape}')
        return cls(str(entry['dtype']), shape, start, stop)


def _read_safetensors(path: Path, file: BinaryIO) -> dict[str, np.ndarray]:
    content = file.read()
    try:
        (length,) = struct.unpack('<Q', content[:8])
        header = json.loads(content[8 : 8 + length])
        header.pop('__metadata__', None)
        entries = {name: _Entry.read(entry) for name, entry in header.items()}
    except NO_HEADER as error:
        raise Refused(f'{path} has no safetensors header: fetch it again') from error
    found = {}
    for name, entry in entries.items():
        if entry.dtype not in SAFE_DTYPES:
            raise Refused(f'{path}: {name} is of type {entry.dtype}; of {sorted(SAFE_DTYPES)} it may be')
        dtype, count = np.dtype(SAFE_DTYPES[entry.dtype]), math.prod(entry.shape)
        fits = 0 <= entry.start <= entry.stop <= len(content) - 8 - length
        if not fits or entry.stop - entry.start != count * dtype.itemsize:
            raise Refused(f'{path} is cut short at {name}: fetch it again')
        found[name] = np.frombuffer(content, dtype, count, 8 + length + entry.start).reshape(entry.shape)
    return found


@contextlib.contextmanager
def _unpacking(path: Path) -> Iterator[None]:
    """Says of a damaged archive which file it is."""
    try:
        yield
    except (*NO_MEMBER, OSError) as error:
        # A place before the file is not valid; other numbers are the disk's own.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise Refused(f'{path} is cut short or damaged: fetch it again') from error


def _read_archive(path: Path, archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    if wrong := [info.filename for info in archive.infolist() if info.compress_type not in PACKED]:
        raise Refused(f'{path}: {wrong[0]} is packed as torch.save packs nothing: fetch it again')
    names = archive.namelist()
    pickles = [name for name in names if name.endswith('data.pkl')]
    if len(pickles) != 1:
        raise Refused(f'{path} holds {len(pickles)} data.pkl, not one: it is no file of torch.save')
    folder = pickles[0].removesuffix('data.pkl')
    order = f'{folder}byteorder'
    with _unpacking(path):
        first = archive.read(pickles[0])
        little = order not in names or archive.read(order) == b'little'
    if not little:
        raise Refused(f'{path} was written on a big-endian machine: save it again on another')
    top = _Unpickler(io.BytesIO(first), path).load()

    def fetch(storage: _Storage) -> np.ndarray:
        name = f'{folder}data/{storage.key}'
        if name not in names:
            raise Refused(f'{path} lacks {name}: fetch it again')
        with _unpacking(path):
            content = archive.read(name)
        if len(content) % np.dtype(storage.dtype).itemsize:
            raise Refused(f'{path} is cut short at {name}: fetch it again')
        return np.frombuffer(content, storage.dtype)

    return _assemble(path, top, fetch)


def _read_old(path: Path, file: mmap.mmap) -> dict[str, np.ndarray]:
    """A magic number, a version, the machine's sizes, the object, the storages' keys, the storages."""
    load = lambda: _Unpickler(file, path).load()
    if load() != OLD_MAGIC:
        raise Refused(f'{path} is a pickle that torch.save did not write')
    load(), load()  # the version, and the sizes of C types
    reader = _Unpickler(file, path)
    top, keys = reader.load(), load()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Refused(f'{path} does not list its storages: fetch it again')
    runs: dict[str, bytes] = {}
    for key in keys:
        head = file.read(8)
        (count,) = struct.unpack('<q', head) if len(head) == 8 and key in reader.storages else (-1,)
        size = count * np.dtype(reader.storages[key].dtype).itemsize if count >= 0 else 0
        if count < 0 or size > len(file) - file.tell():
            raise Refused(f'{path} is cut short at storage {key}: fetch it again')
        runs[key] = file.read(size)

    def fetch(storage: _Storage) -> np.ndarray:
        if storage.key not in runs:
            raise Refused(f'{path} lacks storage {storage.key}: fetch it again')
        return np.frombuffer(runs[storage.key], storage.dtype)

    return _assemble(path, top, fetch)


def _assemble(path: Path, top: Any, fetch: Callable[[_Storage], np.ndarray]) -> dict[str, np.ndarray]:
    found, runs = {}, {}
    for name, tensor in _tensors(path, top).items():
        key = tensor.storage.key
        if key not in runs:
            runs[key] = fetch(tensor.storage)
        last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
        numbers = (tensor.offset, *tensor.shape, *tensor.strides, math.prod(tensor.shape))
        wild = min(numbers) < 0 or max(numbers) > MOST
        if wild or (0 not in tensor.shape and last >= len(runs[key])):
            raise Refused(f'{path}: {name} reaches past its {len(runs[key])} numbers: fetch it again')
        run = runs[key][tensor.offset :]
        strides = [s * run.itemsize for s in tensor.strides]
        found[name] = np.lib.stride_tricks.as_strided(run, tensor.shape, strides, writeable=False)
    return found


def _tensors(path: Path, top: Any) -> dict[str, _Tensor]:
    """The named tensors of an unpickled object."""
    for key in ('state_dict', 'model'):
        if isinstance(top, dict) and isinstance(top.get(key), dict):
            top = top[key]
    if not isinstance(top, dict):
        raise Refused(f'{path} holds a {type(top).__name__}, not a state_dict: save model.state_dict()')
    return {name: value for name, value in top.items() if isinstance(value, _Tensor)}


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> _Tensor:
    del rest  # whether gradients are wanted, and hooks
    if not isinstance(storage, _Storage) or len(shape) != len(strides):
        raise TypeError(f'no tensor: {storage!r} of shape {shape}, strides {strides}')
    whole = lambda numbers: tuple(map(operator.index, numbers))
    return _Tensor(storage, operator.index(offset), whole(shape), whole(strides))


class _Unpickler(pickle.Unpickler):
    """Knows tensors and dictionaries, and calls nothing else."""

    def __init__(self, file: Any, path: Path) -> None:
        super().__init__(file, encoding='latin1')
        self.file, self.path = file, path
        self.storages: dict[str, _Storage] = {}

    def load(self) -> Any:
        start = self.file.tell()
        try:
            for count, (code, argument, _) in enumerate(pickletools.genops(self.file)):
                # What is remembered has numbers in a row; a list as long as the largest one is made of them.
                if code.name in ('PUT', 'BINPUT', 'LONG_BINPUT') and int(argument or 0) > count:
                    raise ValueError(f'{code.name} {argument}')
            self.file.seek(start)
            return super().load()
        except Refused:
            raise
        except NO_PICKLE as error:
            raise Refused(f'{self.path} is cut short or no file of torch.save: fetch it again') from error

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ('collections', 'OrderedDict'):
            return collections.OrderedDict
        if (module, name) in (('torch._utils', '_rebuild_tensor_v2'), ('torch._utils', '_rebuild_tensor')):
            return _rebuild
        if (module, name) == ('torch._utils', '_rebuild_parameter'):
            return lambda tensor, *rest: tensor
        if module in ('torch', 'torch.cuda') and name in STORAGES:
            return STORAGES[name]
        raise Refused(
            f'{self.path} names {module}.{name}, which is no part of a tensor and is not run; save the '
            'state_dict by itself, or as safetensors'
        )

    def persistent_load(self, pid: Any) -> _Storage:
        known = isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == 'storage'
        if not known or not any(pid[1] is dtype for dtype in STORAGES.values()):
            raise Refused(f'{self.path} refers to {pid!r}, which is no storage: fetch it again')
        if len(pid) > 5 and pid[5] is not None:
            raise Refused(f'{self.path}: storage {pid[2]} is a view of another; save a copy of the state_dict')
        return self.storages.setdefault(str(pid[2]), _Storage(str(pid[2]), pid[1]))
