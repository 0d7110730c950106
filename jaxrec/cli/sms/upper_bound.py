"""The upper bound of a config's network on its own images: perfect maps, decoded.

    jaxrec sms upper-bound --log=simulated
    jaxrec sms upper-bound --model=SMS --log=album --part=validation

Maps are painted from the ground truth and decoded as the config's network would be, with its relation points and with
PPDM's midpoints. What is lost is lost to cells: masks coarser than pixels, two things on one place, peaks that suppress
their neighbours, a relation and its mirror image on one point. Masks are at the stride of their targets, at most 4.
"""

from absl import flags

from jaxrec.cli.configs import given_config
from jaxrec.cli.flags import DATA_DIR, friendly

PART = flags.DEFINE_enum('part', 'test', ['train', 'validation', 'test'], 'Which part of the log.')


@friendly
def main(_: list[str]) -> None:
    """Decodes perfect maps and prints what they hold."""
    from jaxrec.models.sms.upper_bound import SHOWN, ceilings
    from jaxrec.runs.build import build
    from jaxrec.runs.comparison.tables import side_by_side

    run = build(given_config('jaxrec train', 'SMS'), DATA_DIR.value, (1, 1))
    found = {where: evaluator.compute() for where, evaluator in ceilings(run, PART.value).items()}
    first = next(iter(found.values()))
    counts = ', '.join(f'{first[name]:.0f} {name}' for name in ('images', 'entities', 'relations'))
    print(f'\n{PART.value}: {counts}')
    print(side_by_side({where: {name: told[name] for name in SHOWN} for where, told in found.items()}))
