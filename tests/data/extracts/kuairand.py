"""An extract in the format of KuaiRand-1K, made here: about 1,100 rows of 24 users.

    python -m tests.data.extracts.kuairand FOLDER

With the irregularities that the publisher's files may have: two logs by date, lines not in the order of time,
ranges and tags with commas in quotes, videos of several tags, of none and without features, durations with a
decimal point and missing, rows of the random intervention, videos played longer than they last, one second
shared by rows. Besides: labels and times out of range, repeated rows, a video described twice, a user without
features.
"""

import csv
import pathlib
import sys

import numpy as np

LOG = (
    'user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,'
    'play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab'
)
USERS = (
    'user_id,user_active_degree,is_lowactive_period,is_live_streamer,is_video_author,follow_user_num,'
    'follow_user_num_range,fans_user_num,fans_user_num_range,friend_user_num,friend_user_num_range,'
    'register_days,register_days_range,' + ','.join(f'onehot_feat{n}' for n in range(18))
)
VIDEOS = (
    'video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,'
    'server_height,music_id,music_type,tag'
)
FIRST, SECOND = 1_649_400_000_000, 1_650_600_000_000  # some instants of either log
VIDEO_COUNT = 60


def log_rows(start: int, users: range, seed: int) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    rows = []
    for user in users:
        time = start + user * 1_000
        for _ in range(int(draw.integers(4, 9))):  # visits
            time += int(draw.integers(2, 30)) * 3_600_000
            tab = int(draw.integers(0, 3))
            for _ in range(int(draw.integers(1, 14))):
                video = int(draw.integers(0, VIDEO_COUNT))
                duration = 5_000 + 1_000 * (video % 40)
                played = int(draw.integers(0, 2 * duration))
                long = played >= min(duration, 18_000)
                liked, followed, shared = (int(draw.random() < p) for p in (0.15, 0.05, 0.04))
                rows.append(
                    [user, video, 20220408, 100, time, int(played > 7_000), liked, followed, 0, shared, 0,
                     int(long), played, duration, 0, 0, 0, int(draw.random() < 0.03), tab]
                )  # fmt: skip
                time += int(draw.choice([0, 4_000, 60_000, 2_000_000], p=[0.05, 0.5, 0.4, 0.05]))
    draw.shuffle(rows)
    return rows


def spoiled(rows: list[list[int]]) -> list[list[int]]:
    """With rows that cannot be used, in front, between and behind."""
    like, follow, view, played, time = 6, 7, 11, 12, 4
    change = lambda row, **at: [at.get(f'c{n}', value) for n, value in enumerate(row)]
    plain = [row for row in rows if row[17] == 0]
    bad = [
        change(plain[0], **{f'c{time}': 0}),
        change(plain[1], **{f'c{played}': -1}),
        change(plain[2], **{f'c{like}': 2}),
        change(plain[3], **{f'c{view}': -1, f'c{follow}': 3}),
    ]
    again = [list(plain[5]), change(plain[6], **{f'c{like}': 1 - plain[6][like]})]
    return [*bad[:2], *rows[:50], *bad[2:], *rows[50:], *again]


def user_rows() -> list[list[str]]:
    rows = []
    for user in range(24):
        if user != 7:
            features = [f'{"full_active" if user % 3 else "UNKNOWN"}', 0, user % 2, 1, 3, '(0,10]', 0, '0', 0, '0']
            rows.append([str(user), *map(str, features), '400', '366-730', *['1'] * 18])
    return rows


def video_rows() -> list[list[str]]:
    rows = []
    for video in range(VIDEO_COUNT + 3):  # the last ones were shown to nobody
        if video in (11, 12):
            continue
        tag = {0: '', 1: '12,65', 2: '12, 65,3'}.get(video % 5, str(video % 9))
        duration = '' if video % 20 == 4 else f'{5_000 + 1_000 * (video % 40)}.0'
        kind = 'AD' if video % 10 == 3 else 'NORMAL'
        uploaded = ['2022-04-01', f'Type {video % 3}', '0.0', duration, '720', '1280', '99', '9.0']
        rows.append([str(video), str(video % 17), kind, *uploaded, tag])
    rows.append(['5', '3', 'AD', '2022-04-01', 'Again', '0.0', '1.0', '1', '1', '9', '9.0', '77'])
    return rows


def write(folder: pathlib.Path, seed: int = 3) -> pathlib.Path:
    """Writes `KuaiRand-1K/data/`."""
    place = folder / 'KuaiRand-1K' / 'data'
    place.mkdir(parents=True, exist_ok=True)
    tables = {
        'log_standard_4_08_to_4_21_1k.csv': (LOG, spoiled(log_rows(FIRST, range(24), seed))),
        'log_standard_4_22_to_5_08_1k.csv': (LOG, log_rows(SECOND, range(20), seed + 1)),
        'user_features_1k.csv': (USERS, user_rows()),
        'video_features_basic_1k.csv': (VIDEOS, video_rows()),
    }
    for name, (header, rows) in tables.items():
        with (place / name).open('w', newline='') as file:
            file.write(header + '\n')
            csv.writer(file, lineterminator='\n').writerows(rows)
    return place


if __name__ == '__main__':
    print(write(pathlib.Path(sys.argv[1])))
