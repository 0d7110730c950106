"""OneRec from a log to an aligned generator, in one command (arXiv 2502.18965).

    jaxrec onerec pipeline --config=configs/onerec/pipeline.py --workdir=runs/onerec

Tokenizes the items, trains the generator, the reward model and every alignment of `methods`, among them
`ntp`, which goes on without preferences for as many steps, and judges what each writes for test requests: by
the reward model, and by the users' true expected rewards where the world is simulated. A stage that is
finished is not run again, one that was stopped goes on; sessions are judged anew. The workdir takes
`table.md`, `table.json` and the stages' own.
"""

from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from jaxrec.cli.flags import ANY_KEY, DATA_DIR, MESH, friendly, parse_mesh, read_flags
from jaxrec.models.onerec.pipeline import run_pipeline

CONFIG = config_flags.DEFINE_config_file('config', **ANY_KEY)
WORKDIR = flags.DEFINE_string('workdir', None, 'Takes the stages and the table.', required=True)


@friendly
def main(_: list[str]) -> None:
    """Runs the pipeline and prints the table."""
    workdir = Path(WORKDIR.value)
    run_pipeline(CONFIG.value, workdir, DATA_DIR.value, parse_mesh(MESH.value))
    print((workdir / 'table.md').read_text())
    print(f'wrote {workdir}/table.md, table.json, seconds.json and a folder for each stage')


if __name__ == '__main__':
    app.run(main, flags_parser=read_flags)
