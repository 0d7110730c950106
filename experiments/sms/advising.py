"""What is said of a folder of one's own images that is checked: what it holds, what is lost, what is next."""

from jaxrec.data.images.records import Findings

BATCH = 8  # of configs/sms/own.py


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
            f'{counts["of others"]} relations have a subject that is no {found.person}: they are learned '
            'with --config.model.any_subject=True alone, and missed else'
        )
    if counts['turned']:
        lines.append(
            f'{counts["turned"]} pictures are marked by their camera as turned, and are read upright: their '
            'masks must be drawn so (--output shows it)'
        )
    lacking = [split for split in ('train', 'validation') if not counts[split]]
    if lacking:
        return [*lines, f'no image is for {" or ".join(lacking)}: give some of them that "split" to train']
    command = f'python -m experiments.train --config=configs/sms/own.py:SMS,{folder} --workdir=runs/mine'
    if counts['train'] < BATCH:
        command += f' --config.train.batch_size={counts["train"]}'
    return [*lines, f'next: {command}']
