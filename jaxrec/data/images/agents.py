"""Who acts in an image, whether or not the object is visible: the ground truth of V-COCO's role AP."""

import dataclasses

import numpy as np

UNSEEN = -1  # the object of a deed that acts on nothing in the image


@dataclasses.dataclass(frozen=True)
class Agents:
    """The A people of one scene and their D deeds, a deed being an action with one role, such as 'cut instr'.

    Attributes:
      rows: int32 [A], their rows among the masks of the scene.
      known: bool [A], whether their actions are annotated; predictions for the others are ignored.
      deeds: int32 [D, 3] of (row, object row or `UNSEEN`, relation).
    """

    rows: np.ndarray
    known: np.ndarray
    deeds: np.ndarray

    def __post_init__(self) -> None:
        if self.known.shape != self.rows.shape:
            raise ValueError(f'{len(self.rows)} agents, of whom known has {self.known.shape}: give one each')
        if strangers := sorted(set(self.deeds[:, 0].tolist()) - set(self.rows[self.known].tolist())):
            raise ValueError(f'a deed of entity {strangers[0]}, which is no agent that is known: add it to rows')
