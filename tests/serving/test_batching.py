"""The queue: answers go to their askers, batches are bounded, errors and departures harm nobody else."""

import asyncio
import threading

import pytest

from jaxrec.serving.batching import Batcher, OverloadError


def gated(gate):
    """Work that waits for a gate, and the batches it was given."""
    batches = []

    def work(requests):
        batches.append(list(requests))
        gate.wait(5)
        return [2 * request for request in requests]

    return work, batches


def test_what_waits_makes_up_the_next_batches():
    gate = threading.Event()
    work, batches = gated(gate)

    async def main():
        async with Batcher(work, most=3) as batcher:
            first = asyncio.create_task(batcher.submit(0))
            while not batches:
                await asyncio.sleep(0.001)
            others = [asyncio.create_task(batcher.submit(n)) for n in range(1, 8)]
            await asyncio.sleep(0)
            assert batcher.waiting == 7
            gate.set()
            assert await asyncio.gather(first, *others) == [2 * n for n in range(8)]
            assert batcher.sizes == {1: 2, 3: 2}

    asyncio.run(main())
    assert batches == [[0], [1, 2, 3], [4, 5, 6], [7]]


def test_a_batch_that_is_not_full_may_wait_for_more():
    async def main(wait_s):
        async with Batcher(list, most=4, wait_s=wait_s) as batcher:
            first = asyncio.create_task(batcher.submit(1))
            await asyncio.sleep(0.02)
            assert await batcher.submit(2) == 2 and await first == 1
            return dict(batcher.sizes)

    assert asyncio.run(main(0.2)) == {2: 1}
    assert asyncio.run(main(0.0)) == {1: 2}


def test_too_many_waiting_are_refused_and_the_rest_answered():
    gate = threading.Event()
    work, batches = gated(gate)

    async def main():
        async with Batcher(work, most=1, waiting=2) as batcher:
            first = asyncio.create_task(batcher.submit(0))
            while not batches:
                await asyncio.sleep(0.001)
            waiting = [asyncio.create_task(batcher.submit(n)) for n in (1, 2)]
            await asyncio.sleep(0)
            with pytest.raises(OverloadError, match='2 requests wait: try again'):
                await batcher.submit(3)
            gate.set()
            assert await asyncio.gather(first, *waiting) == [0, 2, 4]

    asyncio.run(main())


def test_an_error_reaches_its_own_batch_alone():
    def work(requests):
        if 'bad' in requests:
            raise ZeroDivisionError('bad')
        return requests

    async def main():
        async with Batcher(work, most=1) as batcher:
            asked = [batcher.submit(request) for request in ('a', 'bad', 'b')]
            return await asyncio.gather(*asked, return_exceptions=True)

    good, bad, other = asyncio.run(main())
    assert (good, other) == ('a', 'b') and isinstance(bad, ZeroDivisionError)


def test_who_has_left_is_not_computed_for():
    gate = threading.Event()
    work, batches = gated(gate)

    async def main():
        async with Batcher(work, most=2) as batcher:
            first = asyncio.create_task(batcher.submit(0))
            while not batches:
                await asyncio.sleep(0.001)
            leaves, stays = (asyncio.create_task(batcher.submit(n)) for n in (1, 2))
            await asyncio.sleep(0)
            leaves.cancel()
            first.cancel()  # its batch is under way
            gate.set()
            assert await stays == 4

    asyncio.run(main())
    assert batches == [[0], [2]]


def test_closing_answers_what_waits_and_refuses_what_comes():
    gate = threading.Event()
    work, batches = gated(gate)

    async def main():
        batcher = Batcher(work, most=1)
        async with batcher:
            asked = [asyncio.create_task(batcher.submit(n)) for n in range(3)]
            while not batches:
                await asyncio.sleep(0.001)
            gate.set()
        assert [task.result() for task in asked] == [0, 2, 4]
        with pytest.raises(OverloadError, match='stopping'):
            await batcher.submit(5)

    asyncio.run(main())


@pytest.mark.parametrize('limits', [{'most': 0}, {'most': 1, 'waiting': 0}, {'most': 1, 'wait_s': -1.0}])
def test_limits_below_one_are_refused(limits):
    with pytest.raises(ValueError, match='give counts from 1 on and no negative wait'):
        Batcher(list, **limits)
