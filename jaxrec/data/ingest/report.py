"""What an ingest read and skipped, and what the log holds, as text."""

from typing import Any

from jaxrec.data.logs.log import Log
from jaxrec.data.sessions.log import SessionLog


def report(log: Log) -> str:
    """What was read, what was left out and where, and what the log holds."""
    made = log.manifest['ingest']
    rows = f'{made["rows_read"]} rows read'
    left = [f'  left out: {found["rows"]} x {reason} ({_places(found)})' for reason, found in made['left_out'].items()]
    extra = made['extra_lines']
    lines = [f'  {extra} lines more than rows: line breaks in quotes, or empty lines'] if extra else []
    notes = [f'  note: {count} x {note}' for note, count in log.manifest['notes'].items()]
    counts = ', '.join(f'{count} {what}' for what, count in log.manifest['counts'].items() if count)
    return '\n'.join([rows, *left, *lines, *notes, f'wrote {log.folder}: {log.KIND} of {counts}'])


def _places(found: dict[str, Any]) -> str:
    more = ', ...' if found['rows'] > len(found['first']) else ''
    return ', '.join(found['first']) + more


def report_sessions(log: SessionLog) -> str:
    """What a session log holds, and what was left out."""
    left = [f'  left out: {count} x {reason}' for reason, count in log.manifest['dropped'].items() if count]
    counts = ', '.join(f'{count} {what}' for what, count in log.manifest['counts'].items() if count)
    return '\n'.join([*left, f'wrote {log.folder}: {log.KIND} of {counts}'])
