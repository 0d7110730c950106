"""Names in configs: `'package.module:name'` is imported when it is needed, no registry in between."""

import importlib
from typing import Any


def resolve(path: str) -> Any:
    """Imports what a config names.

    Args:
      path: 'package.module:name'; the name may be dotted to reach into a class.

    Returns:
      The object of that name.

    Raises:
      ValueError: when the path is malformed, or the module or the name does not exist. An error inside the
        module is not hidden.
    """
    module_name, separator, name = path.partition(':') if isinstance(path, str) else ('', '', '')
    if not (separator and module_name and name):
        raise ValueError(f"{path!r} does not name an object: write 'package.module:name'")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # Only the named module itself, or a package above it, may be missing: a missing dependency is another
        # problem.
        if error.name is None or not f'{module_name}.'.startswith(f'{error.name}.'):
            raise
        raise ValueError(
            f'{path!r}: there is no module {error.name!r}; check the spelling or install it'
        ) from None
    for part in name.split('.'):
        if not hasattr(found, part):
            public = ', '.join(sorted(n for n in vars(found) if not n.startswith('_')))
            raise ValueError(f'{path!r}: {module_name} has no {name!r}; it has {public}')
        found = getattr(found, part)
    return found
