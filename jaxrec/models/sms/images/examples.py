"""Scenes of a log with what a trained run finds in them: for figures and explanations."""

import numpy as np

from jaxrec.data.images.scene import Scene
from jaxrec.evaluation.segmentation.found import Found, truth_of
from jaxrec.models.sms.images.finder import make_finder, names_of, trained_of
from jaxrec.runs.build import batches
from jaxrec.runs.restore import restore_model
from jaxrec.runs.run import Run


def read_examples(run: Run, part: str = 'test', images: int = 20, step: int | None = None) -> list[tuple[Scene, Found]]:
    """Reads the first scenes of a part, and predicts them with a checkpoint.

    Args:
      run: of a network that reads images, such as SMS.
      part: 'train', 'validation' or 'test'.
      images: how many at most.
      step: which checkpoint; None takes the best on validation.

    Returns:
      The ground truth and the predictions of each scene, in the order of the log, masks at the image's size.

    Raises:
      ValueError: the run reads no images, or there is no such checkpoint.
    """
    experiment = run.experiment
    names_of(experiment)  # refuses other runs before anything is read
    source, size = experiment.source(part), experiment.train['eval_batch_size']
    state, _ = restore_model(experiment, run.workdir, step, source)
    read = batches(source, -(-images // size))
    scenes = [truth_of(batch, row) for batch in read for row in np.flatnonzero(batch['valid'] > 0).tolist()][:images]
    find = make_finder(trained_of(experiment, state), size)
    return list(zip(scenes, find([scene.image for scene in scenes]), strict=True))
