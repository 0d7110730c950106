"""Taobao UserBehavior (Tianchi data set 649): a TFDS builder of its lines, and the compiler to a log.

A line of `UserBehavior.csv` is user, item, category, behaviour, seconds since 1970; there is no header. Behaviours are
pv (a page view, the click of the papers), cart, fav and buy. In full the file has 100,150,807 lines. A download takes
an account, so it is placed by hand.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxrec.configurable import configurable
from jaxrec.data.logs.behaviour_log import BehaviourLog, ColumnSpec, compile_log
from jaxrec.data.readers.blocks import Block, BlockBuilder, join_blocks, occurred, read_blocks
from jaxrec.data.readers.csv_blocks import read_csv
from jaxrec.data.readers.files import find_file

REMEDY = 'fetch UserBehavior.csv.zip from https://tianchi.aliyun.com/dataset/649 and place it there'
BEHAVIOURS = ('pv', 'cart', 'fav', 'buy')
# The days that the publisher states, 25 November to 3 December 2017, by the clocks of China (UTC+8).
FIRST_SECOND, LAST_SECOND = 1_511_539_200, 1_512_316_799
OUTSIDE = ('drop', 'keep')


class TaobaoEvents(BlockBuilder):
    """Lines of `UserBehavior.csv`: `user`, `item`, `category`, `behaviour`, `time`, in order."""

    COLUMNS: ClassVar[Mapping[str, type]] = {
        **dict.fromkeys(('user', 'item', 'category'), np.int32), 'behaviour': str, 'time': np.int64,
    }  # fmt: skip
    MANUAL_DOWNLOAD_INSTRUCTIONS = REMEDY
    FILE, FOLDERS = 'UserBehavior.csv', ('taobao', 'UserBehavior')

    def read(self, files: Sequence[Path]) -> Iterator[Block]:
        """Yields blocks of lines, and refuses a behaviour that the publisher does not name."""
        line = 1
        for block in read_csv(files[0], tuple(self.COLUMNS), self.COLUMNS, REMEDY, header=False):
            codes, values = block['behaviour']
            if (unknown := ~np.isin(values, BEHAVIOURS)).any():
                first = int(np.argmax(unknown[codes]))
                raise ValueError(
                    f'{files[0]}:{line + first}: behaviour {str(values[codes[first]])!r} is none of '
                    f'{", ".join(BEHAVIOURS)}: repair the line'
                )
            line += len(codes)
            yield block


@configurable('log')
def compile_taobao(data_dir: str | Path, folder: str | Path, outside: str = 'drop', seed: int = 0) -> BehaviourLog:
    """Compiles UserBehavior to a log, every line an event.

    Events have `time` and `behaviour` (categorical: pv, cart, fav, buy; label kind 'one_of' chooses the positive ones,
    which make up histories). Items have a `category`, that of their first line; items whose lines disagree are counted.
    Lines before 1970 are always dropped and counted. The prepared TFDS data are in `tfds/` next to `folder`.

    Args:
      data_dir: folder of `UserBehavior.csv`, plain, .gz or .zip; or the file itself.
      folder: of the log.
      outside: 'drop' or 'keep' lines outside the nine days that the publisher states. Both are counted. One wrong year
        would make a line its user's last event.
      seed: of the hash that assigns ids.

    Raises:
      ValueError: when the file is missing, or for a malformed line, which is named.
    """
    if outside not in OUTSIDE:
        raise ValueError(f'outside={outside!r}: say what becomes of such lines, {" or ".join(OUTSIDE)}')
    files = [find_file(data_dir, TaobaoEvents.FILE, TaobaoEvents.FOLDERS, REMEDY)]
    request = {'reader': TaobaoEvents.tag(), 'outside': outside, 'seed': seed}
    if made := BehaviourLog.of_request(folder, files, request):
        return made
    counted: dict[str, int] = {}
    blocks = (_in_range(block, outside, counted) for block in read_blocks(TaobaoEvents, files, folder))
    events = join_blocks(blocks, tuple(TaobaoEvents.COLUMNS))
    if not len(events['item']):
        raise ValueError(f'{files[0]} has no line within the stated days: {REMEDY}')
    items, several = _items(events['item'], events.pop('category'))
    notes = {'items of several categories': several}
    if outside == 'keep':
        notes[_OUTSIDE_DAYS] = counted.pop(_OUTSIDE_DAYS, 0)
    return compile_log(
        folder, events, items, columns=dict.fromkeys(('behaviour', 'category'), ColumnSpec('categorical')),
        sources=files, dropped=occurred(counted), notes=occurred(notes), request=request, seed=seed,
    )  # fmt: skip


_BEFORE_1970, _OUTSIDE_DAYS = 'lines before 1970', 'lines outside the stated days'


def _in_range(block: Block, outside: str, counted: dict[str, int]) -> Block:
    """Leaves out the lines that are not wanted for their time, and counts those outside the stated days."""
    time = block['time']
    beyond = (time < FIRST_SECOND) | (time > LAST_SECOND)
    if not beyond.any():
        return block
    dropped = beyond if outside == 'drop' else time < 0
    counted[_BEFORE_1970] = counted.get(_BEFORE_1970, 0) + int((time < 0).sum())
    counted[_OUTSIDE_DAYS] = counted.get(_OUTSIDE_DAYS, 0) + int((beyond & (time >= 0)).sum())
    kept = np.flatnonzero(~dropped)
    behaviour = block['behaviour']
    numbers = {name: column[kept] for name, column in block.items() if name != 'behaviour'}
    return numbers | {'behaviour': behaviour._replace(codes=behaviour.codes[kept])}


def _items(item: np.ndarray, category: np.ndarray) -> tuple[dict[str, Any], int]:
    """Each item with the category of its first line, and how many items have lines of another one."""
    items, first = np.unique(item, return_index=True)
    found = category[first]
    differing = [np.zeros(0, item.dtype)]
    step = 1 << 22
    for begin in range(0, len(item), step):
        part = item[begin : begin + step]
        other = found[np.searchsorted(items, part)] != category[begin : begin + step]
        differing.append(np.unique(part[other]))
    return {'item': items, 'category': found}, len(np.unique(np.concatenate(differing)))
