"""SMS on Person in Context, edition 2: 141 classes of entities, 23 relations and 25 human parts.

    jaxrec train --config=configs/sms/pic.py:SMS --workdir=runs/sms_pic \
        --config.model.weights=ctdet_coco_dla_2x.pth
    jaxrec evaluate --workdir=runs/sms_pic --part=validation

    jaxrec train --config=configs/sms/pic.py:SMS,challenge --workdir=runs/sms_challenge
    jaxrec sms challenge --workdir=runs/sms_challenge --output=runs/sms_challenge/files

After the colon stands the row, one of jaxrec/models/sms/presets.py, and for the challenge's own lists `,challenge`:
all 30 relations and no part, for half of its metric is of relations that are geometric. The set lies in
$JAXREC_DATA or --data_dir, or in a folder of `jaxrec.data.readers.images.pic.FOLDERS` there; it is asked for at
http://picdataset.com. Not yet run: it wants an accelerator.

The paper counts 141 classes, 23 relations and 25 human parts without naming them: these are the classes that
have instances, and the relations and parts of `pic_lists.CHOSEN_RELATIONS` and `CHOSEN_PARTS`, which are
ours. The published files label no part, so the network has the branches but learns no part here. They are for
images of one's own, in a config with this one's `model` section and configs/sms/own.py's data: a run with
--warm_start goes on from this one if their lists of names are the same. The test part's labels are not
published, so validation is judged. Size, optimizer and schedule are PPDM's (arXiv 1912.12898), and so are the
weights that it begins with: CenterNet's.
"""

from ml_collections import ConfigDict

from jaxrec.data.readers.images.pic_lists import CHOSEN_PARTS, CHOSEN_RELATIONS, ENTITIES, RELATIONS, WITHOUT_INSTANCES
from jaxrec.models.sms.presets import AUGMENT, PPDM_MODEL, PPDM_TRAIN, ROWS, TARGETS, of_size
from jaxrec.runs.config import run_config

LISTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    '': (CHOSEN_RELATIONS, CHOSEN_PARTS),
    'challenge': (RELATIONS[2], ()),
}
CLASSES = tuple(name for name in ENTITIES[2] if name not in WITHOUT_INSTANCES)


def get_config(text: str = 'SMS') -> ConfigDict:
    """Builds the config of one model on Person in Context; `text` is 'model' or 'model,challenge'."""
    name, _, lists = text.partition(',')
    if lists not in LISTS:
        raise ValueError(f'after the row stands {lists!r}: give nothing, or one of {tuple(filter(None, LISTS))}')
    relations, parts = LISTS[lists]
    return run_config(
        name,
        {
            'features': {},
            'data': {
                'log': 'jaxrec.data.readers.images.pic:compile_pic',
                'arguments': {
                    'data_dir': '',
                    'split': 'trainval',
                    'entities': CLASSES,
                    'relations': relations,
                    'parts': parts,
                    'irregular': 'drop',
                },
                'cache': 'runs/logs',
                **TARGETS,
                'image_size': (512, 512),  # height, width
                'augment': AUGMENT,
            },
            'train': PPDM_TRAIN,
        },
        of_size(ROWS, PPDM_MODEL),
    )
