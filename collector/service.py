"""The collector, wired: doors → intake → log → loader → store."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry

from collector.admission import Admission
from collector.discovery import finders
from collector.fabric.readers import FabricReaders
from collector.grpc_receiver import OtlpGrpcReceiver
from collector.intake import Intake
from collector.loader import Loader
from collector.receiver import OtlpHttpReceiver, with_cors
from collector.report import IngestReport, ingest_report
from collector.scrape import Scraper
from collector.settings import CollectorSettings, ScrapeTarget
from collector.telemetry import Telemetry
from collector.wal import WriteAheadLog
from domain.topology import Topology
from storage.store import Store
from storage.topology import write_topology

log = logging.getLogger(__name__)


class Collector:
    """All of the collector. Serve `otlp_app` and `otlp_grpc`, call `start`, and at the end `drain` and `close`.

    Args:
        settings: how it listens, logs and scrapes.
        store: migrated before `start`.
        data_path: the folder of an embedded store, None for a server. Unless the settings name a folder, the log is in
            `wal` there, or in `data/wal` where this process runs.
        registry: where its own metrics are registered.
        admits: is this the `authorization` of somebody who may send OTLP; None lets everybody.
        full: why nothing more may be taken in, as of a disk that is nearly full; None when it may. Must not take long.

    Raises:
        LogUnavailableError: when the data folder cannot be written.
        LogBusyError: when another process writes there.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        store: Store,
        data_path: Path | None,
        registry: CollectorRegistry,
        admits: Callable[[str], bool] | None = None,
        full: Callable[[], str | None] = lambda: None,
    ) -> None:
        telemetry = Telemetry(registry)
        self._store = store
        folder = settings.wal.folder or (data_path or Path("data")) / "wal"
        self._wal = WriteAheadLog(folder, settings.wal, telemetry, full, data_path)
        self._loader = Loader(self._wal, store, settings.wal, telemetry)
        self.intake = Intake(self._wal, settings.accepted_times, telemetry)
        self._admission = Admission(self.intake, settings.in_flight_bytes_max, telemetry, admits)
        self.otlp_app = with_cors(
            OtlpHttpReceiver(self._admission, settings.otlp_http, telemetry), settings.otlp_http.cors
        )
        self.otlp_grpc = OtlpGrpcReceiver(self._admission, settings.otlp_grpc, telemetry)
        self._scraper = Scraper(self.intake, settings.scrape, telemetry)
        self._fabric = FabricReaders(self.intake, settings.fabric, self._keep_topology, telemetry)
        self._scrape_settings = settings.scrape
        self._telemetry = telemetry
        self._registry = registry

    def start(self) -> None:
        """Begin to load. What an earlier process left in the log comes first."""
        self._loader.start()

    async def scrape_forever(self, targets: Sequence[ScrapeTarget]) -> None:
        """Scrape these targets on their schedules, until cancelled."""
        await self._scraper.run(targets)

    async def discover_forever(self) -> None:
        """Scrape what the settings have found in files and Kubernetes, until cancelled; returns when they name none."""
        async with asyncio.TaskGroup() as following:
            for found in finders(self._scrape_settings, self._telemetry):
                following.create_task(self._scraper.follow(found))

    async def read_fabric_forever(self) -> None:
        """Read what the settings name of the fabric, until cancelled; returns when they name nothing."""
        await self._fabric.run()

    def _keep_topology(self, topology: Topology) -> None:
        write_topology(self._store, topology, datetime.now(UTC), discovered=True)

    @property
    def has_begun(self) -> bool:
        """Was `start` called: before that what is acknowledged waits in the log."""
        return self._loader.has_begun

    def loading(self) -> tuple[bool, float | None]:
        """Do the log's writer and the loader run, and how long has what is acknowledged waited to be loaded.

        The seconds are those of the oldest item, None when none waits.
        """
        return self._wal.is_alive and self._loader.is_alive, self._wal.waiting_s()

    def report(self) -> IngestReport:
        """What came in, what did not and why, and what waits, since this process began."""
        return ingest_report(self._registry)

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
        self._admission.close()
        self._loader.stop()
        self._wal.close()
