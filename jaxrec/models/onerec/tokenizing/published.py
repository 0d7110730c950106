"""Semantic IDs from elsewhere: `config.files.ids` names this module instead of `tokenizing.tokens`.

{'make': 'jaxrec.models.onerec.tokenizing.published:make_ids', 'arguments': {'column': 'letter_sid'}}
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxrec.configurable import configurable
from jaxrec.data.logs.log import Log
from jaxrec.models.onerec.tokenizing.published_ids import code_loads, given_codes, measure_codes
from jaxrec.models.onerec.tokenizing.semantic_ids import assign_ids
from jaxrec.models.onerec.tokenizing.tokens import IDS, REPORT, first_tokens, write_tokens
from jaxrec.runs.comparison.tables import write_json

PUBLISHED = 'published'


@configurable('artifact')
def make_ids(
    folder: Path, log: Log, data: Mapping[str, Any], column: str = '', file: str = '', room: int | None = None
) -> Path:
    """Uses semantic IDs that are given for a log's items; items that share theirs get ranks.

    Args:
      folder: takes `ids.npz`, `trie.npz`, `report.json` and `tokens.json`.
      log: a `SessionLog` or a `BehaviourLog`.
      data: unused.
      column: the attribute of the log's items that holds them, such as `letter_sid`; or
      file: a file of them, see `jaxrec.models.onerec.tokenizing.published_ids.read_ids`.
      room: how many items may come to share their codes.

    Returns:
      The path of the IDs.

    Raises:
      ValueError: neither or both of column and file, or IDs that are none or do not fit the log.
    """
    del data
    codes = given_codes(log, column, file)
    ids = assign_ids(codes, int(codes.max()) + 1, room)
    folder.mkdir(parents=True, exist_ok=True)
    told = measure_codes(codes)
    last = told['levels'][-1]
    write_json(
        folder / REPORT,
        {
            'items': len(codes), 'clusters': ids.clusters, 'room': ids.room, 'levels': {PUBLISHED: told['levels']},
            'loads': {PUBLISHED: code_loads(codes, ids.clusters)},
            **{name: told[name] for name in ('distinct', 'sharing')},
            **{name: last[name] for name in ('collision_rate', 'largest_group')},
            'notes': [f'published IDs of {column or file}'],
        },
    )  # fmt: skip
    options = {'column': column, 'file': file, 'content': ''}
    write_tokens(folder, ids, first_tokens(log, options))
    return folder / IDS
