"""Which objectives hold now."""

import math
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from analytics.jobs.objectives import chosen, default_objectives, kept_objectives
from domain.slo import Objective
from storage.store import Store

_KEPT_S = 2.0
_FIRST_S = 60.0


class Objectives:
    """The objectives of the configuration, of files and of the API; without any, a first promise for each service.

    One of the API stands in place of one of the configuration, but not of one of a file.

    Looked for anew each few seconds, the first promises each minute.
    """

    def __init__(self, store: Store, configured: Sequence[Objective], now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._configured = configured
        self._kept: tuple[float, tuple[Objective, ...]] = (-math.inf, ())
        self._first: tuple[float, tuple[Objective, ...]] = (-math.inf, ())

    @property
    def are_proposed(self) -> bool:
        """Are they first promises that we made up, because nobody made any."""
        return not (self._configured or self._kept[1])

    def __call__(self) -> Sequence[Objective]:
        """Those that hold now."""
        if time.monotonic() - self._kept[0] > _KEPT_S:
            self._kept = (time.monotonic(), kept_objectives(self._store))
        stated = chosen(self._configured, self._kept[1])
        if stated:
            return stated
        if time.monotonic() - self._first[0] > _FIRST_S or not self._first[1]:
            self._first = (time.monotonic(), default_objectives(self._store, self._now()))
        return self._first[1]
