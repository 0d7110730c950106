"""Align a generator with the preferences of a reward model (arXiv 2502.18965, Algorithm 2).

    jaxrec onerec align --generator=runs/ntp --reward=runs/reward --workdir=runs/ipa --method=ipa

Methods: `ipa` (DPO against the last snapshot, in several iterations), `dpo`, `ipo`, `cdpo`, `rdpo`, `cpo`, `simpo` or
`sdpo` (against the generator as it came), or `ntp`, which continues without preferences for as many steps on the same
batches. The workdir takes what `jaxrec train` writes, and under `align/` the pair logs. Stopped anywhere, in mining or
training, the same command resumes and ends equal.
"""

from pathlib import Path

from absl import flags

from jaxrec.cli.configs import given_config
from jaxrec.cli.flags import DATA_DIR, MESH, friendly, parse_mesh

GENERATOR = flags.DEFINE_string('generator', None, 'Workdir of the model that is aligned.', required=True)
REWARD = flags.DEFINE_string('reward', None, 'Workdir of `jaxrec onerec reward`.', required=True)
METHOD = flags.DEFINE_string('method', 'ipa', 'ipa, dpo, ipo, cdpo, rdpo, cpo, simpo, sdpo or ntp.')
WORKDIR = flags.DEFINE_string('workdir', None, 'Takes all that the run writes.', required=True)


@friendly
def main(_: list[str]) -> None:
    """Runs the iterations, and says what they mined."""
    from jaxrec.models.onerec.alignment.iterations import align
    from jaxrec.models.onerec.alignment.setup import prepare
    from jaxrec.models.onerec.stages import align_config

    workdir, places = Path(WORKDIR.value), (Path(GENERATOR.value), Path(REWARD.value))
    pieces = prepare(
        given_config('jaxrec onerec align', default=lambda: align_config(METHOD.value)),
        *places,
        DATA_DIR.value,
        parse_mesh(MESH.value),
    )
    for number, told in enumerate(align(pieces, workdir, DATA_DIR.value), 1):
        print(
            f'iteration {number}: {told["pairs"]:.0f} pairs of {told["requests"]:.0f} requests, reward of '
            f'winners {told["winner"]:.4f}, of losers {told["loser"]:.4f}, of all {told["mean"]:.4f}'
        )
    print(f'wrote {workdir}/checkpoints, metrics.jsonl, curves.png, config.json, align/')
