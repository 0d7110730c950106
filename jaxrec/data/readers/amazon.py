"""Amazon reviews of 2014 with the categories of their products, compiled to a log: any category of products.

Every review is an event and counts as a click, whatever its rating, as in DIEN (arXiv 1809.03672) and CAN (arXiv
2011.05625). Their task is label 'sampled_negatives' with the sampler 'popularity' under the split
'last_item_user_holdout' with `min_history` 1. Their published scripts differ: they evaluate lines as code, need
metadata for every product, exclude the positive item alone when they draw a negative, and draw without a seed.

Letters: N reviews.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.configurable import configurable
from jaxrec.data.logs.behaviour_log import BehaviourLog, ColumnSpec, compile_log
from jaxrec.data.logs.columns import begins, place_in_run
from jaxrec.data.logs.raw_columns import Coded, distinct
from jaxrec.data.readers import amazon_files
from jaxrec.data.readers.amazon_files import DEFAULT, MALFORMED, NO_TIME, AmazonReviews
from jaxrec.data.readers.blocks import Block, Coding, occurred, read_blocks, read_table

log = logging.getLogger(__name__)
SAME_DAY = ('lines', 'unordered')


@configurable('log')
def compile_amazon(
    data_dir: str | Path, folder: str | Path, category: str = 'Books', five_core: bool = True, same_day: str = 'lines',
    texts: bool = False, seed: int = 0, fetch: bool = False,
) -> BehaviourLog:  # fmt: skip
    """Compiles the reviews of a category of products to a log.

    Events have `time` and `rating` (numeric, 0 where a review has none); items have a `category`, the last entry of
    their first path of categories, or 'default' where the metadata name none or lack the product. Malformed lines,
    reviews without a time, and repetitions of a review (same user, product and day) are dropped and counted. The
    prepared TFDS data are in `tfds/` next to `folder`.

    Args:
      data_dir: folder of `reviews_<category>_5.json.gz` and `meta_<category>.json.gz`, also unpacked.
      folder: of the log.
      category: as in the names of the files: 'Books', 'Electronics', 'Beauty', ...
      five_core: read the publisher's subset in which each user and product has at least 5 reviews,
        `reviews_<category>_5`, which DIEN and CAN use; else all of `reviews_<category>`.
      same_day: reviews carry a day, not an instant. 'lines': those of a user and day follow each other in the order of
        their lines, a second apart, as in DIEN; 'unordered': none is history of another.
      texts: items have a `text` too (categorical: the text itself), their title, brand, price and categories, which
        TIGER turns into item vectors; '' where the metadata lack the product.
      seed: of the hash that assigns ids.
      fetch: download the two files into `data_dir` when they are not there.

    Raises:
      ValueError: when files are missing or cannot be read, or hold no review.
    """
    if same_day not in SAME_DAY:
        raise ValueError(f'same_day={same_day!r}: say how reviews of a day stand, {" or ".join(SAME_DAY)}')
    files = amazon_files.find_files(data_dir, category, five_core, fetch)
    request = {'reader': AmazonReviews.tag(), 'same_day': same_day, 'seed': seed}
    request |= {'texts': True} if texts else {}
    if made := BehaviourLog.of_request(folder, files, request):
        return made
    reviews, metadata = files
    events, dropped, notes = _usable(read_table(AmazonReviews, [reviews], folder), reviews)
    if same_day == 'lines':
        events['time'] = in_line_order(events['user'].codes, events['time'])
    products, _ = distinct(events['item'])
    # The reviews say which products are wanted, so prepared metadata are theirs as well.
    table = amazon_files.AmazonTexts if texts else amazon_files.AmazonMetadata
    blocks = read_blocks(table, [metadata, reviews], folder, wanted=frozenset(products.tolist()))
    items, of_items, about_items = _items(blocks, products, metadata, ('category', 'text')[: 1 + texts])
    columns = {name: ColumnSpec('categorical') for name in items if name != 'item'}
    return compile_log(
        folder, events, items, columns={'rating': ColumnSpec('numeric')} | columns, sources=files,
        dropped=occurred(dropped | of_items), notes=occurred(notes | about_items), request=request, seed=seed,
    )  # fmt: skip


def _usable(events: dict[str, Any], path: Path) -> tuple[dict[str, Any], dict[str, int], dict[str, int]]:
    """Drops the lines that are no review or repeat one, and counts them."""
    user, item, time = events['user'], events['item'], events['time']
    malformed = (user.values == MALFORMED)[user.codes]
    timeless = ~malformed & (time == NO_TIME)
    usable = np.flatnonzero(~malformed & ~timeless)
    _warn(path, malformed, 'reviews')
    if not len(usable):
        raise ValueError(
            f'{path} has {len(time)} lines and no review among them (reviewerID, asin, unixReviewTime): another file?'
        )
    # Stable: of equal reviews, the first line is first.
    order = usable[np.lexsort((time[usable], item.codes[usable], user.codes[usable]))]
    again = ~begins(user.codes[order], item.codes[order])
    repeated = again & ~begins(time[order])
    kept = np.sort(order[~repeated])
    dropped = {
        'malformed lines of reviews': int(malformed.sum()),
        'reviews without a time': int(timeless.sum()),
        'repetitions of a review': int(repeated.sum()),
    }
    notes = {
        'reviews of a product that the user had reviewed on another day': int((again & ~repeated).sum()),
        'reviews without a rating': int((events['rating'][kept] == 0).sum()),
    }
    left = {name: events[name][kept] for name in ('rating', 'time')}
    coded = {name: events[name]._replace(codes=events[name].codes[kept]) for name in ('user', 'item')}
    return coded | left, dropped, notes


def in_line_order(user: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Moves reviews of a user, integer [N], that share a time, int64 [N], apart, a second each, in the order given.

    Returns:
      int64 [N], all different within a user; a time is moved only as far as an earlier one is in its way.
    """
    order = np.lexsort((time, user))  # stable
    users, times = user[order], time[order]
    first = begins(users)
    nth = place_in_run(first)
    # Of a user, the nth time is the largest of (time of j) + (n - j) over j <= n. A running maximum over all users does
    # it, when each user's times are lifted above those of the user before.
    lift = (np.cumsum(first) - 1) * (int(times.max(initial=0)) - int(times.min(initial=0)) + len(times) + 1)
    moved = np.empty_like(times)
    moved[order] = np.maximum.accumulate(times - nth + lift) - lift + nth
    return moved


