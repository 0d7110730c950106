"""Metric files: one JSON line a report, cut on resume, damaged lines named."""

import importlib
import json
import struct
import sys
import time

import pytest

from jaxrec.training.writers import MetricWriter, QuietWriter, read_metrics


def write(workdir, steps, **options):
    writer = MetricWriter(workdir, **options)
    for step in steps:
        writer.write(step, 'train', {'loss': 1 / step})
    writer.close()


def test_lines_read_back_exactly(tmp_path):
    write(tmp_path / 'new' / 'run', [3, 7])
    lines = read_metrics(tmp_path / 'new' / 'run' / 'metrics.jsonl')
    assert lines == [{'step': s, 'part': 'train', 'loss': 1 / s} for s in (3, 7)]
    assert json.loads((tmp_path / 'new' / 'run' / 'metrics.jsonl').read_text().splitlines()[0])['step'] == 3


def test_log_lines_tell_what_they_are_asked_for_and_the_file_has_all(tmp_path, caplog):
    caplog.set_level('INFO')
    writer = MetricWriter(tmp_path, log_metrics=('b', 'c'))
    writer.write(3, 'train', {'loss': 0.25})
    writer.write(3, 'validation', {'a': 1.5, 'b': 2.0})
    writer.close()
    assert caplog.messages == ['step 3 train loss=0.25', 'step 3 validation b=2 c=absent']
    assert read_metrics(writer.path)[1] == {'step': 3, 'part': 'validation', 'a': 1.5, 'b': 2.0}


def test_a_resumed_run_cuts_what_came_after_its_checkpoint(tmp_path):
    write(tmp_path, [1, 2, 3, 4])
    write(tmp_path, [3, 5], step=2)
    assert [line['step'] for line in read_metrics(tmp_path / 'metrics.jsonl')] == [1, 2, 3, 5]
    write(tmp_path, [1])  # from the beginning
    assert [line['step'] for line in read_metrics(tmp_path / 'metrics.jsonl')] == [1]


def test_a_cut_last_line_is_left_out(tmp_path):
    write(tmp_path, [1, 2])
    path = tmp_path / 'metrics.jsonl'
    path.write_text(path.read_text()[:-9])
    assert [line['step'] for line in read_metrics(path)] == [1]
    write(tmp_path, [2], step=1)
    assert [line['step'] for line in read_metrics(path)] == [1, 2]
    assert read_metrics(tmp_path / 'absent.jsonl') == []


def test_a_damaged_line_is_named(tmp_path):
    write(tmp_path, [1, 2, 3])
    path = tmp_path / 'metrics.jsonl'
    path.write_text(path.read_text().replace('"step": 2', '"step" 2'))
    with pytest.raises(ValueError, match=r'metrics\.jsonl:2 is not a JSON line.*remove the line'):
        read_metrics(path)


def test_tensorboard_gets_the_same_numbers(tmp_path, monkeypatch):
    written = []

    class Board:
        SummaryWriter = lambda folder, **options: written.append((folder, options)) or Board()
        add_scalar = staticmethod(lambda *values: written.append(values))
        close = staticmethod(lambda: written.append('closed'))

    monkeypatch.setitem(sys.modules, 'tensorboardX', Board)
    write(tmp_path, [2], tensorboard=True)
    folder = str(tmp_path / 'tensorboard')
    assert written == [(folder, {'purge_step': 1}), ('train/loss', 0.5, 2), 'closed']
    written.clear()
    write(tmp_path, [], step=2, tensorboard=True)
    assert written == [(folder, {'purge_step': 3}), 'closed']


def events(folder):
    """The events of a folder's files in the order in which TensorBoard reads them."""
    proto = importlib.import_module('tensorboardX.proto.event_pb2')
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:  # length, its checksum, the event, its checksum
            (size,) = struct.unpack('<Q', content[:8])
            yield proto.Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]


def test_a_resumed_run_counts_no_point_of_tensorboard_twice(tmp_path):
    pytest.importorskip('tensorboardX')
    for steps, step in (([1, 2, 3, 4], 0), ([3, 4, 5], 2), ([1], 0)):
        write(tmp_path, steps, step=step, tensorboard=True)
        time.sleep(1.1)  # event files are named by the second
        points = []
        for event in events(tmp_path / 'tensorboard'):
            if event.session_log.status == event.session_log.START:
                points = [point for point in points if point[0] < event.step]
            points += [(event.step, value.simple_value) for value in event.summary.value]
        lines = read_metrics(tmp_path / 'metrics.jsonl')
        assert points == [(line['step'], pytest.approx(line['loss'])) for line in lines]


def test_without_the_extra_tensorboard_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorboardX', None)
    with pytest.raises(ValueError, match=r"train\.tensorboard needs the extra: pip install 'jaxrec\[tensorboard\]'"):
        MetricWriter(tmp_path, tensorboard=True)


def test_a_quiet_writer_leaves_no_trace(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    writer = QuietWriter()
    writer.write(1, 'train', {'loss': 1.0})
    writer.close()
    assert not list(tmp_path.iterdir()) and not caplog.records
