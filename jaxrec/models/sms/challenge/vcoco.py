"""Role AP of a run on V-COCO: who is judged, and what is told."""

import sys
from collections.abc import Sequence

import numpy as np
import tqdm

from jaxrec.data.images.log import SceneLog
from jaxrec.data.images.scene import Vocabulary
from jaxrec.data.readers.images.vcoco import VcocoScenes
from jaxrec.data.sources.splits import PARTS
from jaxrec.evaluation.segmentation.role_ap import SCENARIOS, Judged, judge_roles, role_ap
from jaxrec.models.sms.images.finder import Finder
from jaxrec.runs.build import Experiment


def judge_part(run: Experiment, find: Finder, part: str) -> list[Judged]:
    """Evaluates what a network finds in the images of a part.

    Raises:
      ValueError: the log is of another data set, or has no image of that part.
    """
    log = run.log
    if not isinstance(log, SceneLog) or not isinstance(log.reader, VcocoScenes):
        raise ValueError(f'{log.folder} is no log of V-COCO, to whose agents role AP belongs: see configs/sms/vcoco.py')
    events = log.events
    numbers = np.asarray(events['number'])[np.asarray(events['part']) == PARTS[part]].tolist()
    if not numbers:
        raise ValueError(f'{log.folder} has no images of part {part!r}: name another part')
    person, judged = log.names.entities.index(log.names.person), []
    for number in tqdm.tqdm(numbers, unit=' images', disable=not sys.stderr.isatty(), dynamic_ncols=True):
        scene, agents = log.reader.with_agents(number)
        (found,) = find([scene.image])
        judged.append(judge_roles(scene, agents, found, person))
    return judged


def to_text(judged: Sequence[Judged], names: Vocabulary) -> str:
    """Formats role AP: a line for each action that occurs, and their mean, in both scenarios.

    Raises:
      ValueError: nobody does anything.
    """
    of = {scenario: role_ap(judged, len(names.relations), scenario) for scenario in SCENARIOS}
    width = max(map(len, (*names.relations, 'role AP')))
    lines = [f'{"":{width}}  ' + '  '.join(f'scenario {scenario}' for scenario in SCENARIOS)]
    for kind, name in enumerate(names.relations):
        if np.isfinite(of[SCENARIOS[0]][kind]):
            lines.append(f'{name:{width}}  ' + '  '.join(f'{of[s][kind]:10.4f}' for s in SCENARIOS))
    means = '  '.join(f'{np.nanmean(of[scenario]):10.4f}' for scenario in SCENARIOS)
    return '\n'.join([*lines, f'{"role AP":{width}}  {means}'])
