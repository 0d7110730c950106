"""Replays one policy on a randomly logged stream (arXiv 2112.11136, section 4; Li et al., arXiv 1003.5956).

    jaxrec age replay --model=AGE-TS --log=simulated --workdir=runs/age_ts
    jaxrec age replay --config=configs/age/yahoo.py:AGE-TS --workdir=runs/age_r6b
    jaxrec age replay --config=configs/age/open_bandit.py:AGE-TS --workdir=runs/age_obd

The first visits train the model that every method starts from. In the rest a click counts and may teach where the pick
is what was shown. The same command resumes a stopped run from its last checkpoint, and it ends as an unbroken one. The
workdir takes `replay.json`, `config.json` and `checkpoints/`. Where the log's propensities differ, and with
--config.replay.off_policy=True of any log, the policy as the warm-up left it is also evaluated by IPS, SNIPS, the
direct method and doubly robust.
"""

from pathlib import Path

from absl import flags

from jaxrec.cli.configs import given_config
from jaxrec.cli.flags import DATA_DIR, friendly

WORKDIR = flags.DEFINE_string('workdir', None, 'Takes all that the run writes.', required=True)


@friendly
def main(_: list[str]) -> None:
    """Replays, and prints what came of it."""
    from jaxrec.models.age.replay.replayer import report, to_text, walk
    from jaxrec.runs.comparison.tables import write_json
    from jaxrec.runs.workdir import claim, hold

    workdir, config = Path(WORKDIR.value), given_config('jaxrec age replay')
    with hold(workdir):
        claim(workdir, config)
        done = walk(config, workdir, DATA_DIR.value)
        found = report(config, done)
        write_json(workdir / 'replay.json', found)
    print(to_text(config.policy, found))
    print(f'wrote {workdir}/replay.json, config.json, checkpoints')
