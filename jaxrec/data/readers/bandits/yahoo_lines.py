"""Lines of Yahoo! R6B, parsed one by one into the columns of a block.

Users and pools repeat: each distinct text is parsed once a block.

Letters: n lines, k distinct pools, u distinct users.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxrec.data.logs.raw_columns import Coded
from jaxrec.data.readers.blocks import Block
from jaxrec.data.readers.files import open_file, readable

FEATURES = 136
LARGEST = 2**31 - 1  # ids of articles are kept in 32 bits
DAY = 86_400
SEPTEMBER_30 = 1_317_340_800  # midnight UTC, in seconds since 1970
DROPPED = (
    'malformed lines', 'lines of another day than their file', 'lines out of time order',
    'lines whose click is not 0 or 1', 'lines with an empty pool', 'lines that show an article outside their pool',
    'lines with a feature outside 1..136',
)  # fmt: skip
NOTED = ('lines that name a feature twice', 'lines that name an article twice')
_MALFORMED, _DAY, _ORDER, _CLICK, _EMPTY, _OUTSIDE, _FEATURE = DROPPED


class Irregular(Exception):
    """A line that cannot be replayed: its reason is one of `DROPPED`, its text says what was found."""

    def __init__(self, reason: str, text: str):
        super().__init__(text)
        self.reason = reason


class Lines:
    """The lines of a block so far."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._rows: list[tuple[int, int, int, int, int, int]] = []
        self._pools: dict[bytes, tuple[int, frozenset[int], int]] = {}
        self._users: dict[bytes, tuple[int, tuple[int, ...], int]] = {}
        self._dropped = dict.fromkeys(DROPPED, 0)
        self._noted = [0, 0]
        self.first_dropped = ''

    def __len__(self) -> int:
        return len(self._rows)

    @staticmethod
    def of_file(path: Path, remedy: str) -> Iterator[tuple[int, bytes]]:
        """The lines of a file, plain or packed, counted from 1."""
        with readable(str(path), remedy), open_file(path, remedy) as stream:
            yield from enumerate(stream, 1)

    def add(self, text: bytes, day: int, last: int | None) -> int:
        """Adds a line of the file of a `day` of October 2011, and returns its time; `last` is that of the line before.

        A time may be a day before or after the file's, since days are local; one further away is an error, which would
        leave the lines after it out of order.

        Raises:
          Irregular: the line cannot be replayed; nothing was added.
        """
        head, bar, rest = text.partition(b'|user')
        fields = head.split()
        if not bar or len(fields) != 3 or not fields[1].startswith(b'id-'):
            raise Irregular(_MALFORMED, f'{_shown(text)} is no visit of time, id-article, click and |user')
        try:
            time, shown = int(fields[0]), int(fields[1][3:])
        except ValueError:
            raise Irregular(_MALFORMED, f'{_shown(head)} names no time and article') from None
        if not -DAY <= time - (SEPTEMBER_30 + day * DAY) < 2 * DAY:
            raise Irregular(_DAY, f'time {time} is not of {day} October 2011, the day of its file')
        if last is not None and time < last:
            raise Irregular(_ORDER, f'time {time} is earlier than {last} of the line before it')
        if fields[2] not in (b'0', b'1'):
            raise Irregular(_CLICK, f'click is {_shown(fields[2])} and not 0 or 1')
        user, bar, pool = rest.partition(b'|')
        user_code, _, user_twice = self._user(user)
        pool_code, articles, pool_twice = self._pool(bar + pool)
        if shown not in articles:
            raise Irregular(_OUTSIDE, f'article {shown} is shown but not among the {len(articles)} of its pool')
        self._rows.append((time, shown, int(fields[2]), day, pool_code, user_code))
        self._noted[0] += user_twice
        self._noted[1] += pool_twice
        return time

    def _user(self, text: bytes) -> tuple[int, tuple[int, ...], int]:
        """Code, features and whether one is named twice, of a text of features."""
        if (known := self._users.get(text)) is not None:
            return known
        try:
            given = [int(field) for field in text.split()]
        except ValueError:
            raise Irregular(_MALFORMED, f'{_shown(text)} are no features') from None
        features = tuple(sorted(set(given)))
        if features and not (1 <= features[0] and features[-1] <= FEATURES):
            wrong = features[0] if features[0] < 1 else features[-1]
            raise Irregular(_FEATURE, f'feature {wrong} is outside 1..{FEATURES}')
        self._users[text] = (len(self._users), features, len(given) > len(features))
        return self._users[text]

    def _pool(self, text: bytes) -> tuple[int, frozenset[int], int]:
        """Code, articles and whether one is named twice, of a text of |id-article ones."""
        text = text.rstrip()
        if (known := self._pools.get(text)) is not None:
            return known
        given = []
        for field in text.split():
            if not field.startswith(b'|id-') or not field[4:].isdigit():
                raise Irregular(_MALFORMED, f'{_shown(field)} is no |id-article')
            given.append(int(field[4:]))
            if given[-1] > LARGEST:
                raise Irregular(_MALFORMED, f'{_shown(field)} is above {LARGEST}, no article has such a number')
        if not given:
            raise Irregular(_EMPTY, 'the pool is empty')
        articles = frozenset(given)
        self._pools[text] = (len(self._pools), articles, len(given) > len(articles))
        return self._pools[text]

    def drop(self, error: Irregular, message: str) -> None:
        """Counts a line that is left out."""
        self._dropped[error.reason] += 1
        self.first_dropped = self.first_dropped or message

    def take(self) -> Block:
        """The block so far, as `YahooVisits` says; a new one begins."""
        pools = [sorted(articles) for _, articles, _ in self._pools.values()]
        users = [features for _, features, _ in self._users.values()]
        rows = np.asarray(self._rows, np.int64).reshape(-1, 6).T
        flat = lambda lists, dtype: np.asarray([value for one in lists for value in one], dtype)
        count = lambda lists: np.asarray([len(one) for one in lists], np.int32)
        messages = np.asarray([self.first_dropped] if self.first_dropped else [], str)
        block: Block = {
            'time': rows[0], 'item': rows[1].astype(np.int32), 'click': rows[2].astype(np.int8),
            'day': rows[3].astype(np.int8),
            'pool': rows[4].astype(np.int32), 'pool_values': flat(pools, np.int32), 'pool_lengths': count(pools),
            'user': rows[5].astype(np.int32), 'user_values': flat(users, np.int16), 'user_lengths': count(users),
            'dropped': np.asarray([self._dropped[reason] for reason in DROPPED], np.int64),
            'noted': np.asarray(self._noted, np.int64),
            'first_dropped': Coded(np.arange(len(messages), dtype=np.int32), messages),
        }  # fmt: skip
        self._start()
        return block


def _shown(text: bytes) -> str:
    """A text as a message may quote it."""
    shown = text.strip().decode(errors='replace')
    return repr(shown if len(shown) <= 60 else f'{shown[:57]}...')
