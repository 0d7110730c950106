"""Writes files in the formats of PyTorch without it, from descriptions of the formats."""

import io
import json
import pickle
import struct
import sys
import types
import zipfile
from unittest import mock

import numpy as np


class Stored:
    """Stands for a storage while it is pickled."""

    def __init__(self, key, values):
        self.key, self.values = key, values


class Tensor:
    """Stands for a tensor, row-major unless strides say otherwise."""

    def __init__(self, storage, shape, strides=None, offset=0):
        self.storage, self.shape, self.offset = storage, tuple(shape), offset
        size = np.cumprod([1, *self.shape[:0:-1]])[::-1] if shape else ()
        self.strides = tuple(int(s) for s in (size if strides is None else strides))

    def __reduce__(self):
        rebuild = sys.modules['torch._utils']._rebuild_tensor_v2
        return rebuild, (self.storage, self.offset, self.shape, self.strides, False, {})


def _torch():
    """Modules that own what is pickled by name alone."""
    torch, utils = types.ModuleType('torch'), types.ModuleType('torch._utils')
    for name in ('FloatStorage', 'LongStorage'):
        setattr(torch, name, type(name, (), {'__module__': 'torch', '__qualname__': name}))

    def _rebuild_tensor_v2(*_):
        raise AssertionError

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = 'torch._utils', '_rebuild_tensor_v2'
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    return {'torch': torch, 'torch._utils': utils}


def _pickle(value, view):
    """Pickle of a tree of Tensors, and its storages in the order in which they are met."""
    out, met = io.BytesIO(), {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, x):
            if not isinstance(x, Stored):
                return None
            met[x.key] = x
            kind = 'FloatStorage' if x.values.dtype == np.float32 else 'LongStorage'
            more = (None,) if view else ()
            return ('storage', getattr(sys.modules['torch'], kind), x.key, 'cpu', len(x.values), *more)

    with mock.patch.dict(sys.modules, _torch()):
        Pickler(out, protocol=2).dump(value)
    return out.getvalue(), met


def tensors(arrays):
    """{name: Tensor} of {name: array}."""
    return {
        name: Tensor(Stored(str(i), np.ascontiguousarray(x).reshape(-1)), x.shape)
        for i, (name, x) in enumerate(arrays.items())
    }


def write_zip(path, value):
    content, storages = _pickle(value, view=False)
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('weights/data.pkl', content)
        archive.writestr('weights/byteorder', 'little')
        for key, stored in storages.items():
            archive.writestr(f'weights/data/{key}', stored.values.tobytes())


def write_old(path, value):
    content, storages = _pickle(value, view=True)
    head = [0x1950A86A20F9469CFC6C, 1001, {'little_endian': True}]
    with path.open('wb') as file:
        for x in head:
            pickle.dump(x, file, protocol=2)
        file.write(content)
        pickle.dump(list(storages), file, protocol=2)
        for stored in storages.values():
            file.write(struct.pack('<q', len(stored.values)) + stored.values.tobytes())


def write_safetensors(path, arrays):
    names = {np.dtype(np.float32): 'F32', np.dtype(np.int64): 'I64', np.dtype(np.float16): 'F16'}
    header, body = {'__metadata__': {'format': 'pt'}}, b''
    for name, x in arrays.items():
        start = len(body)
        body += np.ascontiguousarray(x).tobytes()
        header[name] = {'dtype': names[x.dtype], 'shape': x.shape, 'data_offsets': [start, len(body)]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack('<Q', len(text)) + text + body)
