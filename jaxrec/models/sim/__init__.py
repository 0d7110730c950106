"""SIM: Search-based User Interest Modeling with Lifelong Sequential Behavior Data (arXiv 2006.05639)."""

from typing import TYPE_CHECKING

from jaxrec.lazy import lazy_names

if TYPE_CHECKING:
    from jaxrec.models.sim.model import make_task as make_task

__getattr__, __dir__ = lazy_names(__name__, {'make_task': 'jaxrec.models.sim.model'})
