"""Checkpoints of training: whole or absent, checked before they are read. Only here is Orbax spoken to."""

from jaxrec.training.checkpoints.damage import DamagedCheckpoint as DamagedCheckpoint
from jaxrec.training.checkpoints.store import SAVE_S as SAVE_S
from jaxrec.training.checkpoints.store import Checkpoints as Checkpoints
from jaxrec.training.checkpoints.store import Restored as Restored
