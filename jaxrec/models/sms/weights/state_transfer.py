"""A trained network in one file: for prediction elsewhere, and to initialise a network of other classes.

Arrays are stored under their paths, with the network's options, its names and the size of its images. Arrays with a
channel for each class, relation or part are transferred name by name: names that both vocabularies have keep what was
learned, the others stay as drawn, and so does a branch of parts that is new. The class of people is the same whatever
it is called.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrec.data.images.scene import Vocabulary
from jaxrec.data.logs.array_files import load_arrays, save_arrays
from jaxrec.models.sms.network.options import Network

KIND, VERSION = 'jaxrec.sms.network', 2
REMEDY = 'write it with jaxrec sms export'
NAMES = ('entities', 'relations', 'parts')
NOTHING, PEOPLE = '', '<people>'  # no vocabulary's own names
# Options that say which arrays there are and what their numbers mean; the others may be changed.
SAME = (
    'trunk', 'multiplier', 'norm', 'neck', 'neck_kernel', 'hidden', 'point_hidden', 'shared', 'masks',
    'mask_features', 'mask_width', 'mask_depth', 'mask_fine', 'mask_context', 'mask_stride', 'mask_channels',
    'mask_layers', 'divisor', 'parsing', 'part_context', 'relation_point', 'shift', 'parts_by_relation',
    'ends_by_relation', 'object_class', 'mean', 'std',
)  # fmt: skip
BRANCHES = (
    'backbone', 'entity_heat', 'entity_points', 'mask_branch', 'parsing', 'relation_heat', 'relation_points',
)  # fmt: skip
Axes = tuple[Sequence[str], ...]


class Description(NamedTuple):
    """What a file records of its network: sizes and switches, names, and (H, W) of its training images in pixels."""

    network: Network
    vocabulary: Vocabulary
    size: tuple[int, int]


def save_network(path: str | Path, described: Description, params: Any, model_state: Any) -> None:
    """Writes a network of `SmsTask` to an `.npz` file.

    Raises:
      ValueError: a network with other branches, whose arrays are not known by name.
    """
    arrays = _by_path(params, model_state)
    told = {name: np.array(_json(getattr(described, name))) for name in ('network', 'vocabulary')}
    save_arrays(path, KIND, VERSION, {**told, 'size': np.array(described.size), **arrays})


def describe(path: str | Path) -> Description:
    """Reads what a file of `save_network` records of its network.

    Raises:
      ValueError: a file that is missing or damaged, or whose network this library cannot build.
    """
    held = load_arrays(path, KIND, VERSION, {'network': ('U', 0), 'vocabulary': ('U', 0), 'size': ('i', 1)}, REMEDY)
    fields = lambda name: {key: _tuples(value) for key, value in json.loads(str(held[name])).items()}
    try:
        network, vocabulary = Network(**fields('network')), Vocabulary(**fields('vocabulary'))
        height, width = held['size'].tolist()
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f'{path} describes no network of this library ({error}): {REMEDY}') from None
    return Description(network, vocabulary, (height, width))


def load_network(
    path: str | Path, network: Network, vocabulary: Vocabulary, params: Any, model_state: Any
) -> tuple[Any, Any, dict[str, int]]:
    """Puts the parameters of a file into a new network of `network` and `vocabulary`, by name.

    Returns:
      (params, model_state, {kind of name: how many of the new network's names the file has}), new trees.

    Raises:
      ValueError: a file that is missing or damaged, or that holds a network of other sizes or meaning.
    """
    described = describe(path)
    if differs := differing(described.network, network):
        raise ValueError(f'{path} holds another network: {differs}; give this one the options of that')
    new = _by_path(params, model_state)
    names, ours = _names(described.vocabulary), _names(vocabulary)
    taken = {name: array for name, array in new.items() if names['parts'] or not _is_of_parts(name)}
    wanted = {name: ('f', array.ndim) for name, array in taken.items()}
    old = load_arrays(path, KIND, VERSION, wanted, 'the network in it has no such branch, train anew')
    for name, array in taken.items():
        inputs, outputs = ([named(name, found, network) for found in (names, ours)] for named in (_inputs, _outputs))
        new[name] = by_name(old[name], array, *outputs) if outputs[1] else old[name]
        if inputs[1]:
            new[name] = by_name(old[name].T, array.T, *inputs).T
    put = lambda kind, tree: jax.tree_util.tree_map_with_path(lambda way, _: new[_path(kind, way)], tree)
    known = {kind: len(set(names[kind]) & set(ours[kind])) for kind in NAMES}
    state = {kind: put(kind, tree) for kind, tree in model_state.items()}
    return put('params', params), state, known


def differing(before: Network, after: Network) -> str:
    """In which of `SAME` two networks differ, in words; '' where in none."""
    was, now = _meant(before), _meant(after)
    names = [name for name in SAME if was[name] != now[name]]
    return ', '.join(f'model.{name} is {was[name]} there and {now[name]} here' for name in names)


def require_alike(before: Network, after: Network) -> None:
    """Raises a ValueError naming the options with which parameters of `before` mean something else in `after`."""
    if differs := differing(before, after):
        raise ValueError(
            f'the run to start from is of another network: {differs}; give this one the options of that, or '
            'train anew without --warm_start'
        )


def by_name(old: np.ndarray, new: np.ndarray, before: Axes, after: Axes) -> np.ndarray:
    """Transfers channels name by name: a copy of `new` with what `old` has under the same names.

    Both are float [..., channels]; the channels are the product of axes, whose names are `before` and `after`.
    """
    lead = new.shape[:-1]
    source = old.reshape(*lead, *map(len, before))
    made = np.array(new).reshape(*lead, *map(len, after))
    take: list[Any] = []
    place: list[Any] = []
    for known, wanted in zip(before, after, strict=True):
        common = [name for name in wanted if name in known]
        take.append([known.index(name) for name in common])
        place.append([wanted.index(name) for name in common])
    made[(..., *np.ix_(*place))] = source[(..., *np.ix_(*take))]
    return made.reshape(new.shape)


def _outputs(path: str, names: Mapping[str, Sequence[str]], network: Network) -> Axes:
    """The names of an array's channels, () where they have none."""
    cells = [str(cell) for cell in range(network.fine**2)]
    parts = names['parts']
    by = lambda each, *axes: (names['relations'], *axes) if each else axes
    ends = network.ends_by_relation
    layers: dict[str, Axes] = {
        'entity_heat/out': (names['entities'],),
        'relation_heat/out': (names['relations'],),
        'parsing/out': (cells, [NOTHING, *parts]),
        'relation_points/parts': by(network.parts_by_relation, parts),
        'relation_points/category': by(ends, names['entities']),
        **{f'relation_points/{end}': by(ends, ['y', 'x']) for end in ('subject', 'target')},
    }
    return layers.get('/'.join(path.split('/')[1:3]), ())


def _inputs(path: str, names: Mapping[str, Sequence[str]], network: Network) -> Axes:
    """The names of what a kernel reads, () where they have none; no array has names on both sides."""
    branch, layer, *_ = path.split('/')[1:]
    reads = branch == 'relation_points' and layer.startswith('hidden') and path.endswith('/kernel')
    if not (reads and network.part_context and network.parsing):
        return ()
    parts = [NOTHING, *names['parts']] if names['parts'] else []
    square = [str(cell) for cell in range(9)]
    return square, [*(f'<{channel}>' for channel in range(network.neck)), *parts]


def _is_of_parts(path: str) -> bool:
    """Whether an array is of a branch that there is for parts alone."""
    branch, layer = path.split('/')[1:3]
    return branch == 'parsing' or layer in ('parts', 'hidden_parts')


def _names(vocabulary: Vocabulary) -> dict[str, list[str]]:
    """The lists of names, people under one name."""
    found = {kind: list(getattr(vocabulary, kind)) for kind in NAMES}
    found['entities'] = [PEOPLE if name == vocabulary.person else name for name in found['entities']]
    return found


def _meant(network: Network) -> dict[str, Any]:
    """Options with what stands for a default filled in, sequences as lists."""
    own = dataclasses.asdict(network) | {'point_hidden': network.point_width, 'shift': network.fraction}
    return json.loads(json.dumps(own))


def _json(described: Network | Vocabulary) -> str:
    return json.dumps(dataclasses.asdict(described), sort_keys=True)


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _by_path(params: Any, model_state: Any) -> dict[str, np.ndarray]:
    """{'params/branch/...': array}."""
    if 'backbone' not in params or set(params) - set(BRANCHES):
        raise ValueError(
            f'a network of {", ".join(params) or "no parameters"} is not handed over, only one of the '
            f'branches {", ".join(BRANCHES)}: take the row SMS, or leave model.weights out'
        )
    trees = {'params': params, **model_state}
    return {
        _path(kind, way): np.asarray(leaf)
        for kind, tree in trees.items()
        for way, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _path(kind: str, way: Any) -> str:
    return '/'.join([kind, *(step.key for step in way)])
