"""Evaluation: exact metrics on host numpy for reported numbers, mergeable states for training curves."""

from jaxrec.evaluation.binned import BinnedAuc, LogLoss, Mean, Pcoc
from jaxrec.evaluation.ctr import CtrEvaluator, ctr_metrics
from jaxrec.evaluation.metrics import GroupedAuc, auc, gauc, log_loss, pcoc

__all__ = [
    'BinnedAuc',
    'CtrEvaluator',
    'GroupedAuc',
    'LogLoss',
    'Mean',
    'Pcoc',
    'auc',
    'ctr_metrics',
    'gauc',
    'log_loss',
    'pcoc',
]
