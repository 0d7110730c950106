"""What a trained network finds in pictures, at the pictures' own sizes.

B batch, H, W image size of the network, K entities, T triplets.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from experiments.building import Experiment
from jaxrec.data.images.geometry import fit_picture, unfit
from jaxrec.data.images.log import SceneLog
from jaxrec.data.images.scene import Vocabulary
from jaxrec.evaluation.segmentation.found import NOTHING, Found, found_of
from jaxrec.models.sms.prior import PriorTask
from jaxrec.models.sms.task import SmsTask
from jaxrec.parallel import put_batch
from jaxrec.training.state import TrainState
from jaxrec.training.step import make_predict_step

# Pictures -> what is found in each of them, made as it is asked for: masks at full size are large.
Finder = Callable[[Sequence[np.ndarray]], Iterable[Found]]


def names_of(run: Experiment) -> Vocabulary:
    """The names of a run's classes.

    Raises:
      ValueError: the run is of something else than a network that reads pictures.
    """
    task = run.setup.task
    if not isinstance(run.log, SceneLog) or not isinstance(task, SmsTask) or isinstance(task, PriorTask):
        raise ValueError(
            f'{type(task).__name__} on {run.log.folder} finds nothing in pictures: name '
            'a network of configs/sms'
        )
    return run.log.names


def image_size(run: Experiment) -> tuple[int, int]:
    """(H, W) of the images that a run's network reads."""
    given = run.data['image_size']
    return (given, given) if isinstance(given, int) else (int(given[0]), int(given[1]))


def make_finder(
    run: Experiment,
    state: TrainState,
    batch_size: int = 4,
    choose: Callable[[Found], Found] | None = None,
) -> Finder:
    """Compiles a network for pictures of any size, so many at a time.

    Args:
      run: of a network.
      state: of its checkpoint.
      batch_size: B.
      choose: what is kept of a picture, before its masks grow to the picture's size; None keeps all.

    Returns:
      The finder: entities and triplets of each picture, masks and part map at the picture's size, one
      picture after another.

    Raises:
      ValueError: the run is of something else.
    """
    names_of(run)
    size, predict = image_size(run), make_predict_step(run.setup)

    def batches(pictures: Sequence[np.ndarray]) -> Iterator[dict[str, Any]]:
        for start in range(0, len(pictures), batch_size):
            part = pictures[start : start + batch_size]
            # Of one shape, so that nothing is compiled anew.
            image = np.zeros((batch_size, *size, 3), np.uint8)
            image[: len(part)] = np.stack([fit_picture(picture, size) for picture in part])
            # `valid` lets the mesh fill the batch up where its devices do not divide it.
            batch: dict[str, np.ndarray] = {'image': image, 'valid': np.ones(batch_size, np.float32)}
            yield jax.device_get(predict(state, put_batch(batch, run.setup.mesh)))

    def find(pictures: Sequence[np.ndarray]) -> Iterator[Found]:
        for number, predictions in enumerate(batches(pictures)):
            for row, picture in enumerate(pictures[number * batch_size : (number + 1) * batch_size]):
                each = found_of(predictions, row, size, name=f'picture {number * batch_size + row}')
                each = choose(each) if choose else each
                sides = (picture.shape[0], picture.shape[1])
                yield dataclasses.replace(
                    each, masks=unfit(each.masks, sides), parts=unfit(each.parts, sides)
                )

    return find


def surest(found: Found, threshold: float, limit: int) -> Found:
    """What is sure enough to be shown.

    Args:
      found: the predictions.
      threshold: the least score of a relation.
      limit: the most relations.

    Returns:
      Those relations, best first, and the entities that they join or that score at least the threshold; the
      entities keep their order.
    """
    order = np.argsort(-found.triplet_scores, kind='stable')[:limit]
    order = order[found.triplet_scores[order] >= threshold]
    joined = np.isin(np.arange(len(found.scores)), found.triplets[order, :2])
    kept = (joined | (found.scores >= threshold)) & found.masks.any((1, 2))
    order = order[(kept[found.triplets[order, :2]] | (found.triplets[order, :2] == NOTHING)).all(1)]
    place = np.append(np.cumsum(kept, dtype=np.int32) - 1, np.int32(NOTHING))  # the last is that of NOTHING
    triplets = found.triplets[order].copy()
    triplets[:, :2] = place[triplets[:, :2]]
    return dataclasses.replace(
        found,
        masks=found.masks[kept],
        categories=found.categories[kept],
        scores=found.scores[kept],
        triplets=triplets,
        triplet_scores=found.triplet_scores[order],
        triplet_parts=found.triplet_parts[order],
    )
