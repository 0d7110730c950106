"""SMS: simultaneous matching and segmentation of humans, parts, relations and entities (arXiv 2105.11168)."""

from typing import TYPE_CHECKING

from jaxrec.lazy import lazy_names

if TYPE_CHECKING:
    from jaxrec.models.sms.task import SmsTask as SmsTask
    from jaxrec.models.sms.task import make_task as make_task

__getattr__, __dir__ = lazy_names(
    __name__, {'SmsTask': 'jaxrec.models.sms.task', 'make_task': 'jaxrec.models.sms.task'}
)
