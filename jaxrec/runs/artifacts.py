"""Builds the files a task needs from its log, once: `config.files` names the functions.

    config.files = {'ids': {'make': 'jaxrec.models.onerec.tokenizing.tokens:make_ids', 'arguments': {'clusters': 64},
                            'check': 'jaxrec.models.onerec.tokenizing.tokens:check_ids'}}

fills in `model.ids` with the path of a file next to the cached log. A path that `model.ids` gives is checked by
`check`.
"""

import hashlib
import inspect
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections

from jaxrec.configurable import resolve
from jaxrec.data.logs.log import Log
from jaxrec.data.sources.from_config import alone
from jaxrec.files import needs_room
from jaxrec.options import plain, read_options

logger = logging.getLogger(__name__)


def make_files(
    config: ml_collections.ConfigDict, log: Log, data: Mapping[str, Any], model: Mapping[str, Any]
) -> dict[str, str]:
    """Makes the files of a config that are not there yet.

    Args:
      config: of a run; `files` is {model option: {'make': 'package.module:name', 'arguments': its keywords, 'check':
        another name or ''}}, of functions `(folder, log, data, **arguments) -> path` and `(path, log)`.
      log: the compiled log.
      data: the config's data section, defaults filled in.
      model: the model section; a path that it gives takes the place of what would be made.

    Returns:
      {model option: path}, of those that the model section does not give.

    Raises:
      ValueError: no such function or other arguments than it accepts, or a file that `check` refuses.
    """
    made = {}
    for name in config.get('files', None) or {}:
        where = f'files.{name}'
        described = read_options(config.files[name], where, make='', arguments={}, check='')
        if not model.get(name):
            made[name] = str(_make(where, described, log, data))
        elif described['check']:
            resolve(described['check'], 'check')(Path(model[name]), log)
    return made


def _make(where: str, options: Mapping[str, Any], log: Log, data: Mapping[str, Any]) -> Path:
    make, arguments = resolve(options['make'], 'artifact'), plain(options['arguments'])
    try:
        inspect.signature(make).bind(Path(), log, data, **arguments)
    except TypeError as error:
        raise ValueError(f'{where}.arguments do not fit {options["make"]} ({error})') from None
    folder = file_folder(options['make'], arguments, log, data)
    name_file = folder / 'made.json'
    with alone(folder):
        if not name_file.is_file():
            partial = folder.with_name(f'.{folder.name}.partial')
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            try:
                with needs_room(folder):
                    path = Path(make(partial, log, data, **arguments))
                    (partial / name_file.name).write_text(json.dumps(str(path.relative_to(partial))))
                shutil.rmtree(folder, ignore_errors=True)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
            logger.info('%s: made %s', where, folder)
    return folder / json.loads(name_file.read_text())


def file_folder(make: str, arguments: Mapping[str, Any], log: Log, data: Mapping[str, Any]) -> Path:
    """`<cache>/<function>-<digest>`: runs on the same log, label and split with the same arguments share it.

    Files that the arguments name count by their size and time of change too.
    """
    manifest = (log.folder / 'manifest.json').read_bytes()
    files = [Path(value) for value in arguments.values() if isinstance(value, str) and Path(value).is_file()]
    stamps = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    described = json.dumps([make, plain(arguments), stamps, plain(data['label']), plain(data['split'])], sort_keys=True)
    digest = hashlib.sha256(manifest + described.encode()).hexdigest()[:10]
    return Path(data['cache']) / f'{make.rpartition(":")[2]}-{digest}'
