"""The parts of a checkpoint: which fields of a state are where, what describes them, and what does not fit. V rows."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from jaxrec.parallel.processes import gather
from jaxrec.training.checkpoints.row_files import RowFiles
from jaxrec.training.state import TrainState

MODEL, OPTIMIZER = ('params', 'model_state', 'tables'), ('step', 'opt_state', 'row_opt_state', 'rng')
# What is as long as a table is no array of Orbax's, which would hold two copies more of it.
ROWS = {'tables': 'tables', 'row_opt_state': 'slots'}  # field: its part of a checkpoint


def parts_of(state: TrainState, fields: tuple[str, ...], table_rows: Mapping[str, int]) -> dict[str, Any]:
    """Some fields of a state, as Orbax is to write or to read them.

    Args:
      state: arrays, or shapes with shardings to be read into.
      fields: `MODEL` or `OPTIMIZER`.
      table_rows: {table: V}.

    Returns:
      {part: tree or `RowFiles`}; without tables there is no part of rows.
    """
    name = 'model' if fields == MODEL else 'optimizer'
    parts: dict[str, Any] = {name: fields_of(state, tuple(field for field in fields if field not in ROWS))}
    rows = {ROWS[field]: RowFiles(getattr(state, field), table_rows) for field in fields if field in ROWS}
    return parts | {part: files for part, files in rows.items() if files.tree}


def require_written(where: Path, parts: Mapping[str, Any]) -> None:
    """Removes a committed checkpoint some of whose rows a process could not write.

    Raises:
      OSError: in every process, what the first such process met.
    """
    own = next((files.failed for files in parts.values() if isinstance(files, RowFiles) and files.failed), '')
    if failed := next((each for each in gather(own) if each), ''):
        if jax.process_index() == 0:
            shutil.rmtree(where, ignore_errors=True)
        raise OSError(failed)


def rows_of(parts: Mapping[str, Any]) -> dict[str, Any]:
    """{field: what `RowFiles` have read}."""
    return {field: parts[part].tree for field, part in ROWS.items() if part in parts}


def fields_of(state: TrainState, names: tuple[str, ...]) -> dict[str, Any]:
    """{field: value} of a state."""
    return {name: getattr(state, name) for name in names}


def shapes_of(state: TrainState, table_rows: Mapping[str, int]) -> dict[str, list]:
    """Describes a state (arrays or shapes) by {path: [shape, dtype]}, with V for the rows of tables and slots."""
    described = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(fields_of(state, MODEL + OPTIMIZER)):
        name = jax.tree_util.keystr(path, simple=True, separator='/')
        shape = list(leaf.shape)
        group, _, rest = name.partition('/')
        if group in ('tables', 'row_opt_state'):
            shape[0] = table_rows[rest.split('/')[0]]
        described[name] = [shape, str(leaf.dtype)]
    return described


def refuse_older_version(where: Path, wanted: Mapping[str, Any], described: Mapping[str, Any], moves: bool) -> None:
    """Refuses a checkpoint that lacks a wanted part, or the loader's position where it `moves`, by a ValueError."""
    missing = [part for part in wanted if not (where / part).is_dir()]
    if moves and 'data' not in described:
        missing.append('position of the loader')
    if missing:
        raise ValueError(
            f'checkpoint {where} has no {missing[0]}: it is of a version that kept it elsewhere, or was '
            'saved without it; train again, or read it with what wrote it'
        )


def refuse_another_model(saved: dict, wanted: dict, fields: tuple[str, ...], where: Path) -> None:
    """Compares fields of `shapes_of` a checkpoint with those of a config.

    Raises:
      ValueError: naming the first leaf that differs.
    """
    saved, wanted = ({k: v for k, v in tree.items() if k.split('/')[0] in fields} for tree in (saved, wanted))
    in_order = lambda name: (fields.index(name.split('/')[0]), name)  # the model before its optimizer
    for name in sorted(saved.keys() | wanted.keys(), key=in_order):
        if saved.get(name) != wanted.get(name):
            have, need = saved.get(name, 'nothing'), wanted.get(name, 'nothing')
            raise ValueError(
                f'checkpoint {where} is of another model: it has {have} where this config wants {need} at {name!r}. '
                'Use the config it was trained with (config.json in its workdir), or another workdir'
            )
