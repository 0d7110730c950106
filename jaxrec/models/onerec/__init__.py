"""OneRec: session-wise generative recommendation with preference alignment (arXiv 2502.18965)."""

from jaxrec.models.onerec.task import SessionTask as SessionTask
from jaxrec.models.onerec.task import make_task as make_task
