"""CAN: Feature Co-Action for Click-Through Rate Prediction (WSDM 2022, arXiv 2011.05625)."""

from typing import TYPE_CHECKING

from jaxrec.lazy import lazy_names

if TYPE_CHECKING:
    from jaxrec.models.can.model import make_task as make_task

__getattr__, __dir__ = lazy_names(__name__, {'make_task': 'jaxrec.models.can.model'})
