"""Config sections: against their defaults, where a misspelt key is an error; laid over each other; plain."""

import copy
import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

Sized = TypeVar('Sized')
DTYPES = ('float32', 'bfloat16')  # that activations may have


def read_options(config: Mapping[str, Any], where: str, /, **defaults: Any) -> dict[str, Any]:
    """Merges a config section over its defaults.

    Args:
      config: the section, a ConfigDict or a dict.
      where: the section's name, for messages.
      **defaults: every allowed key with its default.

    Raises:
      ValueError: a key that is not among the defaults, or a value of another type than its default.
    """
    unknown = sorted(set(config) - set(defaults))
    if unknown:
        close = difflib.get_close_matches(unknown[0], defaults, n=1)
        hint = f'; did you mean {close[0]!r}?' if close else ''
        raise ValueError(f'{where}.{unknown[0]} is not an option{hint}. Allowed: {sorted(defaults)}')
    merged = {**defaults, **{key: config[key] for key in config}}
    for key, default in defaults.items():
        if not fits(merged[key], default):
            raise ValueError(
                f'{where}.{key} = {merged[key]!r} is {type(merged[key]).__name__}, '
                f'but {type(default).__name__} such as {default!r} is expected'
            )
    return merged


def read_sized(
    config: Mapping[str, Any], where: str, kind: type[Sized], sizes: Mapping[str, Mapping[str, Any]], size: str
) -> Sized:
    """Reads a config section over the size that it names.

    Args:
      config: the section: `size`, and any field of `kind`.
      kind: a dataclass of plain values, all with defaults.
      sizes: {name: {field: value}}, which differ from those defaults.
      size: where the section names none.

    Raises:
      ValueError: a size that does not exist, or what `read_options` and `kind` refuse.
    """
    size = config.get('size', size)
    if size not in sizes:
        raise ValueError(f'{where}.size = {size!r} does not exist; choose one of {list(sizes)}')
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    options = read_options(config, where, **{**defaults, **sizes[size], 'size': size})
    del options['size']
    return kind(**{key: tuple(x) if isinstance(x, list) else x for key, x in options.items()})


def plain(config: Any) -> Any:
    """Turns a config into dicts with sorted keys, tuples and values, which pickle and print alike everywhere."""
    if hasattr(config, 'keys'):  # a ConfigDict is no Mapping
        return {key: plain(config[key]) for key in sorted(config.keys())}
    return tuple(plain(value) for value in config) if isinstance(config, (list, tuple)) else config


def lay_over(config: Any, changes: Mapping[str, Any]) -> None:
    """Changes a ConfigDict or dict section by section: what is not named stays; None replaces a whole section."""
    for key, value in changes.items():
        if hasattr(value, 'keys') and hasattr(config.get(key), 'keys'):
            lay_over(config[key], value)
        else:
            config[key] = value


def changed(row: Mapping[str, Any], **sections: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a table with further values laid over some of its sections."""
    laid_over = copy.deepcopy(dict(row))
    lay_over(laid_over, sections)
    return laid_over


def parse_mesh(text: str | None) -> tuple[int, int] | None:
    """Reads 'data,model' of a --mesh flag; None stays None.

    Raises:
      ValueError: anything else.
    """
    if text is None:
        return None
    try:
        data, model = (int(size) for size in text.split(','))
    except ValueError as error:
        raise ValueError(f'--mesh={text!r}: give two sizes, such as --mesh=4,2 for 4 x 2 devices') from error
    return data, model


def fits(value: Any, default: Any) -> bool:
    """Whether a value is of the type of a default; None's place can be taken by any."""
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    if isinstance(default, (list, tuple)):
        return isinstance(value, (list, tuple))
    if hasattr(default, 'keys'):  # a ConfigDict is no Mapping
        return hasattr(value, 'keys')
    return isinstance(value, type(default))
