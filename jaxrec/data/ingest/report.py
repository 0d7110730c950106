"""Reports an ingest as text: rows read, rows skipped with their reasons and places, and the size of the log."""

from collections.abc import Mapping
from typing import Any

from jaxrec.data.logs.log import Log
from jaxrec.data.sessions.log import SessionLog


def report(log: Log) -> str:
    """Returns the report on a log that `ingest` wrote."""
    made = log.manifest['ingest']
    left, extra = made['left_out'], made['extra_lines']
    count = sum(found['rows'] for found in left.values())
    many = lambda found: f'{found["rows"]} x ' if len(left) > 1 else ''
    skipped = [f'{many(found)}{reason}: {_places(found)}' for reason, found in left.items()]
    reasons = f', skipped {count} ({"; ".join(skipped)})' if count else ''
    lines = [f'{extra} lines more than rows: line breaks in quotes, or empty lines.'] if extra else []
    notes = [f'Note: {number} x {note}.' for note, number in log.manifest['notes'].items()]
    return '\n'.join([f'Read {made["rows_read"]} rows{reasons}.', *lines, *notes, _written(log)])


def report_sessions(log: SessionLog) -> str:
    """Returns the report on a session log."""
    skipped = [f'Skipped {count} x {reason}.' for reason, count in log.manifest['dropped'].items() if count]
    return '\n'.join([*skipped, _written(log)])


def _written(log: Log | SessionLog) -> str:
    counts: Mapping[str, int] = log.manifest['counts']
    return f'Wrote {log.folder}: {", ".join(f"{count} {what}" for what, count in counts.items() if count)}.'


def _places(found: Mapping[str, Any]) -> str:
    return ', '.join(found['first']) + (', ...' if found['rows'] > len(found['first']) else '')
