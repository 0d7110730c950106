"""What files of Yahoo! R6B hold, line by line by one regular expression, without the reader.

python -m tests.oracles.yahoo ydata-fp-td-clicks-v2_0.20111002 ...
"""

import gzip
import itertools
import json
import re
import sys

LINE = re.compile(r'^(\d+) +id-(\d+) +([01]) +\|user((?: +\d+)*)((?: +\|id-\d+)+)\s*$')


def visits(paths):
    """Well-formed lines as {time, shown, click, features, pool}, the last two as sets; None for others."""
    for path in map(str, paths):
        with (gzip.open if path.endswith('.gz') else open)(path, 'rb') as file:
            for line in file.read().decode().split('\n')[:-1]:
                match = LINE.match(line)
                if match is None:
                    yield None
                    continue
                time, shown, click, features, pool = match.groups()
                yield {
                    'time': int(time),
                    'shown': int(shown),
                    'click': int(click),
                    'features': {int(text) for text in features.split()},
                    'pool': {int(text.removeprefix('|id-')) for text in pool.split()},
                    'repeats': (
                        len(features.split()) > len(set(features.split())),
                        len(pool.split()) > len(set(pool.split())),
                    ),
                }


def counts(paths):
    """Visits, clicks, articles, distinct pools, sizes of pools, and lines that name something twice."""
    found = list(visits(paths))
    pools = [frozenset(visit['pool']) for visit in found]
    return {
        'visits': len(found),
        'clicks': sum(visit['click'] for visit in found),
        'articles': len(set().union(*pools)),
        'pools': len(set(pools)),
        'changes': sum(a != b for a, b in itertools.pairwise(pools)),
        'largest': max(map(len, pools)),
        'features_twice': sum(visit['repeats'][0] for visit in found),
        'articles_twice': sum(visit['repeats'][1] for visit in found),
    }


if __name__ == '__main__':
    print(json.dumps(counts(sys.argv[1:])))
