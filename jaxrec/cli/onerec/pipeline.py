"""OneRec from a log to an aligned generator, in one command (arXiv 2502.18965).

    jaxrec onerec pipeline --log=simulated --workdir=runs/onerec

Tokenizes the items, trains the generator, the reward model and every alignment of `methods`, among them
`ntp`, which goes on without preferences for as many steps, and judges what each writes for test requests: by
the reward model, and by the users' true expected rewards where the world is simulated. A stage that is
finished is not run again, one that was stopped goes on; sessions are judged anew. The workdir takes
`table.md`, `table.json` and the stages' own.
"""

from pathlib import Path

from absl import flags

from jaxrec.cli.configs import given_config
from jaxrec.cli.flags import DATA_DIR, MESH, friendly, parse_mesh

WORKDIR = flags.DEFINE_string('workdir', None, 'Takes the stages and the table.', required=True)


@friendly
def main(_: list[str]) -> None:
    """Runs the pipeline and prints the table."""
    from jaxrec.models.onerec.custom import pipeline_on_log
    from jaxrec.models.onerec.pipeline import run_pipeline
    from jaxrec.models.onerec.simulated import pipeline_config

    workdir = Path(WORKDIR.value)
    run_pipeline(
        given_config('jaxrec onerec pipeline', default=pipeline_config, on_log=pipeline_on_log),
        workdir,
        DATA_DIR.value,
        parse_mesh(MESH.value),
    )
    print((workdir / 'table.md').read_text())
    print(f'wrote {workdir}/table.md, table.json, seconds.json and a folder for each stage')
