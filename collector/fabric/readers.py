"""The readers of the fabric at work: each on its own schedule, into the log like a scrape."""

import asyncio
import logging
import re
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from collector.errors import CollectorError, ReadingError
from collector.exposition import encoded, own_families
from collector.fabric.ethtool import read_statistics
from collector.fabric.programs import run_program, text_of
from collector.fabric.reading import Reading
from collector.fabric.switches import (
    PortCounters,
    adapter_reading,
    parse_ibqueryerrors,
    parse_perfquery,
    switch_reading,
    wiring_reading,
)
from collector.fabric.sysfs import EthernetPort, ethernet_ports, read_adapters
from collector.fabric.topology import ADAPTER, Fabric, parse_fabric, to_topology
from collector.intake import Intake
from collector.schedule import every
from collector.series_log import SeriesLog
from collector.settings import FabricSettings, NicSettings, SwitchSettings
from collector.telemetry import Telemetry
from collector.threads import to_thread
from domain.topology import Topology
from storage.errors import StoreError

log = logging.getLogger(__name__)

_KEEP_S_MAX = 2.0

KeepTopology = Callable[[Topology], None]


class Reader(Protocol):
    """One source of readings; `job` becomes `service.name`."""

    @property
    def job(self) -> str:
        """Its name."""

    @property
    def interval_s(self) -> float:
        """From reading to reading."""

    async def read(self) -> Reading:
        """Read once.

        Raises:
            ReadingError: when there is nothing.
        """


@dataclass(frozen=True, slots=True)
class LocalOrigin:
    """This machine: what it reads of itself comes from no address, and has the labels that it gave."""

    job: str
    node: str

    @property
    def resource(self) -> Mapping[str, str]:
        """The attributes of the resource."""
        return {"service.name": self.job, "service.instance.id": self.node, "host.name": self.node}

    def labels_of(self, sample_labels: Mapping[str, str]) -> dict[str, str]:
        """The same, without those that are empty: an empty label is no label (Prometheus data model)."""
        return {name: text for name, text in sample_labels.items() if text}


