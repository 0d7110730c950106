"""What is said of a folder of one's own images that is checked: what it holds, what is lost, what is next."""

import re
import shlex

from jaxrec.data.images.records import Findings
from jaxrec.data.images.scene import Vocabulary
from jaxrec.data.images.targets import TargetOptions

BATCH = 8  # of configs/sms/own.py
_TARGETS = TargetOptions()
ROOM = {'entities': _TARGETS.entities, 'relations': _TARGETS.relations}
UNMIRRORED = '--config.data.augment.flip=0'


def summary(found: Findings) -> str:
    """What a folder holds: its counts, then each list of names by how often they occur, the rarest last."""
    counts = found.counts
    lines = [
        f'{counts["images"]} images: {counts["broken"]} broken, {counts["without people"]} without people, '
        f'{counts["without relations"]} without relations',
        f'{counts["entities"]} entities, {counts["people"]} of them people; {counts["relations"]} relations',
    ]
    for kind, uses in found.uses.items():
        names = sorted(uses, key=lambda name: -uses[name])
        if names:
            lines.append(f'  {kind}: ' + ', '.join(f'{name} {uses[name]}' for name in names))
    return '\n'.join(lines)


def advice(found: Findings, folder: str) -> list[str]:
    """What is no mistake and yet costs something, and what comes next; a line each."""
    counts, lines = found.counts, []
    if counts['of others']:
        lines.append(
            f'{counts["of others"]} relations have a subject that is no {found.vocabulary.person}: they are '
            'learned with --config.model.any_subject=True alone, and missed else'
        )
    if counts['turned']:
        lines.append(
            f'{counts["turned"]} pictures are marked by their camera as turned, and are read upright: their '
            'masks must be drawn so (--output shows it)'
        )
    if counts['validation'] and not counts['of validation']:
        lines.append(
            'no image for validation has a relation: recall is not a number there, and no checkpoint is '
            'better than another by it'
        )
    for name, room in ROOM.items():
        if (most := counts[f'{name} in one image at most']) > room:
            lines.append(
                f'an image has {most} {name}, and a batch room for {room} of each: train with '
                f'--config.data.{name}={most}, else the others are not learned and count as missed'
            )
    lines += mirrored_wrongly(found.vocabulary)
    lacking = [split for split in ('train', 'validation') if not counts[split]]
    if lacking:
        return [*lines, f'no image is for {" or ".join(lacking)}: give some of them that "split" to train']
    config = shlex.quote(f'--config=configs/sms/own.py:SMS,{folder}')
    command = f'python -m experiments.train {config} --workdir=runs/mine'
    if counts['train'] < BATCH:
        command += f' --config.train.batch_size={counts["train"]}'
    return [*lines, f'next: {command}']


def mirrored_wrongly(names: Vocabulary) -> list[str]:
    """Names of sides that stay as they are when training mirrors a picture; a line for each kind."""
    told = {part for pair in names.mirrored for part in pair}
    sides = {part: _other_side(part) for part in names.parts if part not in told}
    parts = [part for part, other in sides.items() if other != part and other in names.parts]
    relations = [name for name in names.relations if _other_side(name) != name]
    lines = []
    if parts:
        lines.append(
            f'parts {", ".join(parts)} say left or right and stand in no pair of "mirrored": training '
            'mirrors half of the pictures and takes one for the other; write the pairs, or train with '
            f'{UNMIRRORED}'
        )
    if relations:
        lines.append(
            f'relations {", ".join(relations)} say left or right, and in the half of the pictures that '
            f'training mirrors they are wrong: train with {UNMIRRORED}'
        )
    return lines


def _other_side(name: str) -> str:
    """A name with left and right changed; itself if it has neither."""
    swap = {'left': 'right', 'right': 'left', 'Left': 'Right', 'Right': 'Left'}
    words = re.split(r'(?<![a-z])([lL]eft|[rR]ight)(?![a-z])', name)
    return ''.join(swap.get(word, word) for word in words)
