r"""Turns a log's items into semantic IDs (arXiv 2502.18965, section 4.1), and gives later items IDs too.

    jaxrec onerec tokenize --config=configs/onerec/simulated.py --workdir=runs/onerec/tokens
    jaxrec onerec tokenize --workdir=runs/mine/tokens \
        --config=configs/onerec/own.py:OneRec,logs/mine,vectors.npy,names.txt
    jaxrec onerec tokenize --workdir=runs/mine/tokens2 \
        --extend=runs/mine/tokens --content=new.npy --content_items=new.txt

The config says under `files.ids.arguments` where vectors come from and how they are clustered, see
`jaxrec.models.onerec.tokenizing.tokens`, or, where `files.ids.make` names `jaxrec.models.onerec.tokenizing.published:make_ids`, which
IDs that others made are taken. The workdir takes `ids.npz`, which `--config.model.ids` of a training run may
name, `codebooks.npz`, `trie.npz`, `report.json` and `report.png`. Training without it makes the same IDs and
keeps them beside the cached log. `--extend` needs no training: `recommend --tokens` reaches the new items.
"""

import json
import logging
from pathlib import Path

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from jaxrec.cli.flags import ANY_KEY, DATA_DIR, friendly, read_flags
from jaxrec.configurable import resolve
from jaxrec.models.onerec.tokenizing.report import draw, to_markdown
from jaxrec.models.onerec.tokenizing.tokens import CODEBOOKS, IDS, REPORT, TOKENS, TRIE, extend_ids
from jaxrec.options import plain
from jaxrec.runs.fit import claim, hold
from jaxrec.runs.sources import log_of, read_data

CONFIG = config_flags.DEFINE_config_file('config', **ANY_KEY)
WORKDIR = flags.DEFINE_string('workdir', None, 'Takes IDs, codebooks, trie and report.', required=True)
EXTEND = flags.DEFINE_string('extend', None, 'Workdir of earlier tokens that new items are added to.')
CONTENT = flags.DEFINE_string('content', None, 'Of new items: .npy vectors, or a .csv file of texts.')
CONTENT_ITEMS = flags.DEFINE_string('content_items', '', 'Names of the items of an .npy file, a line each.')
PICTURE = 'report.png'
FILES = (IDS, CODEBOOKS, TRIE, REPORT, PICTURE, TOKENS)
log = logging.getLogger(__name__)


@friendly
def main(_: list[str]) -> None:
    """Tokenizes, or adds new items, and says what came of it."""
    workdir = Path(WORKDIR.value)
    if EXTEND.value:
        _extend(workdir, Path(EXTEND.value))
        return
    config = CONFIG.value
    if config is None or 'ids' not in (config.get('files', None) or {}):
        raise ValueError(
            'give --config of a run with files.ids, which says how items are tokenized, or --extend'
        )
    found = log_of(config, DATA_DIR.value)
    data, arguments = read_data(config, found), plain(config.files.ids.get('arguments', {}))
    make, counts = resolve(config.files.ids.make), found.manifest['counts']
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
    written = sorted(path.name for path in workdir.iterdir() if path.name in FILES)
    print(f'wrote {workdir}/{", ".join(written)}')
    print(f'next: train with --config.model.ids={workdir / IDS}')


def _extend(workdir: Path, source: Path) -> None:
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


if __name__ == '__main__':
    app.run(main, flags_parser=read_flags)
