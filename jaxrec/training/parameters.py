"""How many numbers a model trains, in the two ways in which table 2 of arXiv 2011.05625 can be read.

Its 3.3 times the DNN on Amazon Books follows from induction rows for scored ids alone, not for the whole vocabulary
(about 5 times), which its authors' code has.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrec.data.logs.vocabulary import FIRST
from jaxrec.training.task import Task

INDUCTION = '_induction'  # ends the names of tables whose rows are the layers of CAN's micro networks


class Parameters(NamedTuple):
    """Numbers that a model trains; table rows count as the vocabulary has them, without padding for devices.

    Attributes:
      full: dense parameters and every row of every table.
      candidates: the same, but of induction tables only rows 0 and 1 and those of ids that are candidates.
    """

    full: int
    candidates: int


def count_parameters(task: Task, params: Any, batches: Iterable[Mapping[str, np.ndarray]]) -> Parameters:
    """Counts both ways; host batches of the training part are read only for induction tables."""
    full = sum(leaf.size for leaf in jax.tree.leaves(params))
    full += sum(table.rows * table.dim for table in task.tables.values())
    met = {name: np.zeros(table.rows, bool) for name, table in task.tables.items() if name.endswith(INDUCTION)}
    for batch in batches if met else ():
        ids = task.ids(batch)
        for name, seen in met.items():
            for candidates in ids[name].values():
                seen[candidates] = True
    unused = sum(int((~seen[FIRST:]).sum()) * task.tables[name].dim for name, seen in met.items())
    return Parameters(full, full - unused)
