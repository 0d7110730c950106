"""Finished cells of a table in one file, from which another machine completes or checks it.

A line is {'cell': '<column>/<row>/<trial or seed>', 'result': what `run_cell` returned}, gzipped.
"""

import gzip
import json
from pathlib import Path

from jaxrec.files import replace_bytes
from jaxrec.runs.comparison.tables import write_json

FILE = 'cells.jsonl.gz'


def pack(workdir: Path) -> Path:
    """Collects the results of all cells below a workdir in its `cells.jsonl.gz`, and returns the path."""
    lines = []
    for path in sorted(workdir.glob('*/*/*/result.json')):
        cell = path.parent.relative_to(workdir).as_posix()
        lines.append(json.dumps({'cell': cell, 'result': json.loads(path.read_text())}) + '\n')
    # Without a time in its header the same cells make the same file.
    replace_bytes(workdir / FILE, gzip.compress(''.join(lines).encode(), mtime=0))
    return workdir / FILE


def unpack(file: Path, workdir: Path) -> int:
    """Copies finished cells to a workdir and returns how many were not there; a cell of another config is run anew.

    Raises:
      ValueError: the file is none of `pack`.
    """
    try:
        lines = [json.loads(line) for line in gzip.decompress(file.read_bytes()).decode().splitlines()]
        cells = {str(line['cell']): dict(line['result']) for line in lines}
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'--cells={file} cannot be read ({error!r}): give the {FILE} of a workdir of `jaxrec compare`'
        ) from None
    taken = 0
    for cell, result in cells.items():
        if Path(cell).is_absolute() or '..' in Path(cell).parts:
            raise ValueError(f'--cells={file} names the cell {cell!r}, which lies outside the workdir')
        if not (workdir / cell / 'result.json').exists():
            write_json(workdir / cell / 'result.json', result)
            taken += 1
    return taken
