"""Threads of the collector's own: whoever else waits for a store that hangs takes none of them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

_THREADS = ThreadPoolExecutor(thread_name_prefix="collector")


async def to_thread(
    function: Callable[Arguments, Answer], /, *arguments: Arguments.args, **named: Arguments.kwargs
) -> Answer:
    """`asyncio.to_thread`, in one of these threads. Not for what asks the store."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, partial(function, *arguments, **named))
