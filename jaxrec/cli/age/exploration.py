"""Measures where a policy explores: at items that it knows little of, or elsewhere.

    jaxrec age exploration --model=AGE-TS --log=simulated --workdir=runs/age_where

Replays the stream, then ranks its last visits several times with other keys, and sorts all candidates by how many of
the events that the last refit could see were theirs. A bandit moves most the scores of those that it has hardly met.
The workdir takes `exploring.json` and `exploring.png`.
"""

from pathlib import Path

from absl import flags

from jaxrec.cli.configs import given_config
from jaxrec.cli.flags import DATA_DIR, friendly

WORKDIR = flags.DEFINE_string('workdir', None, 'Takes the table and the picture.', required=True)
DRAWS = flags.DEFINE_integer('draws', 8, 'How often the visits are ranked.', lower_bound=1)


@friendly
def main(_: list[str]) -> None:
    """Walks, ranks and prints."""
    from jaxrec.models.age.online.exploration import draw, explored, to_text
    from jaxrec.models.age.replay.replayer import walk
    from jaxrec.runs.comparison.tables import write_json
    from jaxrec.runs.workdir import claim, hold

    workdir, config = Path(WORKDIR.value), given_config('jaxrec age replay')
    with hold(workdir):
        claim(workdir, config)
        done = walk(config, workdir, DATA_DIR.value)
        groups = explored(done, DRAWS.value, config.seed)
        write_json(workdir / 'exploring.json', {'policy': config.policy, 'groups': groups})
        draw(config.policy, groups, workdir / 'exploring.png')
    print(to_text(config.policy, groups))
    print(f'wrote {workdir}/exploring.json, exploring.png')
