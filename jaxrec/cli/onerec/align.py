r"""Aligns a generator with the preferences of a reward model (arXiv 2502.18965, Algorithm 2).

    jaxrec onerec align --config=configs/onerec/align.py:ipa \
        --generator=runs/onerec/ntp --judge=runs/onerec/reward --workdir=runs/onerec/ipa

After the colon stands the method: `ipa` (DPO against the last snapshot, in several iterations), `dpo`, `ipo`,
`cdpo`, `rdpo`, `cpo`, `simpo` or `sdpo` (against the generator as it came), or `ntp`, which goes on without
preferences for as many steps on the same batches. The workdir takes what `jaxrec.cli.train` writes, and
under `align/` the pair logs. Stopped anywhere, in mining or training, the same command goes on to the same
end.
"""

from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from jaxrec.cli.flags import ANY_KEY, DATA_DIR, MESH, friendly, parse_mesh, read_flags
from jaxrec.models.onerec.alignment.iterations import align
from jaxrec.models.onerec.alignment.setup import prepare

CONFIG = config_flags.DEFINE_config_file('config', **ANY_KEY)
GENERATOR = flags.DEFINE_string('generator', None, 'Workdir of the model that is aligned.', required=True)
JUDGE = flags.DEFINE_string('judge', None, 'Workdir of jaxrec.cli.onerec.reward.', required=True)
WORKDIR = flags.DEFINE_string('workdir', None, 'Takes all that the run writes.', required=True)


@friendly
def main(_: list[str]) -> None:
    """Runs the iterations, and says what they mined."""
    workdir, places = Path(WORKDIR.value), (Path(GENERATOR.value), Path(JUDGE.value))
    pieces = prepare(CONFIG.value, *places, DATA_DIR.value, parse_mesh(MESH.value))
    for number, told in enumerate(align(pieces, workdir, DATA_DIR.value), 1):
        print(
            f'iteration {number}: {told["pairs"]:.0f} pairs of {told["requests"]:.0f} requests, reward of '
            f'winners {told["winner"]:.4f}, of losers {told["loser"]:.4f}, of all {told["mean"]:.4f}'
        )
    print(f'wrote {workdir}/checkpoints, metrics.jsonl, curves.png, config.json, align/')


if __name__ == '__main__':
    app.run(main, flags_parser=read_flags)
