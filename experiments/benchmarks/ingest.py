"""What compiling a CSV file costs: rows in random order, text ids, a tenth as many users and items as rows.

The command itself is timed, from the start of the interpreter to the finished log; memory is that of all its processes.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from jaxrec.runs.timing import record

RUNS = 5
PIECE = 1_000_000
_PROGRAM = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
seconds, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({'s': seconds, 'cpu_s': used.ru_utime + used.ru_stime, 'peak': used.ru_maxrss}))
"""


def write_rows(path: Path, rows: int) -> None:
    """Writes impressions of rows / 10 users and items: user, item, time, click, category."""
    draw, many = np.random.default_rng(0), max(2, rows // 10)
    text = lambda prefix, numbers: np.char.add(prefix, numbers.astype(str))
    with pa.OSFile(str(path), 'wb') as file:
        for first in range(0, rows, PIECE):
            size = min(PIECE, rows - first)
            item = draw.integers(0, many, size)
            table = pa.table(
                {
                    'user': text('user_', draw.integers(0, many, size)),
                    'item': text('item_', item),
                    'time': 1_511_539_200 + draw.integers(0, 9 * 86_400, size),
                    'click': draw.integers(0, 2, size),
                    'category': text('c', item % 10_000),
                }
            )
            options = pyarrow.csv.WriteOptions(include_header=first == 0, quoting_style='none')
            pyarrow.csv.write_csv(table, file, options)


def measure(path: Path, folder: Path) -> dict[str, float]:
    """Seconds, CPU seconds and peak memory in KiB of one ingest."""
    command = [sys.executable, '-m', 'jaxrec', 'ingest', f'--input={path}', f'--output={folder}']
    columns = ['--user=user', '--item=item', '--time=time', '--time_unit=s', '--label=click']
    # Peaks are told of children that have ended, so each run has a parent of its own.
    run = [sys.executable, '-c', _PROGRAM, *command, *columns, '--item_attribute=category:categorical']
    environment = os.environ | {'PYTHONPATH': str(Path(__file__).parents[2])}
    done = subprocess.run(run, check=True, capture_output=True, env=environment)
    return json.loads(done.stdout)


def run(name: str, rows: int, runs: int = RUNS) -> dict[str, Any]:
    """Time several ingests of one file; a step is a whole ingest, an example a row."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'rows.csv'
        write_rows(path, rows)
        size = path.stat().st_size
        found = [measure(path, Path(folder) / f'log{number}') for number in range(runs)]
    seconds = [each['s'] for each in found]
    unit = 2**20 if sys.platform == 'darwin' else 2**10
    shapes = f'{rows} rows, {size / 2**20:.0f} MiB of CSV, {max(2, rows // 10)} users and items'
    line = record(name, shapes, 0, (statistics.median(seconds), seconds), rows, 0)
    del line['windows_rss_mb']  # the memory is that of other processes
    return line | {
        'peak_rss_mb': round(max(each['peak'] for each in found) / unit),
        'cpu_s': round(statistics.median(each['cpu_s'] for each in found), 2),
        'versions': f'{line["versions"]} pyarrow {pa.__version__}',
    }
