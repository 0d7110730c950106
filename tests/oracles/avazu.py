"""What Avazu's train file holds, counted line by line without the reader.

python -m tests.oracles.avazu train.gz
"""

import collections
import csv
import gzip
import json
import sys


def rows(path):
    """Each line as {name: text}."""
    with gzip.open(path, 'rt', newline='') as file:
        yield from csv.DictReader(file)


def counts(path, min_count=1):
    """Lines and clicks, lines of each day, and the number of values of each field that reach a floor."""
    days, clicks, values = collections.Counter(), 0, collections.defaultdict(collections.Counter)
    for row in rows(path):
        days[row['hour'][:6]] += 1
        clicks += row['click'] == '1'
        for name in row.keys() - {'id', 'click', 'hour'}:
            values[name][row[name]] += 1
    return {
        'lines': sum(days.values()),
        'clicks': clicks,
        'days': [days[day] for day in sorted(days)],
        'values': {n: sum(c >= min_count for c in counted.values()) for n, counted in sorted(values.items())},
    }


if __name__ == '__main__':
    print(json.dumps(counts(sys.argv[1])))
