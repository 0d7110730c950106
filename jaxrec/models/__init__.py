"""The papers, one package each, and what they are compared with; every model is a `Task`.

`jaxrec.models()` is the table of all models: name, paper, what it needs and where it is described.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxrec.runs.models import ModelTable


class _Callable(ModuleType):
    """A package that returns the table of models when it is called."""

    def __call__(self) -> 'ModelTable':
        from jaxrec.runs.models import all_models

        return all_models()


sys.modules[__name__].__class__ = _Callable
