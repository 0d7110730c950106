"""CAN: Feature Co-Action for Click-Through Rate Prediction (WSDM 2022, arXiv 2011.05625)."""

from jaxrec.models.can.model import make_task as make_task
