"""Reads the examples of a compiled log back into raw values, to compare them with an oracle's."""

import numpy as np

from jaxrec.data.sources.behaviour_source import RequestSource

FEATURES = {'user': ['user'], 'candidate': ['item', 'category'], 'history': ['item', 'category']}


def read_examples(log, part, label, split, min_history=1):
    """Every example of a part, in order: (user, label, (item, category), [(item, category), ...])."""
    source = RequestSource(
        log.folder,
        features=FEATURES,
        label=label,
        split=split,
        part=part,
        min_history=min_history,
        batch_size=32,
        history_length=50,
        shuffle=False,
        remainder='pad',
    )
    user, item, category = (log.vocabulary(name) for name in ('user', 'item', 'category'))
    pairs = lambda items, categories: list(
        zip(item.decode(items).tolist(), category.decode(categories).tolist(), strict=True)
    )
    examples = []
    for batch in map(source.__getitem__, range(len(source))):
        for b in np.flatnonzero(batch['valid'][:, 0]):
            length = batch['history/length'][b]
            candidate = pairs(batch['candidate/item'][b], batch['candidate/category'][b])
            history = pairs(batch['history/item'][b, :length], batch['history/category'][b, :length])
            name = user.decode(batch['user/user'][[b]]).tolist()[0]
            examples.append((name, int(batch['label'][b, 0]), candidate[0], history))
    assert len(examples) == source.examples
    return examples
