r"""OneRec and what it is compared with on a log of one's own, with item vectors of one's own.

    jaxrec ingest --input=shown.csv --mapping=mapping.json --sessions --output=logs/mine
    jaxrec onerec tokenize --workdir=runs/mine/tokens \
        --config=configs/onerec/own.py:OneRec,logs/mine,vectors.npy,names.txt
    jaxrec train --workdir=runs/mine/ntp \
        --config=configs/onerec/own.py:OneRec,logs/mine,vectors.npy,names.txt
    jaxrec onerec reward --workdir=runs/mine/reward \
        --config=configs/onerec/own.py:reward,logs/mine

After the colon stand the row or `reward`, the log, and what is known of its items: an .npy file of vectors
and a text file with the item of each row, or a .csv file of texts with the columns item and text; without
either, vectors are made of what users did in training. Sessions need a session log, whose mapping has a
`session` (`jaxrec.data.ingest.sessions`); the rows of single items read a behaviour log too. The reward model
learns those of the four labels that the log has, from two fifths of the users: what it is to align is trained
on the others, --config.data.users="(0.0, 0.6)". Sizes of the network: --config.model.size=50m to 1b; the
latter wants an accelerator.
"""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from configs.can.own import label_columns, label_of
from configs.onerec.stages import reward_config
from configs.runs import changed, run_config
from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.log import Log
from jaxrec.data.sessions.filter import INTERACTIONS
from jaxrec.data.sessions.labels import COLUMNS as LABEL_COLUMNS
from jaxrec.data.sessions.log import SessionLog
from jaxrec.data.sources.from_config import stored
from jaxrec.models.onerec.presets import FEATURES, HISTORY, ROWS, SESSION, SPLIT, TRAIN, of_length

LEAST, MOST = 16, 8_192  # codes of a level
REWARD = 'reward'


def get_config(text: str = 'OneRec') -> ConfigDict:
    """Builds the config of one row, or of the reward model, for one log.

    Args:
      text: 'row,log,content,names of the content's items', of which all but the row may be left out.

    Returns:
      The config.
    """
    name, path, content, names = (*text.split(',', 3), '', '', '')[:4]
    log = stored('', path) if path else None
    items = log.manifest['counts']['items'] if log else LEAST
    config = run_config(
        'OneRec' if name == REWARD else name,
        {
            'features': FEATURES,
            'files': {
                'ids': {
                    'make': 'jaxrec.models.onerec.tokenizing.tokens:make_ids',
                    'check': 'jaxrec.models.onerec.tokenizing.tokens:check_ids',
                    'arguments': {
                        'content': content,
                        'content_items': names,
                        'text_width': 128,
                        'behaviour': min(64, items - 1),
                        'share': 0.5,
                        'levels': 3,
                        'clusters': codes_for(items),
                        'balanced': True,
                        'encoding': 'assigned',
                    },
                }
            },
            'data': {
                'log': 'jaxrec.data.sources.from_config:stored',
                'arguments': {'path': str(Path(path)) if path else ''},
                'cache': 'runs/logs',
                'label': label_of(log) if isinstance(log, BehaviourLog) and label_columns(log) else {},
                'split': SPLIT,
                'history_length': HISTORY,
                'users': (0.0, 1.0),
            },
            'train': TRAIN,
        },
        of_length(rows_of(log), HISTORY),
    )
    return reward_of(config, log) if name == REWARD else config


def reward_of(generator: ConfigDict, log: Log | None) -> ConfigDict:
    """The reward model beside a generator: it reads what is known of items and learns what has labels."""
    if not isinstance(log, SessionLog):
        return reward_config(generator)
    return reward_config(
        generator,
        ('item', *categories_of(log)),
        tuple(head for head, column in LABEL_COLUMNS.items() if column in log.shown),
    )


def categories_of(log: Log) -> tuple[str, ...]:
    """The columns of a log's items that hold one category each."""
    return tuple(
        name
        for name, column in log.schema.items()
        if name in log.stores['items'] and column.kind == 'categorical'
    )


def codes_for(items: int) -> int:
    """Codes of each of three levels: a power of two, so that some 64 IDs stand ready for every item."""
    wanted = 4 * items ** (1 / 3)
    return min(MOST, max(LEAST, 1 << int(wanted).bit_length()), max(items, 1))


def rows_of(log: Log | None) -> dict[str, dict[str, Any]]:
    """The rows, with what this log knows of sessions and items."""
    if log is None:
        return ROWS
    rows = {name: row for name, row in ROWS.items() if name != 'OneRec' or isinstance(log, SessionLog)}
    if isinstance(log, SessionLog):
        quality = {
            'watched': SESSION if 'view' in log.shown else None,
            'quantile': 0.5 if 'watch_time' in log.shown else None,
            'interactions': None if set(INTERACTIONS) & set(log.shown) else (),
        }
        rows['OneRec'] = changed(rows['OneRec'], data={'quality': quality})
    columns = categories_of(log)
    if not columns:
        del rows['FDSA']
    else:
        rows['FDSA'] = changed(
            rows['FDSA'], model={'columns': columns}, features={'history': ('item', *columns)}
        )
    return rows
