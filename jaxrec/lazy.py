"""Packages that import a public name when it is used: the table of models is read without jax."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Makes the `__getattr__` and the `__dir__` of a package (PEP 562).

    Args:
      package: its name.
      modules: {public name: module that defines it}.

    Returns:
      Both; the first raises AttributeError with the public names for any other name.
    """

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f'module {package!r} has no attribute {name!r}; it has {", ".join(sorted(modules))}')
        return getattr(importlib.import_module(modules[name]), name)

    return find, lambda: sorted([*vars(sys.modules[package]), *modules])
