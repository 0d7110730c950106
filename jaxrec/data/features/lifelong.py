"""Lifelong histories (SIM, arXiv 2006.05639): what lies behind the short window, whole, searched or sampled.

Letters: B requests, L long window, n behaviours of a sample.
"""

import dataclasses
from typing import Any

import numpy as np

from jaxrec.data.features.negatives import hash_seed
from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.data.logs.vocabulary import hash64
from jaxrec.options import read_options

_WHERE = 'data.lifelong'
SEARCHES = (None, 'hard')
# Where candidates share what was kept, in G runs of M: int32 [B, G, M], the candidate of each slot, and int32 [B, C],
# the slot among the G M of each candidate.
SLOT, PLACE = 'kept/slot', 'kept/place'
_PURPOSE = 1 << 16  # keeps these draws apart from those of negatives, which count from 0


@dataclasses.dataclass(frozen=True)
class Lifelong:
    """What is read of the behaviours older than the short window."""

    length: int  # L, the most recent so many of them
    search: str | None  # None for all of these, 'hard' for those whose `column` equals the candidate's
    keep: int  # K, how many of those are kept, the most recent
    column: str  # 'item' or a categorical item attribute
    sample: int | None  # n, how many of the L training reads, drawn at random; None for all


def read_lifelong(described: Any, log: BehaviourLog) -> Lifelong | None:
    """Checks the description of a lifelong history of `log`; None for no such history.

    `described` has `length`, `search` (None), `keep` (50), `column` ('category', read by a search alone) and `sample`
    (None), see `Lifelong`.

    Raises:
      ValueError: an unknown key or search, a count out of range, or a column that cannot be searched.
    """
    if described is None:
        return None
    if not hasattr(described, 'keys'):
        raise ValueError(f"{_WHERE} is {described!r}: give a description, such as {{'length': 400}}")
    options = read_options(described, _WHERE, length=0, search=None, keep=50, column='category', sample=None)
    for name in ('length', 'keep'):
        if options[name] < 1:
            raise ValueError(f'{_WHERE}.{name} = {options[name]}: give at least 1')
    sample = options['sample']
    whole = isinstance(sample, int) and not isinstance(sample, bool)
    if sample is not None and not (whole and 1 <= sample < options['length']):
        raise ValueError(
            f'{_WHERE}.sample = {sample!r}: give a whole number from 1 to below length, which is '
            f'{options["length"]}, or None to read all'
        )
    if options['search'] not in SEARCHES:
        raise ValueError(f"{_WHERE}.search = {options['search']!r} does not exist: use None or 'hard'")
    if options['search'] is not None:
        _check_column(options['column'], log)
    return Lifelong(**options)


def _check_column(name: str, log: BehaviourLog) -> None:
    """A candidate has the columns of its item whatever happens; event columns may even tell the label."""
    columns = {n: log.schema[n].kind for n in ('item', *log.items.names) if n in log.schema}
    if columns.get(name) != 'categorical':
        usable = ', '.join(n for n, kind in columns.items() if kind == 'categorical')
        what = columns.get(name, 'no column of the items')
        raise ValueError(
            f'{_WHERE}.column = {name!r} is {what} in {log.folder}, and a search compares one id of each '
            f'item: use any of {usable}'
        )


def sample_slots(length: np.ndarray, sample: int, examples: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """Draws from the entries of each history, without repetition.

    Args:
      length: integer [B], how many entries there are.
      sample: n.
      examples: integer [B], what identifies an example: its draw does not depend on the batch.
      seed, epoch: of the run; each epoch draws anew.

    Returns:
      int64 [B, n], ascending: n of `range(length)`, all sets equally likely, where there are more; else 0 to n - 1.
    """
    slots = np.tile(np.arange(sample), (len(length), 1))
    longer = np.flatnonzero(length > sample)
    if not len(longer):
        return slots
    entries = np.arange(length.max())
    counter = hash64(examples[longer], hash_seed(seed, epoch))[:, None] ^ hash64(entries, seed)
    # The hash maps 64-bit numbers one to one, so the keys of a row differ and the n smallest are n.
    keys = hash64(counter, _PURPOSE)
    real = entries < length[longer, None]
    keys[~real] = np.iinfo(np.uint64).max
    last = np.partition(keys, sample - 1, axis=1)[:, sample - 1 : sample]
    slots[longer] = np.flatnonzero(real & (keys <= last)).reshape(-1, sample) % len(entries)
    return slots
