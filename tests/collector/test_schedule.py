"""Turns come when they are due, and no longer than they are wanted."""

import asyncio

from collector.schedule import every


def turns(interval_s: float, delay_s: float, takes_s: list[float]) -> list[float]:
    """When the turns began, in seconds since the start, if they take so long; then it ends."""

    async def run() -> list[float]:
        loop, ended, began = asyncio.get_running_loop(), asyncio.Event(), list[float]()
        started_s = loop.time()
        async for _ in every(interval_s, delay_s, ended):
            began.append(loop.time() - started_s)
            await asyncio.sleep(takes_s[len(began) - 1])
            if len(began) == len(takes_s):
                ended.set()
        return began

    return asyncio.run(asyncio.wait_for(run(), 30))


def test_the_first_turn_comes_after_the_delay_and_the_others_keep_to_the_beat() -> None:
    began = turns(0.05, 0.02, [0.0, 0.03, 0.0])
    assert all(at_s >= due_s for at_s, due_s in zip(began, (0.02, 0.07, 0.12), strict=True))


def test_a_turn_that_takes_longer_skips_the_ones_it_missed() -> None:
    first, second = turns(0.05, 0.0, [0.12, 0.0])
    assert second - first >= 0.12
    assert second >= 0.15, "the next beat, and not the missed ones at once"


def test_what_has_ended_before_its_first_turn_has_none() -> None:
    async def run() -> int:
        ended = asyncio.Event()
        asyncio.get_running_loop().call_soon(ended.set)
        return len([turn async for turn in every(1.0, 3600, ended)])

    assert asyncio.run(asyncio.wait_for(run(), 30)) == 0
