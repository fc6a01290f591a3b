"""Answers that an open page, which asks again every few seconds, need not wait for."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)

_ANSWERS_MAX = 24


class AnswerCache(Generic[Answer]):
    """The newest answers, each for so many seconds. Whoever asks for one that is being made waits for that one.

    Args:
        seconds: how long an answer holds.
        clock: seconds that only rise.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._answers: OrderedDict[Hashable, tuple[float, Answer]] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, ask: Callable[[], Answer]) -> Answer:
        """The answer kept, or a new one."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                known = self._answers.get(key)
            if known is None or self._clock() - known[0] > self._seconds:
                known = (self._clock(), ask())
                with self._lock:
                    self._answers[key] = known
                    while len(self._answers) > _ANSWERS_MAX:
                        oldest, _ = self._answers.popitem(last=False)
                        self._making.pop(oldest, None)
            return known[1]


class BackgroundAnswer(Generic[Answer]):
    """The newest answer to a question that takes too long to wait for: a thread of its own makes the next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: Hashable = None
        self._answer: Answer | None = None
        self._made: threading.Event | None = None

    def get(self, key: Hashable, ask: Callable[[], Answer], wait_s: float) -> Answer | None:
        """The answer for that key when it is there in time, else the one before; None when there was none."""
        with self._lock:
            if key == self._key:
                return self._answer
            if self._made is None:
                self._made = threading.Event()
                threading.Thread(target=self._make, args=(key, ask), name="looking ahead", daemon=True).start()
            made = self._made
        made.wait(wait_s)
        with self._lock:
            return self._answer

    def _make(self, key: Hashable, ask: Callable[[], Answer]) -> None:
        try:
            answer = ask()
        except Exception:
            _log.exception("what takes long for a page could not be made; the next refresh tries again")
        else:
            with self._lock:
                self._key, self._answer = key, answer
        with self._lock:
            made, self._made = self._made, None
        if made is not None:
            made.set()
