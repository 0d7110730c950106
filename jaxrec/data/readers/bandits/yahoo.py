"""Yahoo! front page clicks R6B (Webscope): a TFDS builder of its lines, and the compiler to a pool log.

A line of `ydata-fp-td-clicks-v2_0.201110DD` is one visit,

    1317513291 id-560620 0 |user 1 9 11 13 23 16 18 |id-552077 |id-555224 |id-555528

seconds since 1970, the article that was shown, whether it was clicked, the features of the user (numbers of 1 to 136),
and the articles that it was drawn from, uniformly at random. There are fifteen files, of 2 to 16 October 2011, some 28
million lines in all. Fetching them takes an agreement with Yahoo!, so they are placed by hand.

Letters: n lines of a block, k distinct pools and u distinct users of a block.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from jaxrec.configurable import configurable
from jaxrec.data.logs.columns import Ragged, offsets_of
from jaxrec.data.pools.log import ColumnSpec, PoolLog, Pools, compile_pools
from jaxrec.data.readers.bandits.yahoo_lines import DROPPED, NOTED, Irregular, Lines
from jaxrec.data.readers.blocks import BLOCK_ROWS, Block, BlockBuilder, read_blocks
from jaxrec.data.readers.files import find_file

FILE = 'ydata-fp-td-clicks-v2_0.201110{day:02d}'
DAYS = tuple(range(2, 17))
FOLDERS = ('R6B', 'R6', 'yahoo', 'yahoo-r6b', 'Webscope_R6B')
REMEDY = (
    'ask for R6B at https://webscope.sandbox.yahoo.com (licence: research, no redistribution) and place its files there'
)
IRREGULAR = ('refuse', 'drop')
MOST_DROPPED = 0.01  # of the lines; more are no slips, but files that are something else
log = logging.getLogger(__name__)


class YahooVisits(BlockBuilder):
    """Lines of all files, in order.

    Blocks have `time`, `item`, `click` and `day`, n of each; `pool` and `user`, n codes of the distinct ones; and
    these, end to end (`pool_values`, `user_values`), with `pool_lengths` [k] and `user_lengths` [u]. `dropped` and
    `noted` count lines by the reasons in `yahoo_lines`; `first_dropped` is a message, if any.
    """

    VERSION = tfds.core.Version('1.1.0')  # 1.0.0 counted no lines of another day
    COLUMNS: ClassVar[Mapping[str, type]] = {
        'time': np.int64, 'item': np.int32, 'click': np.int8, 'day': np.int8, 'pool': np.int32, 'pool_values': np.int32,
        'pool_lengths': np.int32, 'user': np.int32, 'user_values': np.int16, 'user_lengths': np.int32,
        'dropped': np.int64, 'noted': np.int64, 'first_dropped': str,
    }  # fmt: skip
    MANUAL_DOWNLOAD_INSTRUCTIONS = REMEDY

    irregular = 'refuse'  # what becomes of lines that cannot be replayed

    def find(self, folder: Path) -> Sequence[Path]:
        """The files that are there, plain or packed."""
        return find_days(folder, None)

    def read(self, files: Sequence[Path]) -> Iterator[Block]:
        """Yields blocks of lines; in the mode 'refuse' the first irregular one is an error that names it."""
        lines, last = Lines(), None
        for path in files:
            day = day_of(path)
            for number, text in lines.of_file(path, REMEDY):
                try:
                    last = lines.add(text, day, last)
                except Irregular as error:
                    message = f'{path}:{number}: {error}'
                    if self.irregular == 'refuse':
                        raise ValueError(
                            f"{message}: repair the line, or give irregular='drop' to leave such lines out"
                        ) from None
                    lines.drop(error, message)
                if len(lines) >= BLOCK_ROWS:
                    yield lines.take()
        if len(lines) or lines.first_dropped:
            yield lines.take()


def day_of(path: Path) -> int:
    """The day of October 2011 that a file is of."""
    return next(day for day in DAYS if FILE.format(day=day) in path.name)


def find_days(data_dir: str | Path, days: Sequence[int] | None) -> list[Path]:
    """Finds the files of `days` of October 2011, all that are there by default, plain or packed, in order.

    `data_dir` is the folder that holds them, one that holds a folder of `FOLDERS`, or one file. A ValueError names a
    day outside 2 to 16, or a missing file, by default only if all are missing.
    """
    wanted = DAYS if days is None else tuple(sorted(days))
    if unknown := [day for day in wanted if day not in DAYS]:
        raise ValueError(f'days name {unknown[0]}: R6B has the days 2 to 16 of October 2011')
    found, missing = [], None
    for day in wanted:
        try:
            found.append(find_file(data_dir, FILE.format(day=day), FOLDERS, REMEDY))
        except ValueError as error:
            missing = missing or error
    if missing is not None and (days is not None or not found):
        raise missing
    return found


@configurable('log')
def compile_yahoo(
    data_dir: str | Path, folder: str | Path, days: Sequence[int] | None = None, irregular: str = 'refuse',
    most_dropped: float = MOST_DROPPED, seed: int = 0,
) -> PoolLog:  # fmt: skip
    """Compiles R6B to a pool log, every line a visit, logged uniformly.

    The user side is `features` (multi-valued, 1 to 136 as in the file); articles have no features but their id. `day`
    (of October 2011) is kept, but is no feature, to tune on other days than those of the test. What is stored follows
    no line's order of features or articles. Memory is that of a block.

    Args:
      data_dir: where the files are, plain or .gz.
      folder: of the log; the prepared TFDS data go to `tfds/` next to it.
      days: which files to read; all that are there by default.
      irregular: lines that cannot be replayed (malformed, of another day than their file, out of time order, a click
        other than 0 and 1, an empty pool, the shown article missing from it, a feature outside 1..136): 'refuse', or
        'drop' and count them in the manifest. Features and articles that a line names twice are counted as notes.
      most_dropped: share of the lines that may be dropped.
      seed: of the hash that assigns ids.

    Raises:
      ValueError: missing files, an irregular line, which is named, or more than `most_dropped` of them.
    """
    if irregular not in IRREGULAR:
        raise ValueError(f'irregular={irregular!r}: say what becomes of such lines, {" or ".join(IRREGULAR)}')
    files = find_days(data_dir, days)
    request = {'reader': YahooVisits.tag(), 'irregular': irregular, 'seed': seed}
    if made := PoolLog.of_request(folder, files, request):
        return made
    visits = _Visits(files, folder, irregular)
    counted, kept = visits.counts()
    dropped, notes = ({reason: counted[reason] for reason in of if counted[reason]} for of in (DROPPED, NOTED))
    _tell_dropped(dropped, kept, most_dropped)
    return compile_pools(
        folder, visits, columns={'features': ColumnSpec('multi')}, uniform=True, sources=files, dropped=dropped,
        notes=notes, request=request, seed=seed,
    )  # fmt: skip


def _tell_dropped(dropped: Mapping[str, int], kept: int, most: float) -> None:
    """Logs what was left out, and refuses files of which that is much."""
    lines = sum(dropped.values())
    if not lines:
        return
    reasons = ', '.join(f'{count} {reason}' for reason, count in dropped.items())
    told = f'{lines} of {lines + kept} lines cannot be replayed: {reasons}'
    if lines > most * (lines + kept):
        raise ValueError(
            f'{told}. That is more than most_dropped = {most:g} of them: look at the files, or give a larger share'
        )
    log.warning('%s; they are left out', told)


class _Visits:
    """The prepared blocks as visits, each time they are iterated."""

    def __init__(self, files: Sequence[Path], folder: str | Path, irregular: str):
        self._files, self._folder, self._irregular = files, folder, irregular

    def _blocks(self) -> Iterator[Block]:
        return read_blocks(YahooVisits, self._files, self._folder, irregular=self._irregular)

    def counts(self) -> tuple[dict[str, int], int]:
        """{reason: lines} over all blocks, and the lines kept; refuses drops that were not asked for."""
        total, kept = np.zeros(len(DROPPED) + len(NOTED), np.int64), 0
        for block in self._blocks():
            kept += len(block['time'])
            total += np.concatenate([block['dropped'], block['noted']])
            if block['dropped'].any() and self._irregular == 'refuse':  # prepared in the other mode
                raise ValueError(f"{block['first_dropped'].values[0]}: repair the line, or give irregular='drop'")
        return dict(zip((*DROPPED, *NOTED), total.tolist(), strict=True)), kept

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for block in self._blocks():
            users = Ragged(block['user_values'], offsets_of(block['user_lengths']))
            pools = Ragged(block['pool_values'], offsets_of(block['pool_lengths']))
            yield {
                **{name: block[name] for name in ('time', 'item', 'click', 'day')},
                'pool': Pools(block['pool'], pools),
                'features': users.take(block['user']),
            }
