"""The flags that name a config: a file (--config), or a model and a log (--model, --log), and changes (--set)."""

from collections.abc import Callable

from absl import flags
from ml_collections import ConfigDict, config_flags

from jaxrec.cli.flags import ANY_KEY

CONFIG = config_flags.DEFINE_config_file(
    'config',
    help_string='Config file, as path.py or path.py:name; its keys are flags: --config.train.epochs=2.',
    **ANY_KEY,
)
MODEL = flags.DEFINE_string('model', None, 'In place of --config: a name that `jaxrec models` lists.')
LOG = flags.DEFINE_string('log', None, "With --model: a log of `jaxrec ingest`, a folder of images, or 'simulated'.")
SET = flags.DEFINE_multi_string('set', [], 'A change to the config: section.key=value; may be repeated.')


def given_config(
    command: str,
    model: str | None = None,
    default: Callable[[], ConfigDict] | None = None,
    on_log: Callable[[str], ConfigDict] | None = None,
) -> ConfigDict:
    """The config that the flags describe.

    Args:
      command: that reads it, as 'jaxrec train'.
      model: where --model is not given.
      default: gives the config for `--log=simulated` or no log at all, where it is not a model's.
      on_log: gives the config for a log, where it is not a model's.

    Raises:
      ValueError: neither a file nor a model, or both; and what `model_config` and `override` refuse.
    """
    from jaxrec.runs.build import SECTIONS
    from jaxrec.runs.config import override, parse_settings
    from jaxrec.runs.models import SIMULATED, model_config

    name = MODEL.value or model
    if CONFIG.value is not None:
        if MODEL.value or LOG.value:
            raise ValueError('--config and --model or --log are both given: give a config file, or a model and its log')
        config = CONFIG.value
    elif default is not None and LOG.value in (None, SIMULATED):
        config = default()
    elif on_log is not None and LOG.value is not None:
        config = on_log(LOG.value)
    elif name is None or LOG.value is None:
        raise ValueError(
            'give --model=NAME and --log=FOLDER (`jaxrec models` lists the models, `jaxrec ingest` writes a log), or '
            '--config=path/to/config.py'
        )
    else:
        config = model_config(name, LOG.value, command)
    # The sections of procedures other than runs are checked by what reads them.
    override(config, parse_settings(SET.value), SECTIONS if 'task' in config else {})
    return config
