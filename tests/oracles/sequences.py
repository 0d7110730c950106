"""What sequences hold, counted line by line without the reader.

python -m tests.oracles.sequences FOLDER
"""

import csv
import gzip
import json
import pathlib
import sys


def sequences(folder):
    """{user: [items in order]}, and how many lines are empty."""
    found, empty = {}, 0
    for line in gzip.open(pathlib.Path(folder) / 'sequences.txt.gz', 'rt'):
        words = line.split()
        if words:
            found[int(words[0])] = [int(word) for word in words[1:]]
        else:
            empty += 1
    return found, empty


def items(folder):
    """{item: row of items.tsv as a dict}, in order."""
    with gzip.open(pathlib.Path(folder) / 'items.tsv.gz', 'rt', newline='') as file:
        return {int(row['item_id']): row for row in csv.DictReader(file, delimiter='\t')}


def counts(folder):
    found, empty = sequences(folder)
    met = {item for own in found.values() for item in own}
    return {
        'events': sum(map(len, found.values())),
        'users': len(found),
        'items': len(met),
        'empty': empty,
        'repeated': sum(len(own) - len(set(own)) for own in found.values()),
        'short': sum(len(own) < 3 for own in found.values()),
        'unmet': len(items(folder).keys() - met),
    }


def examples(folder, part, length):
    """[(user, target, [items before])] of a part of leave-last-out, every item of it an example."""
    found = []
    for user, own in sequences(folder)[0].items():
        held = len(own) - 2 if len(own) >= 3 else len(own)
        places = {'train': range(1, held), 'validation': [held], 'test': [held + 1]}[part]
        if part != 'train' and len(own) < 3:
            continue
        found += [(user, own[place], own[max(0, place - length) : place]) for place in places]
    return found


if __name__ == '__main__':
    print(json.dumps(counts(sys.argv[1])))
