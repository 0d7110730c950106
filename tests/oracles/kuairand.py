"""What KuaiRand's files hold, row by row, without the reader.

python -m tests.oracles.kuairand FOLDER
"""

import csv
import json
import pathlib
import sys
from collections import Counter

LOGS = ('log_standard_4_08_to_4_21_1k.csv', 'log_standard_4_22_to_5_08_1k.csv')


def table(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def kept_rows(folder):
    """Usable rows in the order of the files, each a dict of integers, and how many are not, by reason."""
    kept, reasons, seen = [], Counter(), set()
    for name in LOGS:
        for row in table(pathlib.Path(folder) / name):
            row = {key: int(value) for key, value in row.items()}
            labels = {row[key] for key in ('is_like', 'is_follow', 'is_forward', 'long_view')}
            key = row['user_id'], row['video_id'], row['time_ms']
            if row['is_rand']:
                reasons['random'] += 1
            elif row['time_ms'] <= 0:
                reasons['timeless'] += 1
            elif row['play_time_ms'] < 0:
                reasons['negative'] += 1
            elif not labels <= {0, 1}:
                reasons['labels'] += 1
            elif key in seen:
                reasons['repeated'] += 1
            else:
                seen.add(key)
                kept.append(row)
    return kept, dict(reasons)


def sessions(folder, gap=1_800.0, longest=10, least=1):
    """[(user, tab, time in seconds, [(video, seconds, view, like, follow, share)])], by user and time."""
    rows, _ = kept_rows(folder)
    found = []
    for user in sorted({row['user_id'] for row in rows}):
        own = sorted((row for row in rows if row['user_id'] == user), key=lambda row: row['time_ms'])
        run = []
        for before, row in zip([None, *own], own, strict=False):
            apart = before is None or row['tab'] != before['tab']
            apart = apart or row['time_ms'] - before['time_ms'] > gap * 1_000
            if apart or len(run) == longest:
                run = []
                found.append(run)
            run.append(row)
    shown = Counter(row['video_id'] for row in rows)
    found = [[row for row in run if shown[row['video_id']] >= least] for run in found]
    labels = ('long_view', 'is_like', 'is_follow', 'is_forward')
    return [
        (
            run[0]['user_id'],
            run[0]['tab'],
            run[0]['time_ms'] / 1_000,
            [(row['video_id'], row['play_time_ms'] / 1_000, *(row[name] for name in labels)) for row in run],
        )
        for run in found
        if run
    ]


def videos(folder):
    """{video: first row of its features}."""
    found = {}
    for row in table(pathlib.Path(folder) / 'video_features_basic_1k.csv'):
        found.setdefault(int(row['video_id']), row)
    return found


def counts(folder):
    rows, reasons = kept_rows(folder)
    shown, users = {row['video_id'] for row in rows}, {row['user_id'] for row in rows}
    described = videos(folder)
    known = [described[video] for video in shown if video in described]
    features = {int(row['user_id']) for row in table(pathlib.Path(folder) / 'user_features_1k.csv')}
    return reasons | {
        'rows': len(rows),
        'users': len(users),
        'videos': len(shown),
        'sessions': len(sessions(folder)),
        'longer': sum(row['play_time_ms'] > row['duration_ms'] for row in rows),
        'unknown_users': len(users - features),
        'undescribed': len(shown - described.keys()),
        'untagged': sum(not row['tag'].strip() for row in known),
        'endless': sum(not row['video_duration'] for row in known),
    }


if __name__ == '__main__':
    print(json.dumps(counts(sys.argv[1])))