def _items(
    blocks: Iterator[Block], products: np.ndarray, path: Path, names: Sequence[str]
) -> tuple[dict[str, Any], dict[str, int], dict[str, int]]:
    """The attributes of every reviewed product, and counts of what was dropped and noted."""
    place = {product: at for at, product in enumerate(products.tolist())}
    found = np.full(len(products), -1, np.int64)  # the line that describes each
    codings, malformed = {name: Coding() for name in names}, []
    unused = twice = start = 0
    for block in blocks:
        for name, coding in codings.items():
            coding.add(block[name])
        items = block['item'].values.tolist()
        malformed.append((block['item'].values == MALFORMED)[block['item'].codes])
        for line, code in enumerate(block['item'].codes.tolist(), start):
            at = place.get(items[code])
            if at is None:
                unused += items[code] != MALFORMED
            elif found[at] >= 0:
                twice += 1
            else:
                found[at] = line
        start += len(block['item'].codes)
    bad = np.concatenate([np.zeros(0, bool), *malformed])
    _warn(path, bad, 'metadata')
    if bad.all():
        raise ValueError(f'{path} has {len(bad)} lines and no product (asin) among them: another file?')
    named = {name: _named(coding.joined(), found, name) for name, coding in codings.items()}
    dropped = {'malformed lines of metadata': int(bad.sum()), 'metadata of products without reviews': unused}
    notes = {
        'products without metadata': int((found < 0).sum()),
        'products whose metadata name no category': int(((named['category'] == DEFAULT) & (found >= 0)).sum()),
        'further metadata of a product': twice,
    }
    return {'item': products, **named}, dropped, notes


def _named(column: Coded, lines: np.ndarray, name: str) -> np.ndarray:
    """str [V]: the values of some lines; the default where there is none (-1)."""
    values = np.append(column.values, DEFAULT if name == 'category' else '')
    return values[np.where(lines >= 0, column.codes[lines], len(values) - 1)]


def _warn(path: Path, malformed: np.ndarray, what: str) -> None:
    if malformed.any():
        first = int(np.argmax(malformed)) + 1
        log.warning('%s: %d malformed lines of %s, the first is line %d', path, malformed.sum(), what, first)
