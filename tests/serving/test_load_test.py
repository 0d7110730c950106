"""The load test's log, its requests, and what its clients count, against a server that fails some."""

import asyncio
import json

import numpy as np
import pytest
from absl.testing import flagsaver

from jaxrec.cli.sim import load_test
from jaxrec.serving.load_test import clients as load_clients
from jaxrec.serving.load_test.log import lifelong_users

SMALL = {'users': 20, 'events': 6000, 'longest': 1000, 'long_users': 3, 'items': 400, 'categories': 50}


@pytest.fixture(scope='module')
def log(tmp_path_factory):
    return lifelong_users(tmp_path_factory.mktemp('load') / 'log', **SMALL)


def test_users_have_the_lengths_that_were_asked_for(log):
    lengths = np.sort(np.diff(log.user_offsets))[::-1][:20]
    assert lengths.tolist() == [1000] * 3 + [177] * 17
    assert log.schema['category'].rows <= 52
    with pytest.raises(ValueError, match='leave -17 to each of 1 users beside 3 of 10: give other numbers'):
        lifelong_users('nowhere', users=4, events=13, longest=10, long_users=3)


@flagsaver.flagsaver(length=1000, candidates_a_request=40, categories_a_request=8)
def test_requests_are_of_long_users_and_of_few_categories_they_know(log):
    for request in load_test.bodies(log, 5):
        head, _, body = request.partition(b'\r\n\r\n')
        assert f'Content-Length: {len(body)}'.encode() in head
        asked = json.loads(body)
        user = log.vocabulary('user').encode(np.asarray([asked['user']]))[0]
        first, end = log.user_offsets[user : user + 2]
        items = log.vocabulary('item').encode(np.asarray(asked['candidates']))
        assert end - first == 1000 and len(items) == 40 and items.min() > 1
        categories = np.unique(log.items['category'][items])
        known = np.isin(categories, log.items['category'][log.events['item'][first:end]])
        assert len(categories) <= 8 and known.sum() >= len(categories) - 2


def test_clients_count_what_is_not_answered_with_scores():
    async def answer(reader, writer):
        while line := await reader.readline():
            number = int(line.split()[1])
            while (await reader.readline()).strip():
                pass
            if number == 20:  # as it is asked: this client and all that it would have sent
                writer.close()
                return
            status = b'500 Oops' if number % 10 == 7 else b'200 OK'
            body = b'{"scores":[0.5]}'
            writer.write(b'HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s' % (status, len(body), body))

    async def main(rate):
        server = await asyncio.start_server(answer, '127.0.0.1', 0)
        port = server.sockets[0].getsockname()[1]
        requests = [b'POST %d HTTP/1.1\r\n\r\n' % n for n in range(40)]
        answered = await load_clients.load(port, requests, rate, 16)
        server.close()
        return answered

    for rate in (0.0, 400.0):
        answered = asyncio.run(main(rate))
        assert answered.failed == 4 + 2  # 7, 17, 27, 37; 20 and 36, which its client did not send any more
        assert len(answered.seconds) == 34 and answered.wall_s >= (39 / rate if rate else 0)


async def answered_by(answer, *arguments):
    """What the clients of a server see that answers each of its requests by a function of path and body."""

    async def serve(reader, writer):
        while line := await reader.readline():
            size = 0
            while header := (await reader.readline()).strip():
                name, _, value = header.partition(b':')
                size = int(value) if name.lower() == b'content-length' else size
            status, body, keep = answer(line.split()[1].decode(), await reader.readexactly(size))
            writer.write(b'HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s' % (status, len(body), body))
            if not keep:
                break
        writer.close()

    server = await asyncio.start_server(serve, '127.0.0.1', 0)
    found = await load_clients.load(server.sockets[0].getsockname()[1], *arguments)
    server.close()
    return found


def test_a_connection_that_the_server_closed_while_idle_is_opened_again():
    closing = lambda path, body: (b'200 OK', b'{"scores":[0.5]}', False)
    requests = [load_clients.post('/score', {})] * 12
    answered = asyncio.run(answered_by(closing, requests, 100.0, 3))
    assert answered.failed == 0 and len(answered.seconds) == 12
    assert (answered.events_taken, answered.events_failed) == (0, 0)


def test_new_behaviours_come_in_beside_the_requests_and_are_counted():
    posts = []

    def answer(path, body):
        if path == '/score':
            return b'200 OK', b'{"scores":[0.5]}', True
        posts.append([event['item'] for event in json.loads(body)['events']])
        return (b'422 No' if len(posts) == 1 else b'200 OK'), b'{}', len(posts) != 2

    requests, events = [load_clients.post('/score', {})] * 21, [{'item': n} for n in range(7)]
    answered = asyncio.run(answered_by(answer, requests, 50.0, 2, events, 100.0))  # they take 0.4 s
    sent = [item for items in posts for item in items]
    assert answered.failed == 0 and sent == [n % 7 for n in range(len(sent))]
    assert 5 < len(sent) <= 100 * answered.wall_s + 1
    assert (answered.events_failed, answered.events_taken) == (len(posts[0]), len(sent) - len(posts[0]))


@flagsaver.flagsaver(length=1000, candidates_a_request=40, categories_a_request=8)
def test_new_behaviours_are_of_the_requested_users_and_no_later_than_the_log(log):
    requests = load_test.bodies(log, 3)
    for request, event in zip(requests, load_test.new_events(log, requests), strict=True):
        asked = json.loads(request.partition(b'\r\n\r\n')[2])
        assert event['user'] == asked['user'] and event['item'] == asked['candidates'][0]
        assert event['time'] == max(log.events['time']) and type(event['time']) is int
