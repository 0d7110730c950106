"""OneRec and related models on a custom log.

Sessions need a session log, whose mapping has a `session` (`jaxrec.data.ingest.sessions`); models of single items read
a behaviour log too. Semantic IDs are made of training behaviour, and of content if `files.ids.arguments.content` names
it: an .npy file of vectors with, as `content_items`, a text file of the item of each row, or a .csv file of texts with
the columns item and text. The reward model learns those of the four labels that the log has, from two fifths of the
users: a generator that it is to align trains on the others, `data.users=(0.0, 0.6)`.
"""

from typing import Any

from ml_collections import ConfigDict

from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.log import Log
from jaxrec.data.sessions.filter import INTERACTIONS
from jaxrec.data.sessions.labels import COLUMNS as LABEL_COLUMNS
from jaxrec.data.sessions.log import SessionLog
from jaxrec.models.onerec.presets import FEATURES, HISTORY, OF_ROWS, ROWS, SESSION, SPLIT, TRAIN, of_length, tokenized
from jaxrec.models.onerec.stages import OF_METHOD, pipeline, reward_config
from jaxrec.options import changed
from jaxrec.runs.config import run_config
from jaxrec.runs.defaults import label_columns, label_of, stored_log

LEAST, MOST = 16, 8_192  # codes of a level
REWARD = 'reward'


def log_config(path: str, name: str) -> ConfigDict:
    """The config of a model by name, or of `REWARD`, on the log at a path; a ValueError refuses unsuitable logs."""
    from jaxrec.data.sources.from_config import stored  # it imports jax, and the table of models does not

    log = stored('', path)
    rows, items = rows_of(log), log.manifest['counts'].get('items', 0)
    _check(name, log, rows)
    ids = tokenized(
        content='', content_items='', text_width=128, behaviour=min(64, items - 1), share=0.5, levels=3,
        clusters=codes_for(items), balanced=True, encoding='assigned',
    )  # fmt: skip
    config = run_config(
        'OneRec' if name == REWARD else name,
        {
            'features': FEATURES,
            'files': {'ids': ids},
            'data': {
                **stored_log(path),
                'cache': 'runs/logs',
                'label': label_of(log) if isinstance(log, BehaviourLog) and label_columns(log) else {},
                'split': SPLIT,
                'history_length': HISTORY,
                'users': (0.0, 1.0),
            },
            'train': TRAIN,
        },
        of_length(rows, HISTORY),
    )
    if name != REWARD:
        return config
    assert isinstance(log, SessionLog)
    heads = tuple(head for head, column in LABEL_COLUMNS.items() if column in log.shown)
    return reward_config(config, ('item', *categories_of(log)), heads)


def _check(name: str, log: Log, rows: dict[str, dict[str, Any]]) -> None:
    """Refuses a log that cannot feed the model, with the option of `jaxrec ingest` that would."""
    if not isinstance(log, SessionLog) and (name in ('OneRec', REWARD) or not isinstance(log, BehaviourLog)):
        raise ValueError(
            f'{name} trains on sessions, and {log.folder} is a {log.KIND}: ingest one with --sessions and a mapping '
            'that names the column of the session'
        )
    if name != REWARD and name not in rows:
        raise ValueError(
            f'{name} reads attributes of items, and {log.folder} has none: ingest it with --item_attribute, or choose '
            'SASRec'
        )


def pipeline_on_log(path: str) -> ConfigDict:
    """The complete pipeline on a session log; generator and reward model learn from different users."""
    generator = log_config(path, 'OneRec')
    generator.data.users = OF_ROWS
    return pipeline(generator, log_config(path, REWARD), OF_METHOD)


def categories_of(log: Log) -> tuple[str, ...]:
    """The columns of a log's items that hold one category each."""
    return tuple(
        name for name, column in log.schema.items() if name in log.stores['items'] and column.kind == 'categorical'
    )


def codes_for(items: int) -> int:
    """Codes of each of three levels: a power of two, so that some 64 IDs stand ready for every item."""
    wanted = 4 * items ** (1 / 3)
    return min(MOST, max(LEAST, 1 << int(wanted).bit_length()), max(items, 1))


def rows_of(log: Log) -> dict[str, dict[str, Any]]:
    """The models, with the labels and attributes that the log has."""
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
        rows['FDSA'] = changed(rows['FDSA'], model={'columns': columns}, features={'history': ('item', *columns)})
    return rows