class FabricReaders:
    """Runs the readers that its settings enable.

    Args:
        intake: where samples go, with `up`, `scrape_duration_seconds` and `scrape_samples_scraped` for each reader.
        settings: which readers there are, and how often they read.
        keep_topology: told the wiring whenever it is not what it was.
        telemetry: told of each reading, as of a scrape.
        now_unix_ns: the clock.
    """

    def __init__(
        self,
        intake: Intake,
        settings: FabricSettings,
        keep_topology: KeepTopology,
        telemetry: Telemetry,
        now_unix_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._telemetry = telemetry
        self._now_unix_ns = now_unix_ns
        self._started_unix_ns: dict[str, int] = {}
        self._told: dict[str, set[str]] = defaultdict(set)
        self.readers: tuple[Reader, ...] = tuple(_enabled(settings, keep_topology, now_unix_ns))
        node = settings.node or socket.gethostname()
        self._logs = {one.job: SeriesLog(intake, LocalOrigin(one.job, node)) for one in self.readers}

    async def run(self) -> None:
        """Read until cancelled; ends at once when no reader is enabled."""
        async with asyncio.TaskGroup() as schedules:
            for number, reader in enumerate(self.readers):
                # Spread over the interval, so that not all read at once.
                schedules.create_task(self._on_schedule(reader, reader.interval_s * number / len(self.readers)))

    async def read(self, reader: Reader) -> str:
        """Read once, and log what came of it; the result: `ok`, `partial`, or why there is nothing."""
        time_unix_ns = self._now_unix_ns()
        started_s = time.monotonic()
        try:
            reading = await reader.read()
        except ReadingError as error:
            reading = Reading(failures=[error])
        duration_s = time.monotonic() - started_s
        count = reading.samples_count
        result = "ok" if not reading.failures else "partial" if count else reading.failures[0].reason
        for reason, dropped in reading.dropped.items():
            self._telemetry.dropped_samples.labels(reader.job, reason).inc(dropped)
        own = own_families(up=result in ("ok", "partial"), duration_s=duration_s, samples_count=count)
        series_log = self._logs[reader.job]
        exposition = await to_thread(
            encoded,
            [*reading.families.values(), *own],
            series_log.origin,
            time_unix_ns=time_unix_ns,
            start_unix_ns=self._started_unix_ns.setdefault(reader.job, time_unix_ns),
        )
        try:
            await series_log.put(exposition, time_unix_ns)
        except CollectorError as error:
            result = "not_logged"
            reading.failures.append(ReadingError(result, f"what was read is lost: {error}"))
        self._tell(reader.job, reading.failures)
        self._telemetry.scrapes.labels(reader.job, result).inc()
        return result

    async def _on_schedule(self, reader: Reader, delay_s: float) -> None:
        async for _ in every(reader.interval_s, delay_s, asyncio.Event()):
            try:
                await self.read(reader)
            except Exception:
                log.exception("reading %s failed", reader.job)
                self._telemetry.scrapes.labels(reader.job, "internal").inc()

    def _tell(self, job: str, failures: Sequence[ReadingError]) -> None:
        """Tell of each reason once, when it comes and when all are over; counters tell of the rest."""
        reasons = Counter(failure.reason for failure in failures)
        for reason in reasons.keys() - self._told[job]:
            first = next(failure for failure in failures if failure.reason == reason)
            more = f" (and {reasons[reason] - 1} more)" if reasons[reason] > 1 else ""
            log.warning("%s: %s%s", job, first, more)
        if self._told[job] and not reasons:
            log.info("%s: reads all again", job)
        self._told[job] = set(reasons)


def _enabled(settings: FabricSettings, keep_topology: KeepTopology, now_unix_ns: Callable[[], int]) -> Sequence[Reader]:
    readers: list[Reader] = []
    if settings.adapters.enabled:
        readers.append(AdapterReader(settings.sysfs, settings.adapters.interval_s))
    if settings.nics.enabled:
        readers.append(NicReader(settings.sysfs, settings.nics))
    if settings.switches.enabled:
        readers.append(SwitchReader(settings.switches, keep_topology, now_unix_ns))
    return readers


@dataclass(frozen=True, slots=True)
class AdapterReader:
    """The RDMA adapters of this machine."""

    sysfs: Path
    interval_s: float
    job: str = "infiniband"

    async def read(self) -> Reading:
        """Read sysfs; a driver may ask its adapter for each file, so not in the event loop."""
        return await to_thread(read_adapters, self.sysfs)


class NicReader:
    """The Ethernet NICs under the RDMA ports of this machine."""

    job = "ethtool"

    def __init__(self, sysfs: Path, settings: NicSettings) -> None:
        self._sysfs = sysfs
        self._settings = settings
        self._wanted = re.compile(settings.statistics)
        self.interval_s = settings.interval_s

    async def read(self) -> Reading:
        """Ask each interface; one that does not answer costs its own series only."""
        ports = await to_thread(ethernet_ports, self._sysfs)
        if not ports:
            raise ReadingError(
                "no_ethernet_ports", f"no RDMA port in {self._sysfs}/class/infiniband has an Ethernet interface"
            )
        whole = Reading()
        whole.extend(await asyncio.gather(*(self._statistics(port) for port in ports)))
        return whole

    async def _statistics(self, port: EthernetPort) -> Reading:
        settings = self._settings
        try:
            text = await text_of(settings.ethtool, "-S", port.interface, timeout_s=settings.timeout_s)
        except ReadingError as error:
            return Reading(failures=[error])
        return read_statistics(text, port, self._wanted)


@dataclass(slots=True)
class _Wiring:
    """What was discovered last, and since when it holds. A port that once had a peer is asked even without one."""

    fabric: Fabric = field(default_factory=lambda: Fabric(()))
    topology: Topology = field(default_factory=Topology)
    discovered_s: float = float("-inf")
    cabled: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))


