"""From a row of a table to the config of one run: what every data set of every paper shares."""

import copy
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxrec.options import lay_over

IDS = ('item', 'category')
FEATURES = {'user': ('user',), 'candidate': IDS, 'history': IDS}


def changed(row: Mapping[str, Any], **sections: Mapping[str, Any]) -> dict[str, Any]:
    """A row with further values in some sections.

    Args:
      row: of a table.
      **sections: by the name of a section, what is laid over the row's.

    Returns:
      The row.
    """
    laid_over = copy.deepcopy(dict(row))
    lay_over(laid_over, sections)
    return laid_over


def run_config(name: str, sections: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> ConfigDict:
    """Builds the config of one run.

    Args:
      name: one of `rows`.
      sections: what is the data set's own: `data` and `train`, and `features` where they are not
        `FEATURES`.
      rows: the rows to choose from; what a row says of a section is laid over the data set's, and None
        takes a section out.

    Returns:
      The config, with seed 0.

    Raises:
      ValueError: there is no such row.
    """
    if name not in rows:
        raise ValueError(
            f'after the colon of --config: there is no row {name!r}: choose one of {sorted(rows)}'
        )
    config = ConfigDict({'features': FEATURES, **sections, 'seed': 0})
    lay_over(config, rows[name])
    return config
