"""From a config to a log: `config.data.log` names the function that compiles it."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxrec.data.behaviour_log import BehaviourLog
from jaxrec.importing import resolve


def open_log(config: Mapping[str, Any], folder: str | Path) -> BehaviourLog:
    """Compiles the log that a config describes, or opens it if it is compiled already.

    Args:
      config: `log`, the import path of a function `(folder=..., **arguments) -> BehaviourLog`, and
        `arguments`, its keywords.
      folder: where the log lies or will lie.

    Raises:
      ValueError: when `log` is missing or does not name such a function, or the function refuses its input.
    """
    if 'log' not in config:
        raise ValueError(
            f"config.data has no 'log' but {', '.join(config.keys())}: "
            "name a function as 'package.module:name'"
        )
    given = config['arguments'] if 'arguments' in config else {}
    arguments = {name: given[name] for name in given.keys()}
    compile_function = resolve(config['log'])
    try:
        inspect.signature(compile_function).bind(folder=folder, **arguments)
    except TypeError as error:
        takes = ', '.join(inspect.signature(compile_function).parameters)
        raise ValueError(
            f'config.data.arguments do not fit {config["log"]} ({error}): it takes {takes}'
        ) from None
    log = compile_function(folder=folder, **arguments)
    if not isinstance(log, BehaviourLog):
        raise ValueError(
            f'config.data.log = {config["log"]!r} returned {type(log).__name__}: '
            'it must return a BehaviourLog'
        )
    return log
