r"""OneRec's alignment by any method; which data set it is the generator's workdir says.

    jaxrec onerec align --config=configs/onerec/align.py:ipa \
        --generator=runs/onerec/ntp --reward=runs/onerec/reward --workdir=runs/onerec/ipa

After the colon stands the method, see jaxrec/cli/onerec/align.py.
"""

from jaxrec.models.onerec.stages import align_config

get_config = align_config
