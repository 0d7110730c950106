"""The service over HTTP on loopback: answers, new behaviours, refusals, and a process that is killed."""

import concurrent.futures
import contextlib
import functools
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest

pytest.importorskip('uvicorn', reason="the service needs pip install 'jaxrec[serve]'")
import uvicorn

from jaxrec.parallel import put_batch
from jaxrec.runs.build import build
from jaxrec.runs.fit import fit
from jaxrec.runs.predict import request_builder
from jaxrec.runs.restore import restore_model
from jaxrec.serving import messages
from jaxrec.serving.assembly import Sizes
from jaxrec.serving.open_service import make_service, open_index
from jaxrec.serving.service import MAX_BYTES, MAX_EVENTS
from jaxrec.training.step import make_predict_step
from tests.conftest import REPOSITORY, slow_but_for
from tests.runs.worlds import tiny, tiny_sim

SIZES = Sizes((1, 2, 4), (2, 8))
SIM_SIZES = Sizes((1, 4), (8,), (2,))
ROWS = slow_but_for(('DIN',), ('DIN', 'SIM-hard+time'))


def fitted(config, folder):
    run = build(config)
    fit(run, folder / 'run')
    return run, folder / 'run'


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('served')
    return fitted(tiny('DIN', folder / 'logs', {'epochs': 1, 'evals_per_epoch': 1}), folder)


@pytest.fixture(scope='module')
def trained_sim(tmp_path_factory):
    folder = tmp_path_factory.mktemp('served_sim')
    config = tiny_sim('SIM-hard+time', folder / 'logs')
    config.data.time_gap.unit = 600  # the world is too short for gaps of days
    return fitted(config, folder)


