"""The collector, wired: doors → intake → log → loader → store."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from collector.intake import Intake
from collector.loader import Loader
from collector.receiver import OtlpHttpReceiver
from collector.scrape import Scraper
from collector.settings import CollectorSettings, ScrapeTarget
from collector.telemetry import Telemetry
from collector.wal import WriteAheadLog
from storage.store import Store

log = logging.getLogger(__name__)


class Collector:
    """All of the collector. Serve `otlp_app`, call `start`, and at the end `drain` and `close`.

    Args:
        settings: how it listens, logs and scrapes.
        store: migrated.
        data_path: the log is in `data_path/wal`; on a disk that can be synced.
        registry: where its own metrics are registered.

    Raises:
        LogUnavailableError: when the data folder cannot be written.
        LogBusyError: when another process writes there.
    """

    def __init__(self, settings: CollectorSettings, store: Store, data_path: Path, registry: CollectorRegistry) -> None:
        telemetry = Telemetry(registry)
        self._wal = WriteAheadLog(data_path / "wal", settings.wal, telemetry)
        self._loader = Loader(self._wal, store, settings.wal, telemetry)
        self.intake = Intake(self._wal, settings.accepted_times, telemetry)
        self.otlp_app = OtlpHttpReceiver(self.intake, settings.otlp_http, telemetry)
        self._scraper = Scraper(self.intake, settings.scrape, telemetry)

    def start(self) -> None:
        """Begin to load. What an earlier process left in the log comes first."""
        self._loader.start()

    async def scrape_forever(self, targets: Sequence[ScrapeTarget]) -> None:
        """Scrape these targets on their schedules, until cancelled."""
        await self._scraper.run(targets)

    def loading(self) -> tuple[bool, float | None]:
        """Do the log's writer and the loader run, and how long has what is acknowledged waited to be loaded.

        The seconds are those of the oldest item, None when none waits.
        """
        since = self._wal.waiting_since_unix_ns()
        running = self._wal.is_alive and self._loader.is_alive
        return running, None if since is None else (time.time_ns() - since) / 1e9

    def flush(self, deadline_s: float = 60.0) -> bool:
        """Load all that was acknowledged; False when that takes longer. What is left stays in the log."""
        return self._loader.flush(deadline_s)

    def drain(self, deadline_s: float = 10.0) -> bool:
        """Stop taking requests, and load all that was acknowledged; False when time runs out.

        What is left stays in the log for the next start.
        """
        self._wal.stop_taking()
        return self._loader.flush(deadline_s)

    def close(self) -> None:
        """Stop all threads and give the folder free. Nothing acknowledged is lost, loaded or not."""
        self.otlp_app.close()
        self._loader.stop()
        self._wal.close()
