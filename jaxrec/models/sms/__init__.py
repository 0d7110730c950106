"""SMS: simultaneous matching and segmentation of humans, parts, relations and entities (arXiv 2105.11168)."""

from jaxrec.models.sms.task import SmsTask as SmsTask
from jaxrec.models.sms.task import make_task as make_task
