"""What Amazon's reviews and metadata hold, counted line by line without the reader.

python -m tests.oracles.amazon reviews_Books_5.json.gz meta_Books.json.gz
"""

import ast
import gzip
import json
import sys


def records(path):
    """Each line as a mapping, or None."""
    for line in gzip.open(path, 'rt', encoding='utf-8'):
        record = None
        for parse in (json.loads, ast.literal_eval):
            try:
                record = parse(line)
                break
            except (ValueError, SyntaxError):
                pass
        yield record if isinstance(record, dict) else None


def kept_reviews(path):
    """[(user, item, time, rating)] in the order of their lines, and what was left out."""
    kept, left_out = [], {'malformed': 0, 'timeless': 0, 'repeated': 0}
    for record in records(path):
        if not record or 'reviewerID' not in record or 'asin' not in record:
            left_out['malformed'] += 1
            continue
        time = record.get('unixReviewTime')
        if not isinstance(time, int) or time < 0:
            left_out['timeless'] += 1
            continue
        user, item = record['reviewerID'], record['asin']
        if any(review[:3] == (user, item, time) for review in kept):
            left_out['repeated'] += 1
            continue
        kept.append((user, item, time, record.get('overall', 0.0)))
    return kept, left_out


def categories(path):
    """{item: category} by the first description, and how many lines were no product, or a further one."""
    found, malformed, further = {}, 0, 0
    for record in records(path):
        if not record or 'asin' not in record:
            malformed += 1
        elif record['asin'] in found:
            further += 1
        else:
            paths = record.get('categories') or [[]]
            found[record['asin']] = paths[0][-1] if paths[0] else 'default'
    return found, malformed, further


def samples(path, same_day='lines'):
    """{user: (item of the last review, [items reviewed before])} of users with at least two reviews."""
    reviews, _ = kept_reviews(path)
    found = {}
    for user in {review[0] for review in reviews}:
        own = sorted((r for r in reviews if r[0] == user), key=lambda r: r[2])  # stable
        if len(own) >= 2:
            last = own[-1]
            before = own[:-1] if same_day == 'lines' else [r for r in own if r[2] < last[2]]
            found[user] = last[1], [r[1] for r in before]
    return found


def counts(reviews_path, meta_path):
    reviews, left_out = kept_reviews(reviews_path)
    described, malformed, further = categories(meta_path)
    items = {review[1] for review in reviews}
    pairs = [review[:2] for review in reviews]
    return left_out | {
        'reviews': len(reviews),
        'users': len({review[0] for review in reviews}),
        'items': len(items),
        'categories': len({described.get(item, 'default') for item in items}),
        'again': len(pairs) - len(set(pairs)),
        'unrated': sum(review[3] == 0 for review in reviews),
        'malformed_metadata': malformed,
        'further': further,
        'undescribed': len(items - described.keys()),
        'default': sum(described.get(item) == 'default' for item in items),
        'unreviewed': len(described.keys() - items),
    }


if __name__ == '__main__':
    print(json.dumps(counts(*sys.argv[1:3]) | {'samples': len(samples(sys.argv[1]))}))