@contextlib.contextmanager
def serving(app):
    """Runs an application; yields its port."""
    listener = socket.create_server(('127.0.0.1', 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level='warning'))
    thread = threading.Thread(target=server.run, kwargs={'sockets': [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(120)
        listener.close()


@contextlib.contextmanager
def serving_run(trained, folder, sizes):
    """Serves a run; yields a port, the log and the index."""
    run, workdir = trained
    index = open_index(run, folder / 'index')
    service = make_service(run, workdir, index, sizes, None)
    with serving(service.app()) as port:
        yield port, run.log, index


@pytest.fixture(scope='module')
def served(trained, tmp_path_factory):
    with serving_run(trained, tmp_path_factory.mktemp('index'), SIZES) as found:
        yield found


@pytest.fixture(scope='module')
def served_sim(trained_sim, tmp_path_factory):
    with serving_run(trained_sim, tmp_path_factory.mktemp('index'), SIM_SIZES) as found:
        yield found


@pytest.fixture
def of_row(request):
    """What was trained and what is served of a row."""
    end = '' if request.param == 'DIN' else '_sim'
    return request.getfixturevalue(f'trained{end}'), request.getfixturevalue(f'served{end}')


def call(port, path, body=None, method=None, headers=None):
    """Status and JSON of an answer; a body that is no bytes is sent as JSON."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=120)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    headers = {'Content-Type': 'application/json'} if headers is None else headers
    connection.request(method or ('GET' if body is None else 'POST'), path, data, headers)
    answer = connection.getresponse()
    found = json.loads(answer.read())
    connection.close()
    return answer.status, found


PREDICT = {}  # by workdir: restored and compiled once


def offline(trained, log, user, items, time):
    """What `jaxrec predict` computes: a row a candidate, the history looked up in the log."""
    run, workdir = trained
    if workdir not in PREDICT:
        state, _ = restore_model(run, workdir)
        PREDICT[workdir] = functools.partial(make_predict_step(run.setup), state)
    rows = {'user': np.full(8, user, np.int32), 'item': np.resize(items, 8).astype(np.int32)}
    batch = put_batch(request_builder(run, log).build(rows, np.full(8, time)), run.setup.mesh)
    return np.asarray(PREDICT[workdir](batch)['probability'])[: len(items), 0]


def latest(log):
    return int(log.events['time'].max())


def raw(log, name, ids):
    return [log.vocabulary(name).decode(np.asarray(i)).item() for i in ids]


@pytest.mark.parametrize('of_row', ROWS, indirect=True)
def test_concurrent_answers_are_those_of_predict(of_row):
    trained, (port, log, index) = of_row
    assert index.added == 0
    draw = np.random.default_rng(0)
    asked = []
    for n in range(24):
        items = draw.integers(2, log.schema['item'].rows, draw.integers(1, 9))
        when = int(draw.integers(log.events['time'].min(), latest(log))) if n % 2 else None
        asked.append((int(draw.integers(2, log.schema['user'].rows)), items, when))

    def ask(one):
        user, items, when = one
        body = {'user': raw(log, 'user', [user])[0], 'candidates': raw(log, 'item', items)}
        return call(port, '/score', body if when is None else body | {'time': when})

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, asked))
    for (user, items, when), (status, answer) in zip(asked, answers, strict=True):
        assert status == 200 and answer['known_user'] and answer['unknown_candidates'] == 0
        # Without a time: behind all behaviours, and as far from each as the latest of them is.
        wanted = offline(trained, log, user, items, index.latest + 0.5 if when is None else when)
        np.testing.assert_allclose(answer['scores'], wanted, rtol=1e-5, atol=1e-6)
    assert len({tuple(answer['scores']) for _, answer in answers}) > 20
    figures = call(port, '/metrics')[1]
    # Each combination of sizes was compiled at the start, none since.
    assert figures['programs'] == (6 if log.schema['item'].rows == 51 else 4)
    assert figures['latency']['score']['count'] >= 24 and figures['latency']['score']['p99_ms'] > 0
    assert figures['answers']['score 200'] >= 24 and figures['peak_rss_mb'] > 0
    assert sum(int(size) * n for size, n in figures['batch_sizes'].items()) >= 24


@pytest.mark.parametrize('of_row', ROWS, indirect=True)
def test_a_new_behaviour_is_in_the_next_answer(of_row):
    _, (port, log, index) = of_row
    user, items = raw(log, 'user', [5])[0], raw(log, 'item', [7, 9])
    body = {'user': user, 'candidates': items}
    before, held = call(port, '/score', body)[1]['scores'], len(index)
    event = {'user': user, 'item': items[1], 'time': latest(log) + 1}
    assert call(port, '/events', {'events': [event]}) == (
        200, {'taken': 1, 'unknown_values': 0, 'behaviours': held + 1}
    )  # fmt: skip
    after = call(port, '/score', body)[1]['scores']
    assert after != before
    assert call(port, '/score', body | {'time': event['time']})[1]['scores'] == pytest.approx(before)
    health = call(port, '/health')[1]
    assert health['status'] == 'ok' and health['in_journal'] == index.added >= 1


def test_what_the_log_does_not_know_is_scored_and_said(trained, served):
    port, log, _ = served
    known = raw(log, 'item', [3])
    status, answer = call(port, '/score', {'user': 10**9, 'candidates': [*known, -4, 10**12]})
    assert (status, answer['known_user'], answer['unknown_candidates']) == (200, False, 2)
    assert answer['scores'][1] == answer['scores'][2]
    event = {'user': raw(log, 'user', [4])[0], 'item': -4, 'time': latest(log)}
    assert call(port, '/events', {'events': [event]})[1]['unknown_values'] == 1


def bodies(log):
    user, item = raw(log, 'user', [3])[0], raw(log, 'item', [3])[0]
    score, event = {'user': user, 'candidates': [item]}, {'user': user, 'item': item, 'time': latest(log)}
    return [
        ('/score', b'{"user": 1,', 400, 'the body is no JSON'),
        ('/score', b'\xff\xfe', 400, 'the body is no JSON'),
        ('/score', b'[' * 30_000, 400, 'the body is no JSON'),
        ('/score', b'{"user": NaN, "candidates": [1]}', 400, 'NaN is no JSON number'),
        ('/score', b'\x80\x04\x95N.', 400, 'the body is no JSON'),
        ('/score', [1], 422, 'the body is a list: send an object with user, candidates, time (optional)'),
        ('/score', {'candidates': [item]}, 422, "field 'user' is missing"),
        ('/score', score | {'k': 1}, 422, "field 'k' is unknown"),
        ('/score', score | {'user': 'one'}, 422, "field 'user' has 'one': send integers"),
        ('/score', score | {'user': True}, 422, "field 'user' has 'True': send integers"),
        ('/score', score | {'user': 2**80}, 422, 'beyond 64 bits'),
        ('/score', score | {'candidates': []}, 422, 'is 0 values: send a list of 1 to 8 items'),
        ('/score', score | {'candidates': [item] * 9}, 422, 'is 9 values: send a list of 1 to 8 items'),
        ('/score', score | {'candidates': item}, 422, "field 'candidates' is int"),
        ('/score', score | {'candidates': [item, None]}, 422, "'candidates' has 'None': send integers"),
        ('/score', score | {'time': 'now'}, 422, "field 'time' is 'now': send a number"),
        ('/score', score | {'time': 2**70}, 422, 'send a number of 64 bits'),
        ('/score', score | {'time': 10**400}, 422, 'send a number of 64 bits'),
        ('/score', b'{"user": 3, "candidates": [3], "time": 1e999}', 422, "field 'time' is 'inf'"),
        ('/score', b' ' * (MAX_BYTES + 1), 413, f'larger than {MAX_BYTES} bytes'),
        ('/events', {'events': []}, 422, f'send a list of 1 to {MAX_EVENTS} objects'),
        ('/events', {'events': [event] * (MAX_EVENTS + 1)}, 422, f'is {MAX_EVENTS + 1} values'),
        ('/events', {'events': [event, 3]}, 422, 'event 1 has int: send an object with user, item, time'),
        ('/events', {'events': [event, score]}, 422, "event 1 has 'user', 'candidates': send an object"),
        ('/events', {'events': [event, event | {'user': 10**9}]}, 404, 'event 1 is of user 1000000000'),
        ('/events', {'events': [event | {'time': None}]}, 422, "field 'time' is 'None'"),
        ('/events', {'events': [event | {'time': 5.5}]}, 422, "field 'time' is '5.5': send a whole number"),
        ('/events', {'events': [event, event | {'time': 1000 * event['time']}]}, 422, "'time' of event 1 is"),
        ('/events', {'events': [event | {'time': -(2**63)}]}, 422, 'send seconds since 1970 as the log has'),
        ('/events', {'events': [event | {'time': 5}]}, 422, "the log's earliest: no event was taken"),
        ('/events', b'{"events": [{"\\ud800": 1}]}', 422, "event 0 has '\\ud800': send an object with user"),
        ('/events', {'events': [{'x' * 60_000: 1}]}, 422, f"event 0 has '{'x' * 40}': send"),
        ('/events', {'events': [dict.fromkeys(map(str, range(3000)))]}, 422, "event 0 has '0', '1', '2', "),
        ('/score', b'{"\\udfff": 1, "user": 3, "candidates": [3]}', 422, "field '\\udfff' is unknown"),
        ('/score', b'{"user": "\\ud800", "candidates": [3]}', 422, "field 'user' has '\\ud800'"),
        ('/predict', score, 404, 'Not Found: POST /score or /events'),
    ]  # fmt: skip


def test_what_cannot_be_answered_is_refused_with_a_reason(served):
    port, log, index = served
    held = len(index)
    for path, body, status, message in bodies(log):
        found, answer = call(port, path, body)
        assert found == status and message in answer['error'], (path, body, answer)
        assert len(answer['error']) < 400
    assert len(index) == held
    assert call(port, '/score')[0] == 405
    assert call(port, '/health')[0] == 200


@pytest.mark.parametrize(
    ('headers', 'said'),
    [
        ({}, 'declared as nothing'),
        ({'Content-Type': 'text/plain'}, 'declared as text/plain'),
        ({'Content-Type': 'application/x-www-form-urlencoded'}, 'declared as application/x-www-form'),
    ],
)
def test_a_body_that_is_not_declared_as_json_is_refused(served, headers, said):
    port, log, index = served
    held, event = len(index), {'user': raw(log, 'user', [3])[0], 'item': raw(log, 'item', [3])[0]}
    status, answer = call(port, '/events', {'events': [event | {'time': latest(log)}]}, headers=headers)
    assert status == 415 and said in answer['error'] and len(index) == held
    score = {'user': event['user'], 'candidates': [event['item']]}
    assert call(port, '/score', score, headers={'Content-Type': 'Application/JSON; charset=utf-8'})[0] == 200


def test_a_chunked_body_is_bounded_too(served):
    port = served[0]
    with socket.create_connection(('127.0.0.1', port), timeout=10) as connection:
        connection.sendall(
            b'POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n'
        )
        with contextlib.suppress(ConnectionError):  # the answer may come before all is sent
            for _ in range(MAX_BYTES // 4096 + 2):
                connection.sendall(b'1000\r\n' + b' ' * 4096 + b'\r\n')
        assert connection.recv(64).startswith(b'HTTP/1.1 413')


def test_strings_are_looked_up_among_strings():
    from jaxrec.data.logs.vocabulary import Vocabulary

    words = Vocabulary.build(np.asarray(['a', 'b']))
    assert messages.encode(words, 'user', ['b', 'z']).tolist() == words.encode(np.asarray(['b', 'z'])).tolist()
    refused = [(3, 'send strings'), ('a' * 1025, 'more than 1024 characters')]
    refused += [(value, 'without NUL and lone surrogates') for value in ('a\0', '\0', 'a\0b', 'a\udfff')]
    for value, message in refused:
        with pytest.raises(messages.RefusalError, match=message):
            messages.encode(words, 'user', [value])
    hashed = Vocabulary.hashed(5)
    assert messages.encode(hashed, 'user', ['b']).tolist() == hashed.encode(np.asarray(['b'])).tolist()
    assert messages.encode(hashed, 'user', [7]).tolist() == hashed.encode(np.asarray([7])).tolist()


def test_an_index_of_another_label_is_refused(trained, tmp_path):
    run, _ = trained
    open_index(run, tmp_path / 'index').close()
    run.data['label'] = {'kind': 'impressions', 'column': 'click', 'extra': 1}
    try:
        with pytest.raises(ValueError, match=r'holds the behaviours of label .* give another folder'):
            open_index(run, tmp_path / 'index')
    finally:
        run.data['label'] = run.config.data.label.to_dict()


def start(workdir, index, port):
    command = [
        sys.executable, '-m', 'jaxrec', 'serve', f'--workdir={workdir}', f'--index={index}',
        f'--port={port}', '--requests=1', '--candidates=4',
    ]  # fmt: skip
    environment = os.environ | {'JAX_NUM_CPU_DEVICES': '1'}
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    end = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError):
            if call(port, '/health')[0] == 200:
                return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f'no service: {process.communicate()[1]}')


@pytest.mark.slow
def test_a_killed_service_has_its_behaviours_again_and_a_stopped_one_ends_well(trained, tmp_path):
    run, workdir = trained
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port = listener.getsockname()[1]
    body = {'user': raw(run.log, 'user', [5])[0], 'candidates': raw(run.log, 'item', [7])}
    process = start(workdir, tmp_path / 'index', port)
    event = {'user': body['user'], 'item': body['candidates'][0], 'time': latest(run.log) + 1}
    assert call(port, '/events', {'events': [event]})[1]['taken'] == 1
    scores = call(port, '/score', body)[1]['scores']
    process.kill()
    process.communicate()
    (journal,) = (tmp_path / 'index').glob('journal-*')
    with journal.open('ab') as file:
        file.write(b'\x07' * 9)  # an append that was cut short
    process = start(workdir, tmp_path / 'index', port)
    assert call(port, '/score', body)[1]['scores'] == scores
    health = call(port, '/health')[1]
    assert (health['in_journal'], health['torn_bytes']) == (1, 9)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[1]
    assert process.returncode in (0, -signal.SIGTERM), said
    assert '1 of them in the journal' in said and 'cut 9 bytes of an unfinished append' in said


def test_a_mesh_of_several_devices_is_refused(trained, tmp_path):
    run, workdir = trained
    several = build(run.config, mesh_shape=(2, 1))
    assert len(jax.devices()) > 1
    with (
        open_index(run, tmp_path / 'index') as index,
        pytest.raises(ValueError, match='a service runs on one device and this mesh has 2'),
    ):
        make_service(several, workdir, index, SIZES, None)
