"""What UserBehavior holds, counted line by line without the reader.

python -m tests.oracles.taobao UserBehavior.csv
"""

import csv
import json
import sys

FIRST, LAST = 1_511_539_200, 1_511_539_200 + 9 * 86_400 - 1


def kept_lines(path, outside):
    """(user, item, category, behaviour, time) of the lines that stay, and how many do not, and why."""
    rows, before, beyond = [], 0, 0
    for line in csv.reader(open(path)):
        user, item, category, time = int(line[0]), int(line[1]), int(line[2]), int(line[4])
        if time < 0:
            before += 1
            continue
        if not FIRST <= time <= LAST:
            beyond += 1
            if outside == 'drop':
                continue
        rows.append((user, item, category, line[3], time))
    return rows, before, beyond


def counts(path, outside='drop'):
    rows, before, beyond = kept_lines(path, outside)
    first_category, several = {}, set()
    for _, item, category, _, _ in rows:
        if first_category.setdefault(item, category) != category:
            several.add(item)
    return {
        'lines': len(rows),
        'users': len({row[0] for row in rows}),
        'items': len(first_category),
        'categories': len(set(first_category.values())),
        'behaviours': len({row[3] for row in rows}),
        'before_1970': before,
        'outside': beyond,
        'several': len(several),
    }


def samples(path, outside='drop', positive=('pv',)):
    """{user: (last clicked item, [items clicked strictly before])} of users with at least two clicks."""
    rows, _, _ = kept_lines(path, outside)
    found = {}
    for user in {row[0] for row in rows}:
        clicks = [(time, item) for u, item, _, kind, time in rows if u == user and kind in positive]
        clicks.sort(key=lambda click: click[0])  # stable: of one second, the later line is last
        if len(clicks) >= 2:
            last, item = clicks[-1]
            found[user] = item, [other for time, other in clicks if time < last]
    return found


if __name__ == '__main__':
    print(json.dumps(counts(sys.argv[1]) | {'samples': len(samples(sys.argv[1]))}))
