"""KuaiRand, logs of a short-video app (Gao et al., CIKM 2022), compiled to a session log.

The logs name no requests, so a session is defined here: videos that were shown to a user one after the other in one
scenario (`tab`), each at most `gap` seconds after the one before, cut after every `longest` of them; OneRec (arXiv
2502.18965) has 5 to 10 videos to a request. `watch_time` is `play_time_ms`, in seconds; `view`, that a video was
watched effectively, is `long_view` (to its end, or for 18 seconds); `like`, `follow` and `share` are `is_like`,
`is_follow` and `is_forward`. What was shown at random (`is_rand`) is no session of the recommender and left out. The
edition 'pure' keeps the rows of 7,583 videos alone, so that its sessions are fragments.

Letters: N rows, R requests, V videos.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.configurable import configurable
from jaxrec.data.logs.columns import Ragged
from jaxrec.data.logs.raw_columns import Coded
from jaxrec.data.logs.schema import ColumnSpec
from jaxrec.data.readers.blocks import occurred, read_table
from jaxrec.data.readers.kuairand_files import KuairandEvents, KuairandUsers, KuairandVideos, find_files
from jaxrec.data.sessions.log import SessionLog, compile_sessions

LABELS = {'view': 'long_view', 'like': 'is_like', 'follow': 'is_follow', 'share': 'is_forward'}
UNKNOWN = 'unknown'  # what is not told of a user or a video


@configurable('log')
def compile_kuairand(
    data_dir: str | Path, folder: str | Path, edition: str = '1k', gap: float = 1_800.0, longest: int = 10,
    least: int = 1, seed: int = 0,
) -> SessionLog:  # fmt: skip
    """Compiles the standard logs of an edition to a session log.

    Requests have the `tab` and the user's features, as categorical columns; videos have `category` (the first tag),
    `tags` (multi-valued), `author`, `video_type`, `upload_type` and `duration` (numeric, seconds, 0 where it is not
    told). Rows shown at random, without a time, with a negative watch time or a label other than 0 and 1, and
    repetitions of a row are dropped and counted; malformed lines are errors. The rows of '27k', 322 millions, are held
    in memory at once.

    Args:
      data_dir: where the folder of the edition lies, or its files.
      folder: where the log will lie.
      edition: 'pure', '1k' or '27k'.
      gap: seconds between two videos, beyond which a session ends.
      longest: videos of a session at most.
      least: rows in which a video must be shown; those of rarer ones are left out of their sessions.
      seed: of the hash that assigns ids.

    Raises:
      ValueError: for missing files or columns, a malformed line, which is named, or numbers out of range.
    """
    if not gap > 0 or longest < 1 or least < 1:
        raise ValueError(f'gap={gap}, longest={longest}, least={least}: seconds above 0, counts of at least 1')
    logs, users, videos = find_files(data_dir, edition)
    files = [*logs, users, videos]
    request = {'reader': KuairandEvents.tag(), 'gap': gap, 'longest': longest, 'least': least, 'seed': seed}
    if made := SessionLog.of_request(folder, files, request):
        return made
    rows, dropped = _usable(read_table(KuairandEvents, logs, folder))
    seen = frozenset(np.unique(rows['video_id']).tolist())  # by the logs alone, as prepared data must be
    rows['session'] = number_sessions(rows['user_id'], rows['tab'], rows['time_ms'], gap, longest)
    rows, rare = _shown_often(rows, least)
    dropped = occurred(dropped | rare)
    if not len(rows['user_id']):
        raise ValueError(f'{logs[0].parent} has no usable row ({dropped}): check edition and least')
    requests, about_users = _requests(rows, read_table(KuairandUsers, [users], folder))
    told = read_table(KuairandVideos, [videos, *logs], folder, wanted=seen)
    items, about_videos = _videos(np.unique(rows['video_id']), told)
    longer = int((rows['play_time_ms'] > rows['duration_ms']).sum())
    notes = occurred({'rows played for longer than the video lasts': longer} | about_users | about_videos)
    return compile_sessions(
        folder, requests, items, columns=_described(requests, items), sources=files, dropped=dropped, notes=notes,
        request=request, seed=seed,
    )  # fmt: skip


def _usable(rows: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """The rows of recommended videos by user and time, those of one instant as they came; and what is not."""
    labels = np.stack([rows[name] for name in LABELS.values()])
    reasons = {
        'rows shown at random': rows['is_rand'] != 0,
        'rows without a time': rows['time_ms'] <= 0,
        'rows with a negative watch time': rows['play_time_ms'] < 0,
        'rows with a label other than 0 and 1': ~np.isin(labels, (0, 1)).all(0),
    }
    good, dropped = np.ones(len(rows['user_id']), bool), {}
    for reason, wrong in reasons.items():
        dropped[reason] = int((good & wrong).sum())
        good &= ~wrong
    kept = np.flatnonzero(good)
    same = np.lexsort([rows[name][kept] for name in ('time_ms', 'video_id', 'user_id')])  # stable
    again = np.zeros(len(kept), bool)
    keys = np.stack([rows[name][kept[same]] for name in ('user_id', 'video_id', 'time_ms')])
    again[same[1:]] = (keys[:, 1:] == keys[:, :-1]).all(0)
    dropped['repetitions of a row'] = int(again.sum())
    kept = kept[~again]
    order = kept[np.lexsort((rows['time_ms'][kept], rows['user_id'][kept]))]
    return {name: column[order] for name, column in rows.items()}, dropped


def number_sessions(user: np.ndarray, tab: np.ndarray, time_ms: np.ndarray, gap: float, longest: int) -> np.ndarray:
    """Numbers the sessions of rows sorted by user and time: int64 [N], ascending from 0.

    Args:
      user, tab: integer [N].
      time_ms: int64 [N].
      gap: seconds beyond which a session ends.
      longest: rows of a session at most.
    """
    opens = np.ones(len(user), bool)
    opens[1:] = (np.diff(user) != 0) | (np.diff(tab) != 0) | (np.diff(time_ms) > gap * 1_000)
    place = np.arange(len(user))
    since = place - np.maximum.accumulate(np.where(opens, place, 0))
    return np.cumsum(since % longest == 0) - 1


def _shown_often(rows: dict[str, np.ndarray], least: int) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    _, video, counts = np.unique(rows['video_id'], return_inverse=True, return_counts=True)
    kept = np.flatnonzero(counts[video] >= least)
    reason = f'rows of videos shown fewer than {least} times'
    return {name: column[kept] for name, column in rows.items()}, {reason: len(video) - len(kept)}


def _requests(rows: Mapping[str, np.ndarray], table: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """Rows put together to requests, with the features of their users."""
    begin = np.flatnonzero(np.append(True, np.diff(rows['session']) != 0))
    offsets = np.append(begin, len(rows['session'])).astype(np.int64)
    shown = {name: rows[column].astype(np.int8) for name, column in LABELS.items()}
    shown |= {'item': rows['video_id'], 'watch_time': (rows['play_time_ms'] / 1_000).astype(np.float32)}
    requests: dict[str, Any] = {name: Ragged(column, offsets) for name, column in shown.items()}
    users = rows['user_id'][begin]
    requests |= {'user': users, 'time': rows['time_ms'][begin] / 1_000, 'tab': rows['tab'][begin]}
    found, where, again = _lined_up(table, KuairandUsers.KEY, users)
    requests |= found
    lacking = len(np.unique(users[where < 0]))
    return requests, {'users without features': lacking, 'further features of a user': again}


def _videos(videos: np.ndarray, table: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """The attributes of every shown video."""
    found, where, again = _lined_up(table, KuairandVideos.KEY, videos)
    text = lambda name: found[name].values[found[name].codes]
    number = np.asarray([_seconds(value) for value in found['video_duration'].values.tolist()], np.float32)
    duration = number[found['video_duration'].codes]
    tags = [[tag for tag in value.replace(' ', '').split(',') if tag] for value in text('tag').tolist()]
    tags = [[] if row == [UNKNOWN] else row for row in tags]
    items = {
        'item': videos, 'category': np.asarray([row[0] if row else UNKNOWN for row in tags]),
        'tags': Ragged.from_rows(tags, str), 'author': found['author_id'], 'video_type': found['video_type'],
        'upload_type': found['upload_type'], 'duration': np.where(where >= 0, duration, np.float32(0)),
    }  # fmt: skip
    notes = {
        'videos without features': int((where < 0).sum()),
        'further features of a video': again,
        'videos without tags': sum(not row for row, at in zip(tags, where, strict=True) if at >= 0),
        'videos without a duration': int(((items['duration'] == 0) & (where >= 0)).sum()),
    }
    return items, notes


def _lined_up(table: Mapping[str, Any], key: str, wanted: np.ndarray) -> tuple[dict[str, Any], np.ndarray, int]:
    """A table's columns for keys, which of its rows they are (-1 for none), and how many rows come again."""
    names, first, counts = np.unique(table[key], return_index=True, return_counts=True)
    place = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    where = np.where(names[place] == wanted, first[place], -1)
    lined: dict[str, Any] = {}
    for name in (name for name in table if name != key):
        codes, values = table[name]
        values = np.append(values, UNKNOWN) if UNKNOWN not in values else values
        other = int(np.flatnonzero(values == UNKNOWN)[0])
        told = (where >= 0) & (values[codes[where]] != '')
        lined[name] = Coded(np.where(told, codes[where], other), values)
    return lined, where, int(counts[np.isin(names, wanted)].sum()) - len(np.unique(wanted[where >= 0]))


def _seconds(text: str) -> float:
    """Seconds of a text of milliseconds; 0 where it is none."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value / 1_000 if np.isfinite(value) and value > 0 else 0.0


def _described(requests: Mapping[str, Any], items: Mapping[str, Any]) -> dict[str, ColumnSpec]:
    of_requests = ('tab', *(name for name in KuairandUsers.COLUMNS if name in requests))
    kinds = {'tags': 'multi', 'duration': 'numeric'}
    described = {name: ColumnSpec('categorical') for name in of_requests}
    return described | {name: ColumnSpec(kinds.get(name, 'categorical')) for name in items if name != 'item'}
