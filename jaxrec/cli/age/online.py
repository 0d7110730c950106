"""AGE's online experiment (arXiv 2112.11136, section 5.3), simulated: does exploring make a better model?

    jaxrec age online --workdir=runs/age_online
    jaxrec age online --workdir=runs/tuning --first_seed=1000

Bucket D explores and C does not; A and B serve without exploring, A by a model that learns from the common traffic and
C, B by one that learns from the common traffic and D. B is compared with A, see `jaxrec.models.age.online.buckets`.
Each seed is another world, another cut of its users and other models; a finished one is not run again. The workdir
takes `table.md`, `table.json`, `ctr.png`, `config.json` and the seeds.
"""

from pathlib import Path

from absl import flags

from jaxrec.cli.configs import given_config
from jaxrec.cli.flags import DATA_DIR, friendly

WORKDIR = flags.DEFINE_string('workdir', None, 'Takes the table and its seeds.', required=True)
SEEDS = flags.DEFINE_integer('seeds', 5, 'How many seeds.', lower_bound=1)
FIRST_SEED = flags.DEFINE_integer('first_seed', 0, 'The first of them.', lower_bound=0)


@friendly
def main(_: list[str]) -> None:
    """Runs the seeds that are not finished, and writes and prints the table."""
    from jaxrec.files import replace_text
    from jaxrec.models.age.online.report import draw, summarise_seeds, to_markdown
    from jaxrec.models.age.online.seeds import run_seed
    from jaxrec.models.age.online.simulated import get_config
    from jaxrec.runs.comparison.tables import write_json
    from jaxrec.runs.workdir import claim, hold

    workdir, config = Path(WORKDIR.value), given_config('jaxrec age online', default=get_config)
    seeds = range(FIRST_SEED.value, FIRST_SEED.value + SEEDS.value)
    with hold(workdir):
        claim(workdir, config)
        results = [run_seed(config, seed, workdir / f'seed{seed}', DATA_DIR.value) for seed in seeds]
        summary = summarise_seeds(results, list(config.explorers))
        text = to_markdown(summary, config.get('published', {}), results)
        write_json(workdir / 'table.json', summary)
        replace_text(workdir / 'table.md', text)
        draw(results, list(config.explorers), workdir / 'ctr.png')
    print(text)
    print(f'wrote {workdir}/table.md, table.json, ctr.png')
