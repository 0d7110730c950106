"""Avazu's click-through log of 2014 (Kaggle): a TFDS builder of its lines, and the compiler to a click log.

A line of `train.gz` is one impression: an identifier, the click, the hour as YYMMDDHH in UTC, and 21 anonymous fields,
hexadecimal digests or small integers, all of them categories. In full the file has 40,428,967 lines of ten days, in
order. A download takes an account, so it is placed by hand. Kaggle's `test.gz` has no clicks and is not used.
"""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxrec.configurable import configurable
from jaxrec.data.logs.click_log import ClickLog, ColumnSpec, compile_clicks
from jaxrec.data.readers.blocks import Block, BlockBuilder, read_table
from jaxrec.data.readers.csv_blocks import read_csv, refuse
from jaxrec.data.readers.files import find_file

FILE = 'train'
FOLDERS = ('avazu', 'avazu-ctr-prediction')
REMEDY = 'fetch train.gz from https://www.kaggle.com/c/avazu-ctr-prediction/data and place it there'
# fmt: off
FIELDS = (
    'C1', 'banner_pos', 'site_id', 'site_domain', 'site_category', 'app_id', 'app_domain', 'app_category',
    'device_id', 'device_ip', 'device_model', 'device_type', 'device_conn_type',
    'C14', 'C15', 'C16', 'C17', 'C18', 'C19', 'C20', 'C21',
)
# fmt: on
HEADER = ('id', 'click', 'hour', *FIELDS)


class AvazuImpressions(BlockBuilder):
    """Lines of `train`: `click`, `hour` (YYMMDDHH) and the 21 fields as they are written, in order."""

    COLUMNS: ClassVar[Mapping[str, type]] = {'click': np.int8, 'hour': np.int32, **dict.fromkeys(FIELDS, str)}
    MANUAL_DOWNLOAD_INSTRUCTIONS = REMEDY

    def find(self, folder: Path) -> Sequence[Path]:
        """The file, plain or packed."""
        return [_find_train(folder)]

    def read(self, files: Sequence[Path]) -> Iterator[Block]:
        """Yields blocks of lines, and refuses a click that is not 0 or 1 and an hour that is none."""
        line = 2
        for block in read_csv(files[0], HEADER, self.COLUMNS, REMEDY, header=True):
            click, hour = block['click'], block['hour']
            refuse(files[0], line, 'click', click, ~np.isin(click, (0, 1)), '0 or 1')
            known = [written for written in np.unique(hour) if _instant(int(written)) is not None]
            refuse(files[0], line, 'hour', hour, ~np.isin(hour, known), 'YYMMDDHH')
            line += len(click)
            yield block


def _find_train(data_dir: str | Path) -> Path:
    """Finds `train.gz`, also unpacked as `train` or `train.csv`."""
    try:
        return find_file(data_dir, FILE, FOLDERS, REMEDY)
    except ValueError as error:
        try:
            return find_file(data_dir, f'{FILE}.csv', FOLDERS, REMEDY)
        except ValueError:
            raise error from None


@configurable('log')
def compile_avazu(
    data_dir: str | Path, folder: str | Path, min_count: int = 1, buckets: Mapping[str, int] | None = None,
    seed: int = 0,
) -> ClickLog:  # fmt: skip
    """Compiles `train.gz` to a click log, every line an impression, in order.

    Features are the 21 fields, `hour` (of the day, 0 to 23) and `weekday` (0 is Monday), all categorical. Other columns
    are `click`, `time` (seconds since 1970) and `day` (1 is the first day of the file), for splits. The prepared TFDS
    data are in `tfds/` next to `folder`.

    Args:
      data_dir: folder of `train.gz`, also unpacked; or the file itself.
      folder: of the log.
      min_count: frequency floor of the fields' vocabularies; rarer values become out-of-vocabulary.
      buckets: {field: hash buckets} of fields that are hashed instead of enumerated, such as `device_ip`.
      seed: of the hash that assigns ids.

    Raises:
      ValueError: when the file is missing, for a malformed line, which is named, or for an unknown field.
    """
    hashed = dict(buckets or {})
    if unknown := sorted(hashed.keys() - set(FIELDS)):
        raise ValueError(f'buckets name the field {unknown[0]!r}: the fields are {", ".join(FIELDS)}')
    path = _find_train(data_dir)
    request = {'reader': AvazuImpressions.tag(), 'min_count': min_count, 'buckets': hashed, 'seed': seed}
    if made := ClickLog.of_request(folder, [path], request):
        return made
    events = read_table(AvazuImpressions, [path], folder)
    columns = dict.fromkeys(FIELDS, ColumnSpec('categorical', min_count=min_count))
    columns |= {name: ColumnSpec('categorical', buckets=buckets) for name, buckets in hashed.items()}
    columns |= dict.fromkeys(('hour', 'weekday'), ColumnSpec('categorical'))
    return compile_clicks(
        folder, events | _clock(events['hour']), columns=columns, sources=[path], request=request, seed=seed
    )


def _clock(hour: np.ndarray) -> dict[str, Any]:
    """`time`, `day`, `hour` of the day and `weekday` of hours written as YYMMDDHH."""
    written, place = np.unique(hour, return_inverse=True)
    instants = [instant for h in written if (instant := _instant(int(h))) is not None]
    dates = [instant.date() for instant in instants]
    return {
        'time': np.asarray([instant.timestamp() for instant in instants], np.int64)[place],
        'day': np.asarray([(date - dates[0]).days + 1 for date in dates], np.int16)[place],
        'hour': np.asarray([instant.hour for instant in instants], np.int8)[place],
        'weekday': np.asarray([date.weekday() for date in dates], np.int8)[place],
    }


def _instant(hour: int) -> datetime.datetime | None:
    """The instant that YYMMDDHH says, None where it says none."""
    month, day, h = (hour // unit % 100 for unit in (10**4, 100, 1))
    try:
        return datetime.datetime(2000 + hour // 10**6, month, day, h, tzinfo=datetime.UTC)
    except ValueError:
        return None
