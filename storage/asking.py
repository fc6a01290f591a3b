"""Questions to what may hang, a store or a mail server, asked so that they hold up nobody."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Answer = TypeVar("Answer")


def ask_in_daemon(question: Callable[[], Answer], name: str) -> "Future[Answer]":
    """Ask in a thread of that name, which the end of the process does not wait for, as it would for an executor's."""
    future: Future[Answer] = Future()
    future.set_running_or_notify_cancel()

    def ask() -> None:
        try:
            answer = question()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(answer)

    threading.Thread(target=ask, name=name, daemon=True).start()
    return future
