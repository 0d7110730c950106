"""Peak resident memory of this process, which can be begun anew where the system allows it."""

import resource
import sys
from pathlib import Path

CLEAR = Path('/proc/self/clear_refs')  # 5: the peak of resident memory
STATUS = Path('/proc/self/status')

_earlier: list[float] = []  # peaks that have been forgotten


def peak_mb() -> float:
    """Peak resident memory of this process so far, in MiB."""
    return max([peak_since_mb(), *_earlier])


def peak_since_mb() -> float:
    """Peak resident memory of this process since `forget_peak`, in MiB."""
    # Linux begins the ru_maxrss of a new program with the peak of whoever started it, so that a small program
    # started by a large one has the large one's.
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith('VmHWM:'):
                return int(line.split()[1]) / 2**10  # kB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == 'darwin' else 2**10)


def forget_peak() -> bool:
    """Begins `peak_since_mb` anew; False where the system (not Linux, some sandboxes) does not let a process do so."""
    earlier = peak_since_mb()
    try:
        CLEAR.write_text('5')
    except OSError:
        return False
    _earlier.append(earlier)
    return True


def forgotten() -> bool:
    """Whether `forget_peak` has begun the peak anew, ever."""
    return bool(_earlier)
