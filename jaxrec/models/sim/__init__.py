"""SIM: Search-based User Interest Modeling with Lifelong Sequential Behavior Data (arXiv 2006.05639)."""

from jaxrec.models.sim.model import make_task as make_task
