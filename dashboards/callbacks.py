"""Registering callbacks: Dash's decorator with types, for coroutines only."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from dash import Dash, Input, Output, State

Coroutine = TypeVar("Coroutine", bound=Callable[..., Awaitable[Any]])


def callback(app: Dash, *dependencies: Output | Input | State) -> Callable[[Coroutine], Coroutine]:
    """Dash's `app.callback`.

    Raises:
        TypeError: for a plain function. Dash would call it on the event loop, where it blocks every other request.
    """

    def register(function: Coroutine) -> Coroutine:
        is_coroutine: bool = inspect.iscoroutinefunction(function)
        if not is_coroutine:
            raise TypeError(f"callback {function} is a plain function; make it `async def` and read in a worker thread")
        app.callback(*dependencies)(function)
        return function

    return register
