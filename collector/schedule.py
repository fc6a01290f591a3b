"""When what is asked again and again is asked."""

import asyncio
from collections.abc import AsyncIterator


async def every(interval_s: float, delay_s: float, ended: asyncio.Event) -> AsyncIterator[None]:
    """A turn after the delay, and then each time that the interval is over, until it has ended.

    A turn that takes longer than the interval skips the ones it missed, and keeps to the beat.
    """
    loop = asyncio.get_running_loop()
    due_s = loop.time() + delay_s
    while not await _set_before(ended, due_s):
        yield
        missed = max(0.0, loop.time() - due_s) // interval_s
        due_s += (missed + 1) * interval_s


async def _set_before(event: asyncio.Event, due_s: float) -> bool:
    """Wait until then, in the loop's time, or until the event is set; whether it is."""
    try:
        async with asyncio.timeout_at(due_s):
            return await event.wait()
    except TimeoutError:
        return event.is_set()