class SwitchReader:
    """The wiring of the fabric, and the counters of its switch ports.

    Args:
        settings: what is asked, and how.
        keep_topology: told the wiring whenever it is not what it was.
        now_unix_ns: the clock; each switch's samples have the time at which it answered.
    """

    job = "infiniband-switches"

    def __init__(
        self, settings: SwitchSettings, keep_topology: KeepTopology, now_unix_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._settings = settings
        self._keep_topology = keep_topology
        self._now_unix_ns = now_unix_ns
        self._wiring = _Wiring()
        self._kept = Topology()
        self._keeping: asyncio.Task[ReadingError | None] | None = None
        self._running = asyncio.Semaphore(settings.concurrency)
        self.interval_s = settings.interval_s

    async def read(self) -> Reading:
        """Discover the wiring when it is due, then ask each switch; one that does not answer costs its own series."""
        whole = Reading()
        if time.monotonic() - self._wiring.discovered_s >= self._settings.wiring_interval_s:
            try:
                whole.dropped.update(await self._discover())
            except ReadingError as error:
                if not self._wiring.fabric.links:
                    raise
                whole.failures.append(error)  # cables seldom move: go on with what was found the last time
        fabric = self._wiring.fabric
        for guid, links in fabric.links_by_switch.items():
            whole.extend([wiring_reading(fabric.switch_names[guid], links)])
        if self._settings.counters:
            whole.extend(await asyncio.gather(*(self._switch(guid) for guid in sorted(self._wiring.cabled))))
        if self._settings.adapters:
            whole.extend([await self._adapters()])
        whole.failures.extend(await self._keep())
        return whole

    async def _discover(self) -> Mapping[str, int]:
        text = await self._wiring_text()
        fabric = await to_thread(parse_fabric, text)
        if not any(link.far for link in fabric.links):
            raise ReadingError(
                "no_links",
                f"no cabled port in {text[:200]!r} ({fabric.unreadable} lines could not be read): expected what "
                "ibnetdiscover or iblinkinfo prints of a fabric with at least two devices",
            )
        wiring = self._wiring
        wiring.fabric, wiring.discovered_s = fabric, time.monotonic()
        for guid, links in fabric.links_by_switch.items():
            wiring.cabled[guid].update(link.near.port for link in links if link.far is not None)
        wiring.topology = await to_thread(to_topology, fabric)
        return {"unreadable": fabric.unreadable} if fabric.unreadable else {}

    async def _keep(self) -> list[ReadingError]:
        """Keep the wiring if it is not what it was; a store that does not answer makes no reading much later."""
        if self._wiring.topology == self._kept and self._keeping is None:
            return []
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._store_topology(self._wiring.topology))
        done, _ = await asyncio.wait({self._keeping}, timeout=_KEEP_S_MAX)
        if not done:  # waited for again at the next reading
            return [ReadingError("topology_not_kept", f"the store has not taken the topology within {_KEEP_S_MAX:g} s")]
        error, self._keeping = self._keeping.result(), None
        return [] if error is None else [error]

    async def _store_topology(self, topology: Topology) -> ReadingError | None:
        try:
            await asyncio.to_thread(self._keep_topology, topology)
        except StoreError as error:  # tried again at the next reading
            return ReadingError("topology_not_kept", f"the topology cannot be stored: {error}")
        self._kept = topology
        return None

    async def _wiring_text(self) -> str:
        settings = self._settings
        if settings.wiring_file is not None:
            try:
                return await to_thread(settings.wiring_file.read_text, errors="replace")
            except OSError as error:
                raise ReadingError(
                    "no_wiring_file", f"collector.fabric.switches.wiring_file: {settings.wiring_file}: {error.strerror}"
                ) from None
        named = () if settings.node_name_map is None else ("--node-name-map", str(settings.node_name_map))
        return await text_of(settings.ibnetdiscover, "--ports", *named, timeout_s=settings.timeout_s)

    async def _switch(self, guid: str) -> Reading:
        links = self._wiring.fabric.links_by_switch.get(guid)
        if not links:  # gone from the fabric, or hidden behind what is
            return Reading()
        name, lid = self._wiring.fabric.switch_names[guid], links[0].near.lid
        labels = {"guid": guid, "switch": name, "collector": "switch"}
        ports = self._wiring.cabled[guid]
        async with self._running:
            started_s = time.monotonic()
            counters, failures = await self._counters(lid, sorted(ports))
            duration_s = time.monotonic() - started_s
        reading = switch_reading(name, guid, counters, self._now_unix_ns())
        reading.failures.extend(failures)
        missing = sorted(ports - counters.ports.keys())
        if missing and not failures:
            told = ", ".join(map(str, missing))
            reading.failures.append(ReadingError("missing_ports", f"switch {name} told nothing of ports {told}"))
        reasons = {failure.reason for failure in reading.failures}
        for what, value in (
            ("duration_seconds", duration_s),
            ("timeout", float("timeout" in reasons)),
            ("error", float(bool(reasons - {"timeout"}))),
        ):
            reading.add(f"infiniband_switch_collect_{what}", "gauge", "Of reading this switch", labels, value)
        return reading

    async def _counters(self, lid: int, ports: Sequence[int]) -> tuple[PortCounters, list[ReadingError]]:
        """What could be read; a program that fails costs what it would have told."""
        listed = ",".join(map(str, ports))
        counters = PortCounters()
        failures: list[ReadingError] = []
        try:
            counters = await self._perfquery("-x", "-l", str(lid), listed)
            if not counters.ports or counters.lacks("PortXmitWait"):  # older switches keep it in the basic set only
                counters = counters.completed(await self._perfquery("-l", str(lid), listed))
        except ReadingError as error:
            failures.append(error)
        for port, option in _details_wanted(counters) if self._settings.details else ():
            try:
                counters = counters.completed(await self._perfquery(option, str(lid), str(port)))
            except ReadingError as error:
                failures.append(error)
        return counters, failures

    async def _perfquery(self, *arguments: str) -> PortCounters:
        """What perfquery prints before it ends, well or not: one bad port must not cost those before it."""
        output = await run_program(self._settings.perfquery, *arguments, timeout_s=self._settings.timeout_s)
        counters = parse_perfquery(output.text)
        if output.failed and not counters.ports and "-x" not in arguments:  # not every switch has the extended set
            raise ReadingError("failed", f"{self._settings.perfquery} {' '.join(arguments)}: {output.complaint}")
        return counters

    async def _adapters(self) -> Reading:
        settings = self._settings
        try:
            output = await run_program(settings.ibqueryerrors, "--ca", "--data", timeout_s=settings.timeout_s)
        except ReadingError as error:
            return Reading(failures=[error])
        if "## Summary" not in output.text:  # its status says whether it found errors, which is what it is asked for
            words = f"{settings.ibqueryerrors} ended before its summary: {output.complaint or 'it said nothing'}"
            return Reading(failures=[ReadingError("failed", words)])
        links = {link.near.guid: link for link in self._wiring.fabric.links if link.near.kind == ADAPTER}
        return adapter_reading(parse_ibqueryerrors(output.text), links, self._now_unix_ns())


def _details_wanted(counters: PortCounters) -> list[tuple[int, str]]:
    """The ports that dropped something, each with the option of perfquery that tells what it was of."""
    options = (("PortXmitDiscards", "-D"), ("PortRcvErrors", "-E"))
    return [(port, option) for port, values in counters.ports.items() for name, option in options if values.get(name)]
