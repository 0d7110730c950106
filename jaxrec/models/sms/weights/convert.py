"""Published weights of trunks, from PyTorch's files into our parameters.

Of DLA-34: timm's names, and those of CenterNet and of the authors, where a trunk is under 'base.'; of ResNet-18 and
-50: torchvision's, which timm's ResNets share. Heads, classifiers and counters of batches are skipped and named in the
report. CenterNet's images are BGR: where a file has its heads ('hm.'), the first kernel is reversed.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.models.sms.weights.torch_files import read_tensors

Path_ = tuple[str, ...]
NORM = {'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}
# Not of the trunk: classifiers, CenterNet's way up and heads, and projections that DLA's own code makes for
# deep trees and never uses.
CLASSIFIER = re.compile(r'fc\.|.*\.num_batches_tracked$|(level\d\.)(tree\d\.)*project\.')


class Report(NamedTuple):
    """Names of the tensors that were loaded, and the file's names of those `left` because they are of no trunk."""

    loaded: tuple[str, ...]
    left: tuple[str, ...]


def torch_name(path: Path_) -> str:
    """PyTorch's name, such as 'level3.tree1.root.conv.weight', of an array at a path inside a trunk."""
    *modules, kind, leaf = path
    end = 'weight' if kind == 'conv' else NORM[leaf]
    block, last = modules[:-1], modules[-1]
    place = '.'.join(re.sub(r'^layer(\d)_(\d+)$', r'layer\1.\2', name) for name in block)
    dot = f'{place}.' if place else ''
    if found := re.match(r'conv(\d)$', last):
        return f'{dot}{last if kind == "conv" else "bn" + found[1]}.{end}'
    if last == 'root':
        return f'{dot}root.{"conv" if kind == "conv" else "bn"}.{end}'
    if last == 'stem':
        return f'{"conv1" if kind == "conv" else "bn1"}.{end}'
    if found := re.match(r'level(\d)_(\d)$', last):  # convolution, norm and ReLU, one after another
        return f'level{found[1]}.{3 * int(found[2]) + (kind != "conv")}.{end}'
    return f'{dot}{last}.{0 if kind == "conv" else 1}.{end}'  # base_layer, project, downsample


def load_trunk(params: Any, model_state: Any, path: str | Path) -> tuple[Any, Any, Report]:
    """Puts published weights, from a file of `torch_files.read_tensors`, into a network's trunk.

    `params` and `model_state` are those of `SmsTask` or `TwoStageTask`, with batch norm.

    Returns:
      (params, model_state, report), new trees; all but the trunk is unchanged.

    Raises:
      ValueError: a network without batch statistics, or a tensor of the trunk that the file lacks, has in another
        shape, or has in addition to those that the trunk knows.
    """
    if 'batch_stats' not in model_state:
        raise ValueError("published weights are of batch norm and this network has none: set model.norm='batch'")
    trunk = {'params': _trunk(params), 'batch_stats': _trunk(model_state['batch_stats'])}
    filled, report = convert(trunk, read_tensors(path), str(path))
    state = {**model_state, 'batch_stats': _replaced(model_state['batch_stats'], filled['batch_stats'])}
    return _replaced(params, filled['params']), state, report


def convert(trunk: Any, tensors: Mapping[str, np.ndarray], where: str = 'the file') -> tuple[Any, Report]:
    """Fills a trunk's variables from {PyTorch's name: array}; `where` names the file in messages.

    Args:
      trunk: {'params': tree, 'batch_stats': tree}; its values do not matter.

    Returns:
      The same tree of float32 numpy arrays, and the report.

    Raises:
      ValueError: as `load_trunk`.
    """
    names, left = _of_trunk(tensors)
    loaded: list[str] = []
    blue_first = any(_bare(name).startswith('hm.') for name in tensors)  # CenterNet's heads

    def fill(path: Any, old: Any) -> np.ndarray:
        name = torch_name(tuple(step.key for step in path[1:]))
        if name not in names:
            raise ValueError(f'{where} lacks {name!r}; it has {sorted(names)[:4]} and so on: it is another trunk')
        found = _sound(tensors[names[name]], f'{where}: {name!r}', variance=name.endswith('running_var'))
        if name == 'base_layer.0.weight' and blue_first:
            found = found[:, ::-1]
        found = found.transpose(2, 3, 1, 0) if found.ndim == 4 else found
        if found.shape != old.shape:
            raise ValueError(
                f'{where}: {name!r} has the shape {found.shape} as we order it, the trunk {old.shape}: '
                'choose the trunk that these weights are of, and model.multiplier 1'
            )
        loaded.append(name)
        return found

    filled = jax.tree_util.tree_map_with_path(fill, trunk)
    ignored = {name for name in names if CLASSIFIER.match(name)} - set(loaded)
    if extra := sorted(set(names) - set(loaded) - ignored):
        raise ValueError(
            f'{where} has {extra[0]!r} and {len(extra) - 1} more that this trunk does not: choose the '
            'trunk that these weights are of'
        )
    return filled, Report(tuple(loaded), (*sorted(left), *sorted(names[name] for name in ignored)))


def _sound(tensor: np.ndarray, where: str, variance: bool) -> np.ndarray:
    """A tensor as float32; one that no training has written is refused."""
    if not jnp.issubdtype(tensor.dtype, jnp.floating):
        raise ValueError(f'{where} holds {tensor.dtype}, which no layer computes with: save it as floats')
    found = tensor.astype(np.float32)
    if not np.isfinite(found).all() or (variance and found.min(initial=0) < 0):
        raise ValueError(f'{where} holds a NaN, an infinity or a negative variance: fetch the file again')
    return found


def _of_trunk(tensors: Mapping[str, np.ndarray]) -> tuple[dict[str, str], list[str]]:
    """{a trunk's name: the file's name}, and names of other things."""
    bare: dict[str, str] = {}
    for name in tensors:
        if (before := bare.setdefault(_bare(name), name)) != name:
            raise ValueError(f'{before!r} and {name!r} name one tensor: keep one of them')
    if not any(name.startswith('base.') for name in bare):
        return bare, []
    inside = {name.removeprefix('base.'): own for name, own in bare.items() if name.startswith('base.')}
    return inside, [own for name, own in bare.items() if not name.startswith('base.')]


def _bare(name: str) -> str:
    """A file's name without what training on several devices puts before it."""
    return name.removeprefix('module.')


def _holder(tree: Any) -> Path_:
    """Where the backbone lies: at the top, or in the first of two stages."""
    return ('backbone',) if 'backbone' in tree else ('first', 'backbone')


def _trunk(tree: Any) -> Any:
    for name in (*_holder(tree), 'trunk'):
        tree = tree[name]
    return tree


def _replaced(tree: Any, trunk: Any) -> Any:
    """The tree with another trunk."""
    path = (*_holder(tree), 'trunk')

    def put(tree: Any, path: Path_) -> Any:
        return trunk if not path else {**tree, path[0]: put(tree[path[0]], path[1:])}

    return put(tree, path)
