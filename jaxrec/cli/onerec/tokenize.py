r"""Turn a log's items into semantic IDs (arXiv 2502.18965, section 4.1), and give later items IDs too.

    jaxrec onerec tokenize --log=logs/sessions --workdir=runs/tokens
    jaxrec onerec tokenize --log=logs/sessions --workdir=runs/tokens --set=files.ids.arguments.content=vectors.npy \
        --set=files.ids.arguments.content_items=names.txt
    jaxrec onerec tokenize --workdir=runs/tokens2 --extend=runs/tokens --content=new.npy --content_items=new.txt

`files.ids.arguments` says where vectors come from and how they are clustered, see
`jaxrec.models.onerec.tokenizing.tokens`. The workdir takes `ids.npz`, which `model.ids` of a training run may name,
`codebooks.npz`, `trie.npz`, `report.json` and `report.png`. Training without it makes the same IDs and caches them
next to the log. `--extend` needs no training: `jaxrec recommend --tokens` reaches the new items.
"""

import json
import logging
from pathlib import Path

from absl import flags

from jaxrec.cli.configs import CONFIG, given_config
from jaxrec.cli.flags import DATA_DIR, friendly

WORKDIR = flags.DEFINE_string('workdir', None, 'Takes IDs, codebooks, trie and report.', required=True)
EXTEND = flags.DEFINE_string('extend', None, 'Workdir of earlier tokens that new items are added to.')
CONTENT = flags.DEFINE_string('content', None, 'Of new items: .npy vectors, or a .csv file of texts.')
CONTENT_ITEMS = flags.DEFINE_string('content_items', '', 'Names of the items of an .npy file, a line each.')
PICTURE = 'report.png'
log = logging.getLogger(__name__)


@friendly
def main(_: list[str]) -> None:
    """Tokenizes, or adds new items, and says what came of it."""
    from ml_collections import ConfigDict

    from jaxrec.configurable import resolve
    from jaxrec.models.onerec.tokenizing.report import draw, to_markdown
    from jaxrec.models.onerec.tokenizing.tokens import CODEBOOKS, IDS, REPORT, TOKENS, TRIE
    from jaxrec.options import plain
    from jaxrec.runs.sources import log_of, read_data
    from jaxrec.runs.workdir import claim, hold

    workdir = Path(WORKDIR.value)
    if EXTEND.value:
        _extend(workdir, Path(EXTEND.value))
        return
    config = given_config('jaxrec train', 'OneRec')
    if 'ids' not in (config.get('files', None) or {}):
        raise ValueError(
            'this model reads no semantic IDs: give one with files.ids, such as --model=OneRec, or --extend'
        )
    found = log_of(config, DATA_DIR.value)
    data, arguments = read_data(config, found), plain(config.files.ids.get('arguments', {}))
    make, counts = resolve(config.files.ids.make, 'artifact'), found.manifest['counts']
    log.info('log %s: %d items', found.folder, counts['items'])
    with hold(workdir):
        # A model that was trained with these IDs would take others for its own.
        told = {name: config.data.get(name, {}) for name in ('log', 'arguments', 'label', 'split')}
        told = ConfigDict({'data': told, 'ids': {'make': config.files.ids.make, **arguments}})
        if (workdir / 'config.json').exists():
            claim(workdir, told)
        make(workdir, found, data, **arguments)
        claim(workdir, told)  # not before: what is refused leaves the workdir free for what is right
        report = json.loads((workdir / REPORT).read_text())
        draw(report, workdir / PICTURE)
    print(to_markdown(report))
    files = (IDS, CODEBOOKS, TRIE, REPORT, PICTURE, TOKENS)
    written = sorted(path.name for path in workdir.iterdir() if path.name in files)
    print(f'wrote {workdir}/{", ".join(written)}')
    print(f'next: jaxrec train --model=OneRec --log=... --set=model.ids={workdir / IDS}')


def _extend(workdir: Path, source: Path) -> None:
    from ml_collections import ConfigDict

    from jaxrec.models.onerec.tokenizing.tokens import extend_ids
    from jaxrec.runs.workdir import claim, hold

    if CONFIG.value is not None or not CONTENT.value:
        raise ValueError('--extend adds items to earlier tokens: give --content of them, and no --config')
    told = {'of': str(source), 'content': CONTENT.value, 'content_items': CONTENT_ITEMS.value}
    told = ConfigDict({'extend': told})
    with hold(workdir):
        if (workdir / 'config.json').exists() and workdir.resolve() != source.resolve():
            claim(workdir, told)
        new, shared, moved = extend_ids(workdir, source, CONTENT.value, CONTENT_ITEMS.value)
        claim(workdir, told)
    print(f'{new} new items have IDs, {shared} of them share their codes with another item')
    if moved:
        print(f'{moved} of them have codes next to their nearest, whose items have no rank left')
    print(f'wrote {workdir}/ids.npz, codebooks.npz, trie.npz, tokens.json')
    print(f'next: jaxrec recommend --tokens={workdir}')
