"""Industrial recommender papers in JAX and Flax, on one spine: embedding rows are function inputs.

    import jaxrec
    log = jaxrec.ingest('clicks.csv', 'logs/clicks', user='user', item='item', time='shown_at', label='clicked')
    run = jaxrec.fit(log, 'SIM-soft', workdir='runs/sim')
    run.evaluate('test')

Names are imported when they are used: `import jaxrec` alone imports neither jax nor pyarrow.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jaxrec.lazy import lazy_names

if TYPE_CHECKING:
    from jaxrec.runs.api import compare as compare
    from jaxrec.runs.api import fit as fit
    from jaxrec.runs.api import ingest as ingest
    from jaxrec.runs.api import load as load
    from jaxrec.runs.api import open_log as open_log
    from jaxrec.runs.run import Run as Run

__version__ = '0.1.0'
__all__ = ['Run', 'compare', 'fit', 'ingest', 'load', 'models', 'open_log']

_PLACES = dict.fromkeys(('compare', 'fit', 'ingest', 'load', 'open_log'), 'jaxrec.runs.api')
_PLACES['Run'] = 'jaxrec.runs.run'
_find, _ = lazy_names(__name__, _PLACES)


def __getattr__(name: str) -> Any:
    if name == 'models':  # a package that can be called
        return importlib.import_module('jaxrec.models')
    return _find(name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
