"""Names in configs: `'package.module:name'` is imported when it is needed, and only if it may be named there.

A config is code: it names functions that are imported and called. So its module is one of jaxrec or one that the user
permits, and an object of jaxrec is marked by `@configurable(kind)`.
"""

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar('T')

# What a config may name: its key decides which kind it must be.
KINDS = ('task', 'log', 'reader', 'artifact', 'check', 'scorer', 'run', 'step', 'evaluator')
_MARK = '__jaxrec_configurable__'
_permitted: tuple[str, ...] = ()


def configurable(kind: str) -> Callable[[T], T]:
    """Marks a function or class as one that a config may name, of one of `KINDS`.

    Raises:
      ValueError: there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f'there is no kind {kind!r} of configurable objects: use one of {", ".join(KINDS)}')

    def mark(found: T) -> T:
        setattr(found, _MARK, (kind, getattr(found, '__qualname__', '')))
        return found

    return mark


@contextmanager
def allow_code(modules: Sequence[str]) -> Iterator[None]:
    """Permits configs to name objects of modules outside jaxrec, and of all below them, while the context lasts."""
    global _permitted
    before, _permitted = _permitted, tuple(dict.fromkeys((*_permitted, *modules)))
    try:
        yield
    finally:
        _permitted = before


def allowed_code() -> tuple[str, ...]:
    """The modules outside jaxrec that are permitted now."""
    return _permitted


def resolve(path: str, kind: str) -> Any:
    """Imports what a config names.

    Args:
      path: 'package.module:name'.
      kind: what the config's key asks for, one of `KINDS`.

    Raises:
      ValueError: a malformed path, a module that is neither jaxrec's nor permitted, no such module or name, or an
        object that is not marked as a `kind`. An error inside the module is not hidden.
    """
    module_name, separator, name = path.partition(':') if isinstance(path, str) else ('', '', '')
    if not (separator and module_name and name):
        raise ValueError(f"{path!r} does not name an object: write 'package.module:name'")
    ours = _within(module_name, 'jaxrec')
    if not ours and not any(_within(module_name, permitted) for permitted in _permitted):
        raise ValueError(
            f'{path!r}: a config may name code of jaxrec only. If you trust this config, permit the module: '
            f'--allow_code={module_name}, or allow_code=({module_name!r},) in Python'
        )
    if not name.isidentifier():
        raise ValueError(f'{path!r}: {name!r} is not a plain name: a config names a function or a class of a module')
    found = _attribute(path, _import(path, module_name), name)
    marked = getattr(found, _MARK, None)
    # A subclass inherits the attribute and not the permission.
    if ours and marked != (kind, getattr(found, '__qualname__', '')):
        article = 'an' if kind[0] in 'aeiou' else 'a'
        raise ValueError(f'{path!r} is not {article} {kind} that a config may name; `jaxrec models` lists the tasks')
    return found


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(f'{package}.')


def _import(path: str, module_name: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # Only the named module itself, or a package above it, may be missing: a missing dependency is another
        # problem.
        if error.name is None or not f'{module_name}.'.startswith(f'{error.name}.'):
            raise
        raise ValueError(f'{path!r}: there is no module {error.name!r}; check the spelling or install it') from None


def _attribute(path: str, module: Any, name: str) -> Any:
    if not hasattr(module, name):
        public = ', '.join(sorted(n for n in dir(module) if not n.startswith('_')))
        raise ValueError(f'{path!r}: {module.__name__} has no {name!r}; it has {public}')
    return getattr(module, name)
