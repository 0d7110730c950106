"""Time gaps between a request and the behaviours before it, in buckets of powers of two.

Seconds since 1970 and products of them are 64-bit numbers, which never reach a device: the host turns gaps into bucket
ids, small enough for an embedding each, while it assembles a batch.

Letters: B requests, G buckets.
"""

import dataclasses
from typing import Any

import numpy as np

from jaxrec.data.logs.behaviour_log import BehaviourLog
from jaxrec.options import read_options

_WHERE = 'data.time_gap'
MAX_BUCKETS = 55  # the last begins 2^53 - 1 units back, up to which float64 holds every whole number


@dataclasses.dataclass(frozen=True)
class TimeGap:
    """How gaps fall into buckets."""

    unit: int  # the log's time units (seconds in a log of seconds) that count as one
    buckets: int  # G; ids are 0 to G - 1, 0 for padding

    def bucket(self, when: np.ndarray, times: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Finds the buckets of gaps.

        Args:
          when: [B], times of the requests.
          times: [B, ...], times of behaviours; whole numbers, or seconds with a fraction.
          present: bool [B, ...], which slots are real.

        Returns:
          int32 [B, ...]: 1 + min(floor(log2(1 + max(gap, 0) // unit)), G - 2), 0 where not present. So 1 is less than
            one unit, 2 one or two units, 3 three to six, and G - 1 all earlier ones.
        """
        gap = when.reshape(-1, *[1] * (times.ndim - 1)) - times
        if gap.dtype.kind == 'f':
            gap = np.floor(gap).astype(np.int64)
        np.maximum(gap, 0, out=gap)
        gap //= self.unit
        gap += 1
        # The exponent of a float64 is the floor of log2, exactly; log2 itself rounds 2^49 - 1 up.
        bucket = gap.astype(np.float64).view(np.int64)
        bucket >>= 52
        bucket -= 1022
        np.minimum(bucket, self.buckets - 1, out=bucket)
        bucket *= present
        return bucket.astype(np.int32)


def read_time_gap(described: Any, log: BehaviourLog) -> TimeGap | None:
    """Checks the description of time gaps of `log`; None for no gaps.

    `described` has `unit`, in the log's time (86,400, a day in a log of seconds), and `buckets`, G (16).

    Raises:
      ValueError: an unknown key or a value out of range, a log without times, or one with a column named `gap`.
    """
    if described is None:
        return None
    if not hasattr(described, 'keys'):
        raise ValueError(f"{_WHERE} is {described!r}: give a description, such as {{'unit': 86400, 'buckets': 16}}")
    options = read_options(described, _WHERE, unit=86_400, buckets=16)
    if options['unit'] < 1:
        raise ValueError(f'{_WHERE}.unit = {options["unit"]}: give at least 1, in the time of the log')
    if not 3 <= options['buckets'] <= MAX_BUCKETS:
        raise ValueError(
            f'{_WHERE}.buckets = {options["buckets"]}: give 3 to {MAX_BUCKETS}, padding, '
            'less than a unit and more among them'
        )
    if not log.has_time:
        raise ValueError(
            f'{log.folder} has no times, so {_WHERE} has nothing to go by: leave it out, or compile the log '
            "with a column 'time'"
        )
    if 'gap' in log.schema:
        raise ValueError(f"{_WHERE}: gaps would be called like the column 'gap' of {log.folder}; rename that column")
    return TimeGap(**options)
