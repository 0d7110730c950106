"""Evaluation: exact metrics on host numpy for reported numbers, mergeable states for training curves.

Of policies: `jaxrec.evaluation.replay`, of one that learns from a log as it walks through it, and
`jaxrec.evaluation.off_policy`, of one that stands still. Of masks, parts and relations in images:
`jaxrec.evaluation.relation_segmentation`.
"""

from jaxrec.evaluation.binned import BinnedAuc, LogLoss, Mean, Pcoc
from jaxrec.evaluation.ctr import CtrEvaluator, ctr_metrics
from jaxrec.evaluation.metrics import GroupedAuc, auc, gauc, log_loss, pcoc
from jaxrec.evaluation.searches import Means, kept_slots, share_found

__all__ = [
    'BinnedAuc',
    'CtrEvaluator',
    'GroupedAuc',
    'LogLoss',
    'Mean',
    'Means',
    'Pcoc',
    'auc',
    'ctr_metrics',
    'gauc',
    'kept_slots',
    'log_loss',
    'pcoc',
    'share_found',
]
