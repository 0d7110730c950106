r"""OneRec's alignment by any method; which data set it is the generator's workdir says.

    jaxrec onerec align --config=configs/onerec/align.py:ipa \
        --generator=runs/onerec/ntp --judge=runs/onerec/reward --workdir=runs/onerec/ipa

After the colon stands the method, see jaxrec/cli/onerec/align.py.
"""

from ml_collections import ConfigDict

from configs.onerec.stages import align_config


def get_config(method: str = 'ipa') -> ConfigDict:
    """Builds the config of one of `jaxrec.models.onerec.alignment.task.METHODS`."""
    return align_config(method)
