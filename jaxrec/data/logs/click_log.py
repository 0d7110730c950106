"""Click logs: what was shown and whether it was clicked, without users or histories.

A log folder holds `manifest.json`, `events/` (one row an impression, in the given order) and `vocab/`. The columns
`click` and `time` have these names whatever the source calls them; a log need not have times.

Letters: N impressions.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Unpack

from jaxrec.data.logs.encoding import write_events
from jaxrec.data.logs.log import Log, Origin
from jaxrec.data.logs.raw_columns import RawTable, check_raw_clicks
from jaxrec.data.logs.schema import Column, ColumnSpec

__all__ = ['ClickLog', 'Column', 'ColumnSpec', 'compile_clicks']


class ClickLog(Log):
    """A compiled log of impressions: `events` holds `click`, 0 or 1, `time` if the log has it, and other columns."""

    KIND: ClassVar[str] = 'click log'
    FORMAT: ClassVar[str] = 'jaxrec.click_log'
    COMPILER: ClassVar[str] = 'compile_clicks'


def compile_clicks(
    folder: str | Path,
    events: RawTable,
    *,
    columns: Mapping[str, ColumnSpec],
    click: str = 'click',
    time: str = 'time',
    **origin: Unpack[Origin],
) -> ClickLog:
    """Compiles raw columns to a log folder, which appears complete or not at all.

    Args:
      folder: of the log. If it already holds the log of the same content and settings, that one is returned.
      events: raw columns [N], among them `click`, 0 or 1, and, if the log has times, `time`. Those not in `columns` are
        stored as they are and must be numeric (day, true click probability, ...).
      columns: how columns become features: categorical with a frequency floor or hash buckets, multi-valued, or
        numeric.
      click, time: what these columns are called in `events`.
      **origin: see `jaxrec.data.logs.log.Origin`.

    Raises:
      ValueError: raw columns that cannot be compiled, or a folder that holds anything else.
    """
    return ClickLog.write(folder, check_raw_clicks(events, columns, (click, time)), write_events, **origin)
