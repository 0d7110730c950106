"""The files of KuaiRand as published: editions, names, headers, and TFDS builders of their tables.

A table is CSV with a header; fields that hold commas, such as ranges and tags, stand in quotes.
"""

import csv
import dataclasses
import io
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from jaxrec.data.readers.blocks import Block, BlockBuilder, in_blocks
from jaxrec.data.readers.csv_blocks import read_csv
from jaxrec.data.readers.files import find_file, open_file

REMEDY = 'fetch KuaiRand from https://kuairand.com and place its folder there'
HEADER = (
    'user_id', 'video_id', 'date', 'hourmin', 'time_ms', 'is_click', 'is_like', 'is_follow', 'is_comment',
    'is_forward', 'is_hate', 'long_view', 'play_time_ms', 'duration_ms', 'profile_stay_time',
    'comment_stay_time', 'is_profile_enter', 'is_rand', 'tab',
)  # fmt: skip
SPANS = ('4_08_to_4_21', '4_22_to_5_08')


@dataclasses.dataclass(frozen=True)
class Edition:
    """One of the three published ones."""

    folder: str  # what it is called; its files lie in `data/` there
    suffix: str  # of the names of its files
    parts: int = 1  # of each log

    def logs(self) -> list[str]:
        """Names of the logs of what was recommended, the earlier first."""
        ends = [f'_part{part}' for part in range(1, self.parts + 1)] if self.parts > 1 else ['']
        return [f'log_standard_{span}_{self.suffix}{end}.csv' for span in SPANS for end in ends]


EDITIONS = {
    'pure': Edition('KuaiRand-Pure', 'pure'),
    '1k': Edition('KuaiRand-1K', '1k'),
    '27k': Edition('KuaiRand-27K', '27k', parts=2),
}


def find_files(data_dir: str | Path, edition: str) -> tuple[list[Path], Path, Path]:
    """Finds an edition placed by hand: the logs, the users' features and the videos' basic features.

    Args:
      data_dir: the folder of its files, the published folder, or one that holds that.
      edition: one of `EDITIONS`.

    Raises:
      ValueError: an unknown edition, or a file that is missing, saying where it looked.
    """
    if edition not in EDITIONS:
        raise ValueError(f'KuaiRand edition {edition!r} is unknown: use one of {", ".join(EDITIONS)}')
    described = EDITIONS[edition]
    folders = ('data', described.folder, f'{described.folder}/data')
    find = lambda name: find_file(data_dir, name, folders, REMEDY)
    users, videos = (f'{name}_{described.suffix}.csv' for name in ('user_features', 'video_features_basic'))
    return [find(name) for name in described.logs()], find(users), find(videos)


class KuairandEvents(BlockBuilder):
    """Shown videos in the order of the lines of the logs, columns as the publisher calls them."""

    COLUMNS: ClassVar[Mapping[str, type]] = {
        **dict.fromkeys(('user_id', 'video_id'), np.int32),
        'time_ms': np.int64,
        **dict.fromkeys(('is_like', 'is_follow', 'is_forward', 'long_view'), np.int32),
        **dict.fromkeys(('play_time_ms', 'duration_ms'), np.int64),
        **dict.fromkeys(('is_rand', 'tab'), np.int32),
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = REMEDY

    def find(self, folder: Path) -> Sequence[Path]:
        """The logs of any one edition in a folder."""
        return sorted(folder.glob('log_standard_*.csv*'))

    def read(self, files: Sequence[Path]) -> Iterator[Block]:
        """Yields blocks of lines, file by file."""
        for path in files:
            yield from read_csv(path, HEADER, self.COLUMNS, REMEDY, header=True)


class _Features(BlockBuilder):
    """A table of attributes, of which some columns are kept as text, by an integer key."""

    KEY: ClassVar[str]

    MANUAL_DOWNLOAD_INSTRUCTIONS = REMEDY

    wanted: Container[int] | None = None  # keys that are kept; None for all

    def read(self, files: Sequence[Path]) -> Iterator[Block]:
        """Yields blocks of rows; rows whose key is not wanted are left out."""
        return in_blocks(self._rows(files[0]), self.COLUMNS)

    def _rows(self, path: Path) -> Iterator[tuple[int | str, ...]]:
        with open_file(path, REMEDY) as stream, io.TextIOWrapper(stream, 'utf-8', newline='') as text:
            lines = csv.reader(text, strict=True)
            header = next(lines, [])
            if missing := [name for name in self.COLUMNS if name not in header]:
                raise ValueError(f'{path}:1: no column {missing[0]!r} in {header}: {REMEDY}')
            key, *others = (header.index(name) for name in self.COLUMNS)
            try:
                for fields in lines:
                    if len(fields) != len(header) or not fields[key].isdecimal():
                        raise ValueError(
                            f'{path}:{lines.line_num}: {len(fields)} fields, {self.KEY} '
                            f'{fields[key : key + 1]}: {len(header)} fields and a number are expected, '
                            'repair the line'
                        )
                    if self.wanted is None or int(fields[key]) in self.wanted:
                        yield int(fields[key]), *(' '.join(fields[place].split()) for place in others)
            except csv.Error as error:
                raise ValueError(f'{path}:{lines.line_num}: broken quotes ({error}): repair the line') from None


class KuairandUsers(_Features):
    """Users' features: those that are few classes."""

    COLUMNS: ClassVar[Mapping[str, type]] = {
        'user_id': np.int64, 'user_active_degree': str, 'is_live_streamer': str, 'is_video_author': str,
        'follow_user_num_range': str, 'fans_user_num_range': str, 'friend_user_num_range': str,
        'register_days_range': str,
    }  # fmt: skip
    KEY = 'user_id'
    PATTERN = 'user_features_*.csv*'


class KuairandVideos(_Features):
    """Videos' basic features."""

    COLUMNS: ClassVar[Mapping[str, type]] = {
        'video_id': np.int64, 'author_id': str, 'video_type': str, 'upload_type': str, 'video_duration': str,
        'tag': str,
    }  # fmt: skip
    KEY = 'video_id'
    PATTERN = 'video_features_basic_*.csv*'
