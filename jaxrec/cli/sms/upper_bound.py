"""What a network that errs nowhere finds of a config's own images: the ceiling of its table.

    jaxrec sms upper-bound --config=configs/sms/scenes.py:SMS
    jaxrec sms upper-bound --config=configs/sms/own.py:SMS,album --part=validation

Maps are painted from the truth and decoded as the config's network would be, with relation points where it
has them and with PPDM's midpoints. What is lost is lost to cells: masks coarser than pixels, two things on
one place, peaks that suppress their neighbours, a relation and its mirror image on one point. Masks are as
fine as they are learned, at a stride of 4 at the coarsest, also where the map behind them is coarser.
"""

from absl import app, flags
from ml_collections import config_flags

from jaxrec.cli.flags import ANY_KEY, DATA_DIR, friendly, read_flags
from jaxrec.models.sms.upper_bound import SHOWN, ceilings
from jaxrec.runs.build import build
from jaxrec.runs.comparison.tables import side_by_side

CONFIG = config_flags.DEFINE_config_file('config', **ANY_KEY)
PART = flags.DEFINE_enum('part', 'test', ['train', 'validation', 'test'], 'Which part of the log.')


@friendly
def main(_: list[str]) -> None:
    """Decodes perfect maps and prints what they hold."""
    run = build(CONFIG.value, DATA_DIR.value, (1, 1))
    found = {where: evaluator.compute() for where, evaluator in ceilings(run, PART.value).items()}
    first = next(iter(found.values()))
    counts = ', '.join(f'{first[name]:.0f} {name}' for name in ('images', 'entities', 'relations'))
    print(f'\n{PART.value}: {counts}')
    print(side_by_side({where: {name: told[name] for name in SHOWN} for where, told in found.items()}))


if __name__ == '__main__':
    app.run(main, flags_parser=read_flags)
