"""Extending a log by the next day's files: what the two must have in common."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxrec.data.images.scene import Vocabulary as SceneNames
from jaxrec.data.ingest.fields import LogMapping
from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.log import Log
from jaxrec.data.logs.vocabulary import FIRST


def check_extends(mapping: LogMapping, columns: Mapping[str, Any], base: Log) -> None:
    """Refuses a mapping that does not describe the columns of the log that is extended; a ValueError names the column.

    `columns` are the mapping's features as the manifest describes them.
    """
    held = base.manifest['columns']
    remedy = 'give the mapping of that log, or ingest both from the start'
    for name in sorted(held.keys() | columns.keys()):
        if held.get(name) != columns.get(name):
            raise ValueError(
                f'{base.folder} has {_told(held.get(name))} for column {name!r}, the mapping has '
                f'{_told(columns.get(name))}: {remedy}'
            )
    stores = {'events': mapping.events}
    if isinstance(base, BehaviourLog):
        stores |= {'items': mapping.items.fields, 'users': mapping.users.fields}
    for store, fields in stores.items():
        names, given = set(base.stores[store].names) - {'generation'}, {field.name for field in fields}
        if names != given:
            raise ValueError(
                f'{base.stores[store].folder} has the columns {", ".join(sorted(names)) or "none"}, the '
                f'mapping has {", ".join(sorted(given)) or "none"}: {remedy}'
            )


def check_grown(old: Log, new: Log, features: Mapping[str, Any]) -> None:
    """Refuses a log whose ids do not mean what they meant in the log that a model was trained on.

    Args:
      old: the log of the model.
      new: the log it is to be trained on.
      features: {side: columns} that the model reads.

    Raises:
      ValueError: naming the vocabulary and the first id that differs, or of scenes the first list of names.
    """
    _check_names(old, new)
    columns = sorted({str(name) for side in features for name in features[side]})
    for name in columns:
        if name not in old.schema or name not in new.schema:
            without = old if name not in old.schema else new
            raise ValueError(
                f'{without.folder} has no column {name!r}, which the model reads: give a log that extends '
                f'{old.folder} (ingest with --extend={old.folder})'
            )
        column = old.schema[name]
        if column.vocabulary is not None:
            _check_prefix(old, new, column.vocabulary, str(new.schema[name].vocabulary))


def _check_names(old: Log, new: Log) -> None:
    """Refuses scenes whose numbers stand for other names."""
    before, after = (log.task_schema().get('vocabulary') for log in (old, new))
    scenes = [isinstance(names, SceneNames) for names in (before, after)]
    if not any(scenes):  # columns have vocabularies of their own
        return
    if not all(scenes):
        raise ValueError(f'{old.folder} is a {old.KIND} and {new.folder} a {new.KIND}: train anew without a warm start')
    remedy = (
        'give images with the same lists of names, or instead of a warm start hand the network over by name, '
        'with jaxrec sms export and model.weights'
    )
    for kind in ('entities', 'relations', 'parts', 'person'):
        one, other = getattr(before, kind), getattr(after, kind)
        if one != other:
            raise ValueError(f'{new.folder} has the {kind} {other}, {old.folder} has {one}: {remedy}')


def _check_prefix(old: Log, new: Log, before: str, after: str) -> None:
    one, other = old.vocabulary(before), new.vocabulary(after)
    remedy = f'a warm start needs a log made with --extend={old.folder}, or train anew without it'
    if one.buckets is not None or other.buckets is not None:
        if (one.buckets, one.seed) != (other.buckets, other.seed):
            raise ValueError(
                f'vocabulary {before!r} is hashed into {one.buckets} buckets in {old.folder} and into '
                f'{other.buckets} in {new.folder}, or with another seed: {remedy}'
            )
        return
    common = min(len(one.keys), len(other.keys))
    same = np.zeros(0, bool)
    if one.keys.dtype.kind == other.keys.dtype.kind:
        same = one.keys[:common] == other.keys[:common]
    if len(one.keys) > len(other.keys) or not len(same) == common or not same.all():
        place = FIRST + (int(np.argmin(same)) if len(same) and not same.all() else len(same))
        raise ValueError(
            f'vocabulary {before!r} of {new.folder} does not extend that of {old.folder}, they differ at id '
            f'{place}: {remedy}'
        )


def _told(spec: Mapping[str, Any] | None) -> str:
    return 'nothing' if spec is None else ', '.join(f'{k} {v}' for k, v in spec.items() if v is not None)


def present_ids(log: Log, key: str) -> np.ndarray:
    """Returns the ids from 2, ascending int64 [M], that occur in the column 'user' or 'item' of a log's events."""
    if key == 'user' and isinstance(log, BehaviourLog):
        ids = np.flatnonzero(np.diff(log.user_offsets))
    else:
        ids = np.flatnonzero(np.bincount(log.events[key], minlength=log.schema[key].rows))
    return ids[ids >= FIRST]
