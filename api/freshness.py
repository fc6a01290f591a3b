"""How fresh the store's data are, asked so that a store that hangs holds nobody up."""

import asyncio
from concurrent.futures import Future
from datetime import datetime
from functools import partial

from storage.asking import ask_in_daemon
from storage.errors import StoreUnavailableError
from storage.readers import read_freshness
from storage.store import Store

_ANSWER_S_MAX = 5.0


class FreshnessProbe:
    """Asks the store how fresh it is: one question at a time, in a thread of its own, with little time for an answer.

    So a store that hangs takes no thread from anybody, however often a process is asked whether it is ready.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked: Future[dict[str, datetime | None]] | None = None

    async def ask(self, now: datetime) -> dict[str, datetime | None]:
        """`storage.readers.read_freshness`, as of the question that is under way.

        Raises:
            StoreError: when the store does not answer, or not in time.
        """
        if self._asked is None or self._asked.done():
            self._asked = ask_in_daemon(partial(read_freshness, self._store, now), "readiness")
        answer = asyncio.wrap_future(self._asked)
        answer.add_done_callback(lambda one: one.cancelled() or one.exception())  # where nobody waits for it any more
        try:
            async with asyncio.timeout(_ANSWER_S_MAX):
                return await asyncio.shield(answer)
        except TimeoutError:
            raise StoreUnavailableError(
                f"the store has not answered for {_ANSWER_S_MAX:g} s: it hangs, or has very much to do"
            ) from None
