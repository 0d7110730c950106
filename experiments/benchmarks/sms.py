"""SMS at the size of its paper's speed: inference on single images, training, and rendered scenes.

The paper (arXiv 2105.11168) has 141 classes, 23 relations, 25 parts and images of 512 x 512. All three branches and
fusion are on. Weights are random: the amount of computation is the same.

B batch, N entities, R relations.
"""

import itertools
from typing import Any

import jax
import numpy as np

from experiments.benchmarks.steps import count, make_setup, start, train_record
from jaxrec.data.images.scene import Vocabulary
from jaxrec.data.simulators.scenes import World, simulate_scene
from jaxrec.models.sms import make_task
from jaxrec.models.sms.network.backbones import STRIDE
from jaxrec.models.sms.network.options import Network
from jaxrec.models.sms.task import SmsTask
from jaxrec.parallel import put_batch
from jaxrec.parallel.peak_memory import peak_mb
from jaxrec.runs.timing import measure, record
from jaxrec.training.step import make_predict_step

CLASSES, RELATIONS, PARTS = 141, 23, 25
SIZE, TRAIN_SIZE, BATCH, SCENE = 512, 256, 8, 128
ENTITIES, PAIRS = (48, 12), (64, 12)  # rows of a batch, and how many of them an image fills
NETWORK: dict[str, Any] = {'size': 'full', 'read_stride': 2}
Batch = dict[str, np.ndarray]


def build_task(trunk: str, **options: Any) -> SmsTask:
    """The network of the paper's vocabulary on a trunk."""
    names = lambda kind, number: tuple(f'{kind} {i}' for i in range(number))
    words = Vocabulary(('person', *names('class', CLASSES - 1)), names('relation', RELATIONS), names('part', PARTS))
    return make_task(NETWORK | {'trunk': trunk} | options, words)


def infer(name: str, trunk: str = 'dla34', **options: Any) -> dict[str, Any]:
    """Times images one by one, from uint8 pixels to triplets, masks and part map on the host."""
    idle, task = peak_mb(), build_task(trunk, **options)
    setup, draw = make_setup(task, rate=1e-4), np.random.default_rng(0)
    images = [{'image': draw.integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)} for _ in range(4)]
    state = start(setup, images[0])
    predict, turns = make_predict_step(setup), itertools.cycle(images)

    def call() -> Any:
        return jax.device_get(predict(state, put_batch(next(turns), setup.mesh)))

    timed = measure(call, lambda: None)
    return record(name, described(task.network, 1, SIZE), count(state), timed, 1, idle)


def train(name: str, trunk: str = 'dla34') -> dict[str, Any]:
    """Times training steps with clipping and Adam."""
    idle, task = peak_mb(), build_task(trunk)
    setup, batches = make_setup(task, rate=1e-4), make_batches(task.network)
    return train_record(name, described(task.network, BATCH, TRAIN_SIZE), setup, batches, BATCH, idle)


def render(name: str) -> dict[str, Any]:
    """Times the renderer of simulated scenes, one after another."""
    idle, world, numbers = peak_mb(), World(size=SCENE), itertools.count()
    timed = measure(lambda: simulate_scene(world, 0, next(numbers), False), lambda: None)
    return record(name, f'{SCENE}x{SCENE} pixels, one process', 0, timed, 1, idle)


def make_batches(network: Network, number: int = 4) -> list[Batch]:
    """Draws host batches of noise, in which boxes stand for masks."""
    return [_draw(np.random.default_rng(seed), network.fine_stride) for seed in range(number)]


def _draw(draw: np.random.Generator, fine: int) -> Batch:
    (entities, some), (relations, few) = ENTITIES, PAIRS
    cells, places = TRAIN_SIZE // STRIDE, TRAIN_SIZE // fine
    centre = draw.uniform(0, cells, (BATCH, entities, 2)).astype(np.float32)
    extent = draw.uniform(1, cells / 3, centre.shape).astype(np.float32)
    category = draw.integers(0, CLASSES, (BATCH, entities)).astype(np.int32)
    category[:, ::2] = 0  # people, who are subjects
    # Places of the masks that lie within half an extent of the centre, along either axis.
    away = np.abs((np.arange(places) + 0.5) * fine / STRIDE - centre[..., None])  # [B, N, 2, places]
    inside = away <= extent[..., None] / 2
    numbers = lambda most: draw.integers(0, most, (BATCH, relations)).astype(np.int32)
    subject = 2 * numbers(some // 2)
    return {
        'image': draw.integers(0, 256, (BATCH, TRAIN_SIZE, TRAIN_SIZE, 3), np.uint8),
        'valid': np.ones(BATCH, np.float32),
        'entity/centre': centre,
        'entity/size': extent,
        'entity/middle': centre,
        'entity/category': category,
        'entity/valid': np.broadcast_to(np.arange(entities) < some, (BATCH, entities)),
        'entity/mask': (inside[:, :, 0, :, None] & inside[:, :, 1, None]).astype(np.uint8),
        'relation/subject': subject,
        'relation/object': (subject + 1 + numbers(some - 1)) % some,
        'relation/category': numbers(RELATIONS),
        'relation/parts': draw.integers(0, 2, (BATCH, relations, PARTS)).astype(np.uint8),
        'relation/valid': np.broadcast_to(np.arange(relations) < few, (BATCH, relations)),
        'part': draw.integers(0, PARTS + 1, (BATCH, places, places)).astype(np.uint8),
    }


def described(network: Network, batch: int, size: int) -> str:
    """Sizes, in words."""
    return (
        f'B{batch} {size}x{size} {network.trunk} heads{network.hidden} C{CLASSES} V{RELATIONS} P{PARTS} {network.keep} '
        f'masks 1/{network.read_stride} {network.points} points {network.triplets} triplets {network.dtype}'
    )
