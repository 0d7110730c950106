"""The metric of the Person in Context challenge of a run: from pictures to files, from files to figures."""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tqdm

from jaxrec.data.images.log import SceneLog
from jaxrec.data.images.scene import Vocabulary
from jaxrec.data.readers.images.pic import PicScenes
from jaxrec.data.readers.images.pic_lists import SKIPPED
from jaxrec.evaluation.segmentation.challenge import SIZE, ChallengeScore, evaluate_challenge
from jaxrec.evaluation.segmentation.challenge_files import PicPredictions, Written
from jaxrec.evaluation.segmentation.found import Found
from jaxrec.models.sms.images.finder import Finder
from jaxrec.runs.build import Experiment

log = logging.getLogger(__name__)


class Split(NamedTuple):
    """A split of the set as the network sees it, and as the challenge's script does.

    Attributes:
      pictures: at their own sizes, under the network's names.
      truth: masks at the size of the metric, all names, each relation as often as it is listed.
    """

    pictures: PicScenes
    truth: PicScenes


def open_split(run: Experiment, split: str = 'val', skip: Sequence[str] = ()) -> Split:
    """Opens the set that a run was trained on, without `skip` (names without ending) and `pic_lists.SKIPPED`.

    Raises:
      ValueError: the run was trained on something else, or files are missing.
    """
    if not isinstance(run.log, SceneLog) or not isinstance(run.log.reader, PicScenes):
        raise ValueError(
            f'{run.log.folder} is no log of Person in Context, to which the metric belongs: see configs/sms/pic.py'
        )
    own = {**run.log.manifest['arguments'], 'split': split, 'size': None}
    own['skip'] = (*SKIPPED[own['edition']], *skip)
    counted = {'size': SIZE, 'category': 'max', 'images': False, 'every': True}
    every_name = {'entities': None, 'relations': None, 'parts': ()}
    return Split(PicScenes(**own), PicScenes(**{**own, **counted, **every_name}))


def find_all(pictures: PicScenes, find: Finder) -> Iterator[tuple[str, Found]]:
    """What a network finds in each picture; one that cannot be read and may be left out holds nothing."""
    bar = tqdm.tqdm(pictures.names, unit=' images', disable=not sys.stderr.isatty(), dynamic_ncols=True)
    for number, name in enumerate(bar):
        try:
            picture = pictures[number].image
        except ValueError as error:
            if pictures.irregular == 'refuse':
                raise
            log.warning('nothing is found in %s: %s', name, error)
            yield name, _nothing()
        else:
            (found,) = find([picture])
            yield name, found


def judge_files(truth: PicScenes, written: Written) -> dict[str, ChallengeScore]:
    """The metric of predictions in files; see `evaluate_challenge`."""
    names = truth.vocabulary
    geometric = {names.relations.index(name) for name in names.geometric}
    return evaluate_challenge(PicPredictions(truth, *written), geometric, len(names.relations))


def to_text(scores: Mapping[str, ChallengeScore], names: Vocabulary) -> str:
    """Formats the metric: a line for each rule and threshold, one for each relation that occurs, the final figures."""
    lines = [f'{"":28}{"geometric":>10}{"other":>10}{"mean":>10}']
    for rule, score in scores.items():
        for t in score.at:
            row = (score.geometric[t], score.other[t], score.at[t])
            lines.append(f'{f"{rule}, IoU {t}":28}' + ''.join(f'{value:10.4f}' for value in row))
    official = scores['official']
    lines.append(f'{"recall of":28}' + ''.join(f'{f"IoU {t}":>10}' for t in official.at))
    for kind in sorted({kind for each in official.relations.values() for kind in each}):
        values = [each[kind] for each in official.relations.values()]
        lines.append(f'  {names.relations[kind]:26}' + ''.join(f'{value:10.4f}' for value in values))
    return '\n'.join([*lines, *(f'{rule}: {score.final:.4f}' for rule, score in scores.items())])


def _nothing() -> Found:
    """No prediction at all, in an image of one pixel, since its size is not known."""
    return Found(
        masks=np.zeros((0, 1, 1), bool),
        categories=np.zeros(0, np.int32),
        scores=np.zeros(0, np.float32),
        triplets=np.zeros((0, 3), np.int32),
        triplet_scores=np.zeros(0, np.float32),
        triplet_parts=np.zeros((0, 0), bool),
        parts=np.zeros((1, 1), np.uint8),
    )
