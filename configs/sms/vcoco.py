"""SMS on V-COCO with COCO's instance masks in place of boxes: 80 classes, 26 actions by role.

    jaxrec train --config=configs/sms/vcoco.py:SMS,data/vcoco --workdir=runs/sms_vcoco \
        --config.model.weights=ctdet_coco_dla_2x.pth

After the colon stand the row, one of jaxrec/models/sms/presets.py, and a folder that holds `vcoco_train.json`,
`vcoco_val.json` and `vcoco_test.json` of https://github.com/s-gupta/v-coco, and, unpacked, COCO's of 2014:
`annotations/`, `train2014/` and `val2014/`. Not yet run: it wants an accelerator.

No human part is labelled there, so there is no part branch. Role AP, scenarios 1 and 2, is told by
`jaxrec sms roles --workdir=runs/sms_vcoco`. Crowds are in no scene, and what is found in one
counts against `entity_ap`, where COCO lets it pass; role AP does as the official script. Size, optimizer and
schedule are PPDM's (arXiv 1912.12898), and so are the weights that it begins with: CenterNet's.
"""

from pathlib import Path

from ml_collections import ConfigDict

from jaxrec.models.sms.presets import AUGMENT, PPDM_MODEL, PPDM_TRAIN, ROWS, TARGETS, of_size
from jaxrec.runs.config import run_config

PARTS = {'train': 'train', 'validation': 'val', 'test': 'test'}
COCO = ('train2014', 'val2014')


def get_config(text: str = 'SMS') -> ConfigDict:
    """Builds the config of one model for one folder; `text` is 'model,folder'."""
    name, _, path = text.partition(',')
    root = Path(path or 'data/vcoco')
    return run_config(
        name,
        {
            'features': {},
            'data': {
                'log': 'jaxrec.data.readers.images.vcoco:compile_vcoco',
                'arguments': {
                    'annotations': {part: str(root / f'vcoco_{file}.json') for part, file in PARTS.items()},
                    'masks': tuple(str(root / 'annotations' / f'instances_{part}.json') for part in COCO),
                    'images': tuple(str(root / part) for part in COCO),
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
