"""From a preset to the config of a run, and changes to a config by dotted keys."""

import ast
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxrec.options import fits, lay_over

IDS = ('item', 'category')
FEATURES = {'user': ('user',), 'candidate': IDS, 'history': IDS}
WORDS = {'true': True, 'false': False, 'none': None}


def run_config(name: str, sections: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> ConfigDict:
    """Builds the config of one run.

    Args:
      name: one of `rows`.
      sections: what the data set says: `data` and `train`, and `features` where they are not `FEATURES`.
      rows: {name: preset}; a preset's sections are laid over the data set's, and None takes a section out.

    Raises:
      ValueError: there is no such preset.
    """
    if name not in rows:
        close = difflib.get_close_matches(name, rows, n=3)
        hint = f' Did you mean {" or ".join(map(repr, close))}?' if close else ''
        raise ValueError(f'there is no model {name!r} for this data.{hint} Choose one of {", ".join(sorted(rows))}')
    config = ConfigDict({'features': FEATURES, **sections, 'seed': 0})
    lay_over(config, rows[name])
    return config


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Reads changes to a config, {dotted key: value}, from text.

    Args:
      texts: 'section.key=value' each; a value is a Python literal (2, 1e-3, "(64, 32)", "{'users': 500}"), true, false
        or none, or else text.

    Raises:
      ValueError: a text without a key or a value.
    """
    changes: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition('=')
        if not key or not equals:
            raise ValueError(f'--set={text}: give section.key=value, such as --set=train.epochs=2')
        if value.lower() in WORDS:
            changes[key] = WORDS[value.lower()]
            continue
        try:
            changes[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            changes[key] = value
    return changes


def override(config: ConfigDict, changes: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]) -> None:
    """Changes single values of a config.

    Args:
      config: is changed.
      changes: {dotted key: value}, such as {'train.epochs': 2}.
      options: {section: {option: default}} of the sections whose options are known; of the others any key is
        set, and refused, if it is wrong, by what reads the section.

    Raises:
      ValueError: a key that does not exist, or a value of another type than the one that it replaces.
    """
    for dotted, value in changes.items():
        *path, key = dotted.split('.')
        known = options.get(path[0], config.get(path[0], {})) if len(path) == 1 else None
        if not path and key != 'seed' and key not in config and key not in options:
            raise ValueError(_unknown(dotted, ['seed', *config, *options]))
        if path and path[0] not in config and path[0] not in options:
            raise ValueError(_unknown(dotted, [f'{section}.{key}' for section in {*config, *options}]))
        if known is not None and path[0] in options and key not in known:
            raise ValueError(_unknown(dotted, [f'{path[0]}.{option}' for option in known]))
        section = _section(config, path, dotted)
        before = section[key] if key in section else (known or {}).get(key)
        if value is not None and not fits(value, before):
            raise ValueError(
                f'{dotted} = {value!r} is {type(value).__name__}: give {type(before).__name__}, such as {before!r}'
            )
        with section.ignore_type(), section.unlocked():
            section[key] = value


def _section(config: ConfigDict, path: list[str], dotted: str) -> ConfigDict:
    """The section that holds a key, made where its parents may hold sections."""
    section = config
    for name in path:
        if section.get(name, None) is None:
            with section.unlocked(), section.ignore_type():
                section[name] = ConfigDict()
        section = section[name]
        if not isinstance(section, ConfigDict):
            raise ValueError(f'{dotted}: {name!r} is a value and has no keys')
    return section


def _unknown(dotted: str, known: Iterable[str]) -> str:
    known = sorted(set(known))
    close = difflib.get_close_matches(dotted, known, n=1)
    hint = f' Did you mean {close[0]!r}?' if close else ''
    return f'{dotted!r} is not a key of the config.{hint} Keys there: {", ".join(known)}'
