"""What is said of a folder of one's own images that is checked: what it holds, what is lost, what is next."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxrec.data.images.records import Findings
from jaxrec.data.images.scene import Vocabulary
from jaxrec.data.images.targets import TargetOptions
from jaxrec.models.sms.network.options import Network

# Of `jaxrec.models.sms.custom`.
BATCH = 8
TARGETS, NETWORK = TargetOptions(), Network()
UNMIRRORED = 'data.augment.flip=0'
SIDES = {'left': 'right', 'right': 'left', 'l': 'r', 'r': 'l'}
WORDS = re.compile(r'(?<![a-z])(?:left|right)(?![a-z])', re.IGNORECASE)
# What may say a side or not, as in 'l_hand' and 'leftover'.
SIGNS = re.compile(r'^(?:left|right)|(?<![a-z])[lr](?![a-z])', re.IGNORECASE)


class Advice(NamedTuple):
    """A line on what costs something, and the 'section.key=value' settings that avoid it."""

    text: str
    settings: tuple[str, ...] = ()


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
    counts = found.counts
    told = [*_lost(found), *_crowded(counts), *mirrored_wrongly(found.vocabulary)]
    lines = [each.text for each in told]
    lacking = [split for split in ('train', 'validation') if not counts[split]]
    if lacking:
        return [*lines, f'no image is for {" or ".join(lacking)}: give some of them that "split" to train']
    settings = dict.fromkeys(setting for each in told for setting in each.settings)
    if counts['train'] < BATCH:
        settings[f'train.batch_size={counts["train"]}'] = None
    log = shlex.quote(f'--log={folder}')
    command = ['next: jaxrec train --model=SMS', log, '--workdir=runs/mine', *map(_flag, settings)]
    return [*lines, ' '.join(command)]


def _flag(setting: str) -> str:
    return f'--set={setting}'


def _lost(found: Findings) -> list[Advice]:
    """What is said in the folder and is not learned, or not as it was meant."""
    counts, told = found.counts, []
    if counts['of others']:
        any_subject = 'model.any_subject=True'
        text = (
            f'{counts["of others"]} relations have a subject that is no {found.vocabulary.person}: they are '
            f'learned with {_flag(any_subject)} alone, and missed else'
        )
        told.append(Advice(text, (any_subject,)))
    if counts['turned']:
        text = (
            f'{counts["turned"]} pictures are marked by their camera as turned, and are read upright: their '
            'masks must be drawn so (--output shows it)'
        )
        told.append(Advice(text))
    if counts['unlisted']:
        text = (
            f'{counts["unlisted"]} ids of instance PNGs are listed as no entity: what is drawn there is '
            'learned as background; list them, unless it is'
        )
        told.append(Advice(text))
    if counts['validation'] and not counts['of validation']:
        text = (
            'no image for validation has a relation: recall is not a number there, and no checkpoint is '
            'better than another by it'
        )
        told.append(Advice(text))
    return told


def _crowded(counts: Mapping[str, int]) -> list[Advice]:
    """Images that hold more than a batch, or than a network gives."""
    told = []
    for name, room, gives, fields in (
        ('entities', TARGETS.entities, NETWORK.keep, ('keep',)),
        ('relations', TARGETS.relations, NETWORK.triplets, ('points', 'triplets')),
    ):
        most = counts[f'{name} in one image at most']
        settings: tuple[str, ...] = (f'data.{name}={most}',) if most > room else ()
        if most > gives:
            settings += tuple(f'model.{field}={most}' for field in fields)
        if settings:
            text = (
                f'an image has {most} {name}, of which a batch holds {room} and a network gives {gives}: '
                f'train with {" ".join(map(_flag, settings))}, else the others count as missed'
            )
            told.append(Advice(text, settings))
    return told


def mirrored_wrongly(names: Vocabulary) -> list[Advice]:
    """Names of sides that stay as they are when training mirrors a picture; a line for each kind."""
    paired = {part for pair in names.mirrored for part in pair}
    told = []
    if parts := [part for part in _of_sides(names.parts) if part not in paired]:
        text = (
            f'parts {", ".join(parts)} say left or right and stand in no pair of "mirrored": training '
            'mirrors half of the pictures and takes one for the other; write the pairs, or train with '
            f'{_flag(UNMIRRORED)}'
        )
        told.append(Advice(text, (UNMIRRORED,)))
    for kind in ('entities', 'relations'):
        if sided := _of_sides(getattr(names, kind)):
            text = (
                f'{kind} {", ".join(sided)} say left or right, and in the half of the pictures that '
                f'training mirrors they are wrong: train with {_flag(UNMIRRORED)}'
            )
            told.append(Advice(text, (UNMIRRORED,)))
    return told


def _of_sides(names: Sequence[str]) -> list[str]:
    """Names that say left or right in a word, or by a sign where the list has the other side too."""
    known = {name.lower() for name in names}
    return [name for name in names if WORDS.search(name) or _by_a_sign(name) in known]


def _by_a_sign(name: str) -> str:
    """The name of the other side; nothing where no sign says that it is one of two."""
    other = SIGNS.sub(lambda sign: SIDES[sign.group().lower()], name.lower())
    return '' if other == name.lower() else other
