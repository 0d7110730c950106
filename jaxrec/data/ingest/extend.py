"""Extending a log by the next day's files: what the two must have in common."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxrec.data.behaviour_log import BehaviourLog
from jaxrec.data.ingest.fields import LogMapping
from jaxrec.data.log import Log
from jaxrec.data.vocabulary import FIRST


def check_extends(mapping: LogMapping, columns: Mapping[str, Any], base: Log) -> None:
    """Refuses a mapping that does not describe the columns of the log that is extended.

    Args:
      mapping: of the new files.
      columns: its features as the manifest describes them.
      base: the earlier log.

    Raises:
      ValueError: naming the column.
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


def _told(spec: Mapping[str, Any] | None) -> str:
    return 'nothing' if spec is None else ', '.join(f'{k} {v}' for k, v in spec.items() if v is not None)


def present_ids(log: Log, key: str) -> np.ndarray:
    """Ids from 2 that occur in the events of a log.

    Args:
      log: the log.
      key: 'user' or 'item'.

    Returns:
      int64 [M], ascending.
    """
    if key == 'user' and isinstance(log, BehaviourLog):
        ids = np.flatnonzero(np.diff(log.user_offsets))
    else:
        ids = np.flatnonzero(np.bincount(log.events[key], minlength=log.schema[key].rows))
    return ids[ids >= FIRST]
