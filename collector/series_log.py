"""What one origin exposes, time after time, into the log."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future

from collector.exposition import AnyOrigin, Exposition, Series, to_request
from collector.intake import Intake
from collector.threads import to_thread


class SeriesLog:
    """Puts expositions of one origin into the log, and says of each series that is gone that it has ended.

    Args:
        intake: where they go.
        origin: whose they are.
    """

    def __init__(self, intake: Intake, origin: AnyOrigin) -> None:
        self.origin = origin
        self._intake = intake
        self._logged: Mapping[str, Series] = {}

    async def put(self, exposition: Exposition, time_unix_ns: int) -> None:
        """Log what there is now; returns when it is on the disk.

        Args:
            exposition: `Exposition()` when nothing is left.
            time_unix_ns: when what is gone was missed.

        Raises:
            CollectorError: when the log does not take it. The next one then tells of all that has ended since the last
                that it took.
        """
        await asyncio.wrap_future(await to_thread(self._append, exposition, time_unix_ns))
        self._logged = exposition.series

    def _append(self, exposition: Exposition, time_unix_ns: int) -> "Future[None]":
        payload = to_request(self.origin, exposition, self._logged, time_unix_ns)
        _, written = self._intake.put("metrics", payload)
        return written
