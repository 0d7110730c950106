"""Trains OneRec's reward model, calibrates it on validation and evaluates it on test; then it may judge.

    jaxrec onerec reward --log=simulated --workdir=runs/onerec/reward

It learns from all sessions that were shown (arXiv 2502.18965, section 3.3). Prints the AUC of each head,
beside that of the true expected labels where the world is simulated, and log-loss and PCOC before and after
calibration. The workdir takes what `jaxrec train` writes, `calibration.npz` and `reward.json`.
"""

from pathlib import Path

from absl import flags

from jaxrec.cli.configs import given_config
from jaxrec.cli.flags import DATA_DIR, MESH, friendly, parse_mesh

WORKDIR = flags.DEFINE_string('workdir', None, 'Takes all that the run writes.', required=True)


@friendly
def main(_: list[str]) -> None:
    """Trains, calibrates, evaluates, and says what came of it."""
    from jaxrec.models.onerec.reward.train import fit_reward, to_text

    workdir = Path(WORKDIR.value)
    print(
        to_text(
            fit_reward(given_config('jaxrec onerec reward', 'reward'), workdir, DATA_DIR.value, parse_mesh(MESH.value))
        )
    )
    print(f'wrote {workdir}/checkpoints, calibration.npz, reward.json, metrics.jsonl')
    print(f'next: jaxrec onerec align --reward={workdir} --generator=<workdir of a generator>')
