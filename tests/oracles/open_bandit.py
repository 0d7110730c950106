"""Rows of the Open Bandit Dataset by the csv module alone, and what a fixed policy earns on them, exactly.

python -m tests.oracles.open_bandit all.csv.gz
"""

import csv
import datetime
import gzip
import json
import sys
from fractions import Fraction


def rows(path):
    """Rows in order of time, each {time, item, position, click, propensity, features, affinity}."""
    with (gzip.open if str(path).endswith('.gz') else open)(path, 'rt', newline='') as file:
        read = list(csv.DictReader(file))
    moment = lambda row: datetime.datetime.fromisoformat(row['timestamp'])
    read.sort(key=moment)
    return [
        {
            'time': moment(row).timestamp(),
            'item': int(row['item_id']),
            'position': int(row['position']),
            'click': int(row['click']),
            'propensity': float(row['propensity_score']),
            'features': [row[f'user_feature_{n}'] for n in range(4)],
            'affinity': [float(row[name]) for name in row if name.startswith('user-item_affinity_')],
        }
        for row in read
    ]


def fixed_policy(read, pick):
    """Matches, clicks, replay's click rate and the IPS and SNIPS estimates of a policy (row) -> item."""
    matched = [row for row in read if pick(row) == row['item']]
    weights = [1 / Fraction(row['propensity']) for row in matched]
    reward = sum(w * row['click'] for w, row in zip(weights, matched, strict=True))
    clicks = sum(row['click'] for row in matched)
    return {
        'matches': len(matched),
        'clicks': clicks,
        'ctr': Fraction(clicks, len(matched)),
        'ips': reward / len(read),
        'snips': reward / sum(weights),
    }


if __name__ == '__main__':
    found = rows(sys.argv[1])
    print(json.dumps({'rows': len(found), 'clicks': sum(row['click'] for row in found)}))
