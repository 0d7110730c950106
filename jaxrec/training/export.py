"""Models for serving: a file with the compiled scorer and its weights, and no Python code of the model.

    export_scorer('scorer.jaxexport', setup, state, batch)
    scorer = load_scorer('scorer.jaxexport')          # needs JAX and this module alone
    scores = scorer({'candidate/item': ids, ...})['probability']

The file is a zip of `manifest.json` (inputs, outputs and weights: names, shapes, dtypes), `program.bin` (StableHLO
serialised by `jax.export`) and `weights/*.npy`. Weights are arguments of the program by default: tables may be larger
than the constants of a program, and the next checkpoint can use it.

B batch, C candidates, L history, V rows, D width.
"""

import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxrec import embeddings as emb
from jaxrec.files import needs_room
from jaxrec.training.state import Setup, TrainState

FORMAT, VERSION = 'jaxrec.scorer', 1
BAKED_BYTES = 1 << 30  # more does not fit the message that a program is stored as
GIVEN = ('label', 'valid')  # read for their shape alone, so the program makes its own
_REMEDY = 'export it again with `jaxrec export`'


def export_scorer(
    path: str | Path,
    setup: Setup,
    state: TrainState,
    batch: Mapping[str, Any],
    *,
    bake: bool = False,
    batch_size: int | None = None,
    platforms: Sequence[str] | None = None,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes a scorer and returns its manifest.

    Args:
      path: of the file; one that is there is replaced.
      setup: task and mesh of one device.
      state: params, model_state and tables.
      batch: {key: [B, ...]}, only shapes and dtypes matter.
      bake: make the weights constants of the program instead of its arguments.
      batch_size: a fixed B; None lets every call choose.
      platforms: such as ('cpu', 'cuda', 'tpu'); None takes the one at hand.
      about: further keys of the manifest.

    Raises:
      ValueError: more than one device, weights too large to bake in, or a model that wants a fixed B.
    """
    if setup.mesh.size > 1:
        raise ValueError(
            f'a scorer runs on one device and this mesh has {setup.mesh.size}: restore the checkpoint on '
            'mesh (1, 1), any checkpoint allows it'
        )
    batch = {key: value for key, value in batch.items() if key not in GIVEN and not key.startswith('host/')}
    (rows,) = (batch_size,) if batch_size else jax.export.symbolic_shape('b')
    inputs = {k: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype) for k, x in sorted(batch.items())}
    weights, structure = _weights(setup, state)
    predict, arrays = _predictor(setup, structure), list(weights.values())
    if bake:
        size = sum(array.nbytes for array in arrays)
        if size > BAKED_BYTES:
            raise ValueError(
                f'the weights have {size >> 20} MiB, at most {BAKED_BYTES >> 20} can be baked into a program: '
                'leave them as arguments'
            )
        exported = _export(lambda batch: predict(arrays, batch), (inputs,), batch_size, platforms)
    else:
        shapes = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays]
        exported = _export(predict, (shapes, inputs), batch_size, platforms)
    manifest = _manifest(setup, exported, inputs, weights, baked=bake, batch_size=batch_size) | dict(about or {})
    _write(Path(path), manifest, bytes(exported.serialize()), [] if bake else arrays)
    return manifest


def _weights(setup: Setup, state: TrainState) -> tuple[dict[str, np.ndarray], Any]:
    """{path: array} of all that the model reads, and the structure to put them back into."""
    tables = {name: state.tables[name][: spec.rows] for name, spec in setup.task.tables.items()}
    tree = {'params': state.params, 'model_state': state.model_state, 'tables': tables}
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator='/')
    return {name(path): np.asarray(leaf) for path, leaf in leaves}, structure


def _predictor(setup: Setup, structure: Any) -> Any:
    task = setup.task

    def predict(weights: list[Any], batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        tree = jax.tree_util.tree_unflatten(structure, [jnp.asarray(array) for array in weights])
        first = next(value for key, value in batch.items() if key.startswith('candidate/'))
        given = {name: jnp.ones(first.shape[:2], jnp.float32) for name in GIVEN}
        batch = batch | given
        rows = emb.lookup(task.tables, tree['tables'], task.ids(batch))
        return task.predict(tree['params'], tree['model_state'], rows, batch)

    return predict


def _export(
    function: Any, arguments: tuple, batch_size: int | None, platforms: Sequence[str] | None
) -> jax.export.Exported:
    try:
        return jax.export.export(jax.jit(function), platforms=platforms)(*arguments)
    except Exception as error:  # symbolic shapes fail in many ways, and only the model knows which
        if batch_size:
            raise
        raise ValueError(
            f'the model cannot be traced for any number of rows ({str(error).splitlines()[0]}): fix it with '
            '--batch_size=256, and pad batches to it'
        ) from error


def _manifest(
    setup: Setup, exported: jax.export.Exported, inputs: Mapping[str, Any], weights: Mapping[str, Any], **how: Any
) -> dict[str, Any]:
    told = lambda x: {'shape': ['b' if not isinstance(n, int) else n for n in x.shape], 'dtype': str(x.dtype)}
    outputs = jax.tree_util.tree_unflatten(exported.out_tree, exported.out_avals)
    tables = setup.task.given_ids({**inputs, **dict.fromkeys(GIVEN)})
    return {
        'format': FORMAT,
        'version': VERSION,
        'inputs': {key: told(x) for key, x in inputs.items()},
        'outputs': {key: told(x) for key, x in outputs.items()},
        'weights': {key: told(x) for key, x in weights.items()},
        **how,
        'id_rows': {key: setup.task.tables[table].rows for table, ids in tables.items() for key in ids},
        'platforms': list(exported.platforms),
        'jax': jax.__version__,
    }


def _write(path: Path, manifest: dict[str, Any], program: bytes, weights: list[np.ndarray]) -> None:
    partial = path.with_name(f'.{path.name}.partial')
    try:
        with needs_room(path), zipfile.ZipFile(partial, 'w', zipfile.ZIP_STORED) as file:
            file.writestr('manifest.json', json.dumps(manifest, indent=1))
            file.writestr('program.bin', program)
            for number, array in enumerate(weights):
                with file.open(f'weights/{number:04d}.npy', 'w', force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


class Scorer:
    """A loaded scorer, with the `manifest` of its file."""

    def __init__(self, manifest: dict[str, Any], exported: jax.export.Exported, weights: list[np.ndarray]):
        """Puts the weights on the device; see `load_scorer`."""
        self.manifest = manifest
        self._weights = [] if manifest['baked'] else [jax.device_put(array) for array in weights]
        self._call = jax.jit(exported.call)

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Scores a batch.

        Args:
          batch: {key: [B, ...]} with all inputs of the manifest; other keys are not looked at.

        Returns:
          {output: float32 [B, C]}.

        Raises:
          ValueError: an input that is missing, of another shape or dtype, or an id out of range.
        """
        inputs = {key: self._checked(key, batch) for key in self.manifest['inputs']}
        if len({len(array) for array in inputs.values()}) > 1:
            raise ValueError(f'inputs have unequal lengths { {k: len(a) for k, a in inputs.items()} }')
        scores = self._call(inputs) if self.manifest['baked'] else self._call(self._weights, inputs)
        return {name: np.asarray(value) for name, value in scores.items()}

    def _checked(self, key: str, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        described = self.manifest['inputs'][key]
        if key not in batch:
            raise ValueError(f'the batch lacks input {key!r}; the scorer reads {", ".join(self.manifest["inputs"])}')
        array = np.asarray(batch[key])
        wanted = described['shape']
        fits = len(array.shape) == len(wanted) and all(
            want in ('b', have) for have, want in zip(array.shape, wanted, strict=False)
        )
        if not fits or str(array.dtype) != described['dtype']:
            raise ValueError(
                f'input {key!r} is {array.dtype} {list(array.shape)}, the scorer reads {described["dtype"]} '
                f'{wanted}: cast, pad or cut it (b is any number of rows)'
            )
        rows = self.manifest['id_rows'].get(key)
        if rows is not None and array.size and not (0 <= array.min() and array.max() < rows):
            bad = array[(array < 0) | (array >= rows)].flat[0]
            raise ValueError(f'input {key!r} holds id {bad}, outside [0, {rows}): map unknown values to 1')
        return array


def load_scorer(path: str | Path) -> Scorer:
    """Reads a scorer, a function of batches, from a file of `export_scorer`.

    Raises:
      ValueError: the file is missing, damaged or of another format.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as file:
            manifest = json.loads(file.read('manifest.json'))
            if (manifest.get('format'), manifest.get('version')) != (FORMAT, VERSION):
                raise ValueError(
                    f'{path} is {manifest.get("format")} version {manifest.get("version")}, this library '
                    f'reads {FORMAT} version {VERSION}: {_REMEDY}'
                )
            program = jax.export.deserialize(bytearray(file.read('program.bin')))
            names = sorted(name for name in file.namelist() if name.startswith('weights/'))
            weights = [np.load(io.BytesIO(file.read(name)), allow_pickle=False) for name in names]
    except FileNotFoundError:
        raise ValueError(f'{path} does not exist: write it with `jaxrec export`') from None
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise ValueError(f'{path} is no scorer or a damaged one ({error}): {_REMEDY}') from None
    return Scorer(manifest, program, weights)
