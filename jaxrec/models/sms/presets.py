"""The models of SMS's tables by name, shared by all data sets, which set the network's sizes.

All but `prior` have one trunk and one budget: they differ in how entities are represented, how relations find them, and
in their branches.
"""

import dataclasses
from typing import Any

from jaxrec.data.images.augment import Augmentation
from jaxrec.data.images.targets import TargetOptions
from jaxrec.options import changed

TWO_STAGE = 'jaxrec.models.sms.two_stage:make_task'
PRIOR = 'jaxrec.models.sms.prior:make_task'


def sms(task: str = 'jaxrec.models.sms:make_task', **options: Any) -> dict[str, Any]:
    """A row of the network, with options of its own."""
    return {'task': task, 'model': options}


# What an evaluation tells of its hundred figures while a run goes on.
LOG_METRICS = (
    'recall_100_25', 'recall_100_50', 'recall_100_75', 'recall_100_50_parts', 'recall_G_50', 'entity_ap_50',
    'part_miou', 'error_missed_entity', 'error_wrong_pair', 'error_wrong_relation', 'error_wrong_part',
)  # fmt: skip

AUGMENT = dataclasses.asdict(Augmentation())
TARGETS = {k: v for k, v in dataclasses.asdict(TargetOptions()).items() if k != 'stride'}  # the network's own

# A row's sections are laid over the data set's.
ROWS: dict[str, dict[str, Any]] = {
    'SMS': sms(),
    # The true entities, and of each pair of classes its most frequent relation: one pass that counts.
    'prior': sms(PRIOR) | {'train': {'epochs': 1, 'evals_per_epoch': 1}},
    # Entities first, then a classifier over all pairs of them. What it says of a pair is as sure as entities
    # are, and to a power finds less.
    'two-stage': sms(TWO_STAGE, relation_power=1.0),
    # Filled boxes instead of masks. Hardly one reaches an IoU of .5, so there is nothing to judge by there.
    'boxes': sms(masks=False) | {'train': {'monitor': 'recall_100_25_parts'}},
    'no-parsing': sms(parsing=False),
    # As PPDM has it: a relation and its mirror image share a point.
    'midpoint': sms(relation_point='midpoint'),
    # The same, with symmetric relations given in both directions.
    'midpoint-both': sms(relation_point='midpoint', both_directions=True),
    'subject': sms(relation_point='subject'),
    # Parts told for each relation of a point, or once for all of them.
    'parts-by-relation': sms(parts_by_relation=True),
    'parts-once': sms(parts_by_relation=False),
}
# Size, optimizer and schedule of PPDM (arXiv 1912.12898), for large sets of real pictures.
PPDM_MODEL = {'size': 'full', 'weights': '', 'read_stride': 2}
PPDM_TRAIN = {
    'batch_size': 32,
    'eval_batch_size': 16,
    'epochs': 140,
    'learning_rate': 1.25e-4,
    'schedule': {'kind': 'steps', 'at': (90 / 140, 120 / 140), 'factor': 0.1},
    'evals_per_epoch': 1,
    'log_every': 50,
    'log_metrics': LOG_METRICS,
    'monitor': 'recall_100_50',
    'maximize': True,
}
COMPARED = ('SMS', 'prior', 'two-stage', 'boxes', 'no-parsing', 'midpoint')


def of_size(rows: dict[str, dict[str, Any]], sizes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Adds a data set's sizes (options of the network, `size`, `weights`) to `rows`; what a row sets stays."""
    own = {'weights': '', **sizes}
    return {name: changed(row, model=own | row['model']) for name, row in rows.items()}
