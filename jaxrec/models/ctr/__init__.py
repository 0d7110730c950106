"""What all click models share: features, layers, and the task."""

from jaxrec.models.ctr.features import FeatureMap as FeatureMap
from jaxrec.models.ctr.task import CtrTask as CtrTask
