"""Questions to a store that may hang, asked so that they hold up nobody."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Answer = TypeVar("Answer")


def ask_in_daemon(question: Callable[[], Answer]) -> "Future[Answer]":
    """Ask in a thread that no end of the process waits for, as it does for those of an executor."""
    answer: Future[Answer] = Future()
    answer.set_running_or_notify_cancel()

    def ask() -> None:
        try:
            answer.set_result(question())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, name="store", daemon=True).start()
    return answer
