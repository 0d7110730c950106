"""OneRec and what it is compared with on the simulated world of sessions.

    jaxrec onerec tokenize --config=configs/onerec/simulated.py --workdir=runs/onerec/tokens
    jaxrec train --config=configs/onerec/simulated.py:OneRec --workdir=runs/onerec/ntp
    jaxrec recommend --workdir=runs/onerec/ntp --input=users.csv --output=sessions.csv

After the colon stands the row, one of jaxrec/models/onerec/presets.py. Semantic IDs are made of the items' content,
which the world knows, and of what users did in training; they lie beside the cached log. Rows learn from
three fifths of the users and are judged on them; configs/onerec/reward.py has the others.
"""

from jaxrec.models.onerec.simulated import get_config as get_config
