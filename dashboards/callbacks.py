"""Registering callbacks: Dash's decorator with types, for coroutines only."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from dash import Dash, Input, Output, State

Coroutine = TypeVar("Coroutine", bound=Callable[..., Awaitable[Any]])


def callback(
    app: Dash, *dependencies: Output | Input | State, outputs: Mapping[str, Output] | None = None
) -> Callable[[Coroutine], Coroutine]:
    """Dash's `app.callback`.

    Args:
        app: what the callback is of.
        dependencies: outputs, inputs and states, in the order of the answers and arguments.
        outputs: in place of outputs among `dependencies`, by names that the callback's answer, a dictionary, has too.

    Raises:
        TypeError: for a plain function. Dash would call it on the event loop, where it blocks every other request.
    """

    def register(function: Coroutine) -> Coroutine:
        is_coroutine: bool = inspect.iscoroutinefunction(function)
        if not is_coroutine:
            raise TypeError(f"callback {function} is a plain function; make it `async def` and read in a worker thread")
        if outputs is None:
            app.callback(*dependencies)(function)
        else:
            app.callback(dict(outputs), list(dependencies))(function)
        return function

    return register
