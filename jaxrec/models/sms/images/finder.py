"""The predictions of a trained network for images, at the images' own sizes."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrec.data.images.geometry import fit_picture, unfit
from jaxrec.data.images.log import SceneLog
from jaxrec.data.images.scene import Vocabulary
from jaxrec.embeddings import make_row_optimizer
from jaxrec.evaluation.segmentation.found import NOTHING, Found, found_of
from jaxrec.models.sms.prior import PriorTask
from jaxrec.models.sms.task import SmsTask
from jaxrec.models.sms.weights.state_transfer import describe, load_network
from jaxrec.parallel import put_batch
from jaxrec.runs.build import Experiment
from jaxrec.training.state import Setup, TrainState
from jaxrec.training.step import make_predict_step

# Pictures -> what is found in each of them, made as it is asked for: masks at full size are large.
Finder = Callable[[Sequence[np.ndarray]], Iterable[Found]]


def names_of(run: Experiment) -> Vocabulary:
    """The names of a run's classes; a ValueError refuses a run of anything but a network that reads images."""
    task = run.setup.task
    if not isinstance(run.log, SceneLog) or not isinstance(task, SmsTask) or isinstance(task, PriorTask):
        raise ValueError(
            f'{type(task).__name__} on {run.log.folder} finds nothing in pictures: name a network of configs/sms'
        )
    return run.log.names


def image_size(run: Experiment) -> tuple[int, int]:
    """(H, W) of the images that a run's network reads."""
    given = run.data['image_size']
    return (given, given) if isinstance(given, int) else (int(given[0]), int(given[1]))


class Trained(NamedTuple):
    """A network ready for images.

    Attributes:
      setup: task and mesh.
      state: its parameters and batch statistics.
      size: (H, W) of the images that it reads.
      names: of its classes.
    """

    setup: Setup
    state: TrainState
    size: tuple[int, int]
    names: Vocabulary


def read_trained(path: str | Path, mesh: jax.sharding.Mesh) -> Trained:
    """Reads a network for a mesh from the file of `jaxrec sms export`; nothing else of its run is needed.

    Raises:
      ValueError: a file that is missing, damaged or of another kind.
    """
    described = describe(path)
    task = SmsTask(described.network, described.vocabulary)
    batch = {'image': jnp.zeros((1, *described.size, 3), jnp.uint8)}
    drawn = jax.eval_shape(task.init, jax.random.key(0), batch)
    empty = jax.tree.map(lambda array: np.zeros(array.shape, array.dtype), drawn)
    params, model_state, _ = load_network(path, task.network, task.vocabulary, *empty)
    setup = Setup(task, optax.identity(), make_row_optimizer('row_adagrad', 0.0), mesh)
    params, model_state = jax.device_put((params, model_state), jax.NamedSharding(mesh, jax.P()))
    state = TrainState(jnp.int32(0), params, model_state, {}, (), {}, jax.random.key(0), {})
    return Trained(setup, state, described.size, described.vocabulary)


def trained_of(run: Experiment, state: TrainState) -> Trained:
    """A run's network with the state of a checkpoint; a ValueError refuses a run without images."""
    names = names_of(run)
    return Trained(run.setup, state, image_size(run), names)


def make_finder(trained: Trained, batch_size: int = 4, choose: Callable[[Found], Found] | None = None) -> Finder:
    """Compiles a network for images of any size, which come back one after another.

    Args:
      trained: the network.
      batch_size: images at a time.
      choose: what is kept of an image, before its masks grow to the image's size; None keeps all.
    """
    setup, state, size, _ = trained
    predict = make_predict_step(setup)

    def batches(pictures: Sequence[np.ndarray]) -> Iterator[dict[str, Any]]:
        for start in range(0, len(pictures), batch_size):
            part = pictures[start : start + batch_size]
            # Of one shape, so that nothing is compiled anew.
            image = np.zeros((batch_size, *size, 3), np.uint8)
            image[: len(part)] = np.stack([fit_picture(picture, size) for picture in part])
            # `valid` lets the mesh fill the batch up where its devices do not divide it.
            batch: dict[str, np.ndarray] = {'image': image, 'valid': np.ones(batch_size, np.float32)}
            yield jax.device_get(predict(state, put_batch(batch, setup.mesh)))

    def find(pictures: Sequence[np.ndarray]) -> Iterator[Found]:
        for number, predictions in enumerate(batches(pictures)):
            for row, picture in enumerate(pictures[number * batch_size : (number + 1) * batch_size]):
                each = found_of(predictions, row, size, name=f'picture {number * batch_size + row}')
                each = choose(each) if choose else each
                sides = (picture.shape[0], picture.shape[1])
                yield dataclasses.replace(each, masks=unfit(each.masks, sides), parts=unfit(each.parts, sides))

    return find


def surest(found: Found, threshold: float, limit: int) -> Found:
    """The most confident relations, at most `limit` of at least `threshold`, best first, and their entities.

    Entities that score at least the threshold stay too; all keep their order.
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
