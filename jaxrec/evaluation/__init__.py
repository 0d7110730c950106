"""Evaluation: exact metrics on host numpy for reported numbers, mergeable states for training curves.

`replay` evaluates policies that learn from a log, `off_policy` fixed ones, `relation_segmentation` masks and relations.
"""

from jaxrec.evaluation.binned import BinnedAuc as BinnedAuc
from jaxrec.evaluation.binned import LogLoss as LogLoss
from jaxrec.evaluation.binned import Mean as Mean
from jaxrec.evaluation.binned import Pcoc as Pcoc
from jaxrec.evaluation.ctr import CtrEvaluator as CtrEvaluator
from jaxrec.evaluation.ctr import ctr_metrics as ctr_metrics
from jaxrec.evaluation.metrics import GroupedAuc as GroupedAuc
from jaxrec.evaluation.metrics import auc as auc
from jaxrec.evaluation.metrics import gauc as gauc
from jaxrec.evaluation.metrics import log_loss as log_loss
from jaxrec.evaluation.metrics import pcoc as pcoc
from jaxrec.evaluation.searches import Means as Means
from jaxrec.evaluation.searches import kept_slots as kept_slots
from jaxrec.evaluation.searches import share_found as share_found
