"""CPU time of one scrape of a dcgm-exporter with 8 GPUs, and how many such exporters one core keeps up with.

    python -m benchmarks.scrape [--quick] [--runs N] [--targets N] [--rounds N] [--file FILE]

The fake exporters are one process, the collector is another, and only the collector's CPU time counts, all of its
threads: asking, unpacking, parsing, encoding, checking, writing and syncing the log. Each target is asked several
times, one after the other with the usual bounds, as fast as it goes; the values change from scrape to scrape. The first
round, in which the lines are learned, is not counted but shown. Loading the log into the engine is not in it, unless
--load asks for that: then an embedded store takes in what was scraped, and its CPU time counts too.

The text is what dcgm-exporter 4.8 exposes of a node with 8 H100 with profiling, NVLink per link, XID and clock events,
and pod labels; --file takes another text.
"""

import argparse
import asyncio
import gc
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table

from benchmarks.server import machine
from collector.scrape import Scraper
from collector.service import Collector
from collector.settings import CollectorSettings, ScrapeTarget, WalSettings
from collector.telemetry import Telemetry
from storage.migrate import migrate
from storage.open import open_owned
from storage.settings import StoreSettings

ROOT = Path(__file__).parent.parent
GPUS = 8
INTERVAL_S = 15
VARIANTS = 8  # texts with other values, so that two scrapes of a target differ


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of one collector process."""

    scrapes: int
    samples: int
    first_round_cpu_s: float
    cpu_s: float
    wall_s: float
    memory_bytes: int

    @property
    def cpu_ms_per_scrape(self) -> float:
        """Without the first round."""
        return 1e3 * self.cpu_s / self.scrapes

    @property
    def lines_per_cpu_second(self) -> float:
        """Lines with a sample."""
        return self.scrapes * self.samples / self.cpu_s


# -- the payload ---------------------------------------------------------------------------------------------------

# Metric, type, and greatest value; the shape of dcgm-exporter's default counters with what an inference site turns on.
_PER_GPU = (
    *(("DCGM_FI_DEV_" + name, "gauge", 2000.0) for name in ("SM_CLOCK", "MEM_CLOCK", "GPU_TEMP", "MEMORY_TEMP")),
    *(("DCGM_FI_DEV_" + name, "gauge", 100.0) for name in ("GPU_UTIL", "MEM_COPY_UTIL", "ENC_UTIL", "DEC_UTIL")),
    *(("DCGM_FI_DEV_" + name, "gauge", 8e4) for name in ("FB_FREE", "FB_USED", "FB_RESERVED", "POWER_USAGE")),
    *(("DCGM_FI_DEV_" + name, "gauge", 700.0) for name in ("POWER_MGMT_LIMIT", "ENFORCED_POWER_LIMIT", "PSTATE")),
    *(("DCGM_FI_DEV_PCIE_" + name, "gauge", 16.0) for name in ("LINK_GEN", "LINK_WIDTH", "MAX_LINK_GEN")),
    *(("DCGM_FI_DEV_ECC_" + name, "counter", 9.0) for name in ("SBE_VOL_TOTAL", "DBE_VOL_TOTAL", "SBE_AGG_TOTAL")),
    *(("DCGM_FI_DEV_" + name + "_VIOLATION", "counter", 1e9) for name in ("POWER", "THERMAL", "RELIABILITY")),
    *(("DCGM_FI_DEV_" + name, "counter", 1e12) for name in ("TOTAL_ENERGY_CONSUMPTION", "PCIE_REPLAY_COUNTER")),
    *(("DCGM_FI_DEV_" + name, "counter", 5.0) for name in ("UNCORRECTABLE_REMAPPED_ROWS", "ROW_REMAP_FAILURE")),
    *(("DCGM_FI_PROF_" + name, "gauge", 1.0) for name in ("GR_ENGINE_ACTIVE", "PIPE_TENSOR_ACTIVE", "DRAM_ACTIVE")),
    *(("DCGM_FI_PROF_" + name, "gauge", 1.0) for name in ("SM_ACTIVE", "SM_OCCUPANCY", "PIPE_FP16_ACTIVE")),
    *(("DCGM_FI_PROF_" + name, "gauge", 6e10) for name in ("PCIE_TX_BYTES", "PCIE_RX_BYTES", "NVLINK_TX_BYTES")),
    ("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "gauge", 255.0),
    ("DCGM_FI_DEV_XID_ERRORS", "gauge", 0.0),
)
_PER_LINK = ("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_L", "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_L")
_LINKS = 18


def exposition(randomness: random.Random, uuids: list[str]) -> str:
    """What an exporter says once: about 510 samples of 8 GPUs."""
    lines: list[str] = []

    def add(name: str, kind: str, most: float, more: str = "") -> None:
        lines.append(f"# HELP {name} What NVIDIA says of {name.removeprefix('DCGM_FI_').lower()}.")
        lines.append(f"# TYPE {name} {kind}")
        for gpu, uuid in enumerate(uuids):
            labels = (
                f'gpu="{gpu}",UUID="{uuid}",pci_bus_id="00000000:{0x18 + 17 * gpu:02X}:00.0",device="nvidia{gpu}",'
                f'modelName="NVIDIA H100 80GB HBM3",hostname="gpu-node-00",DCGM_FI_DRIVER_VERSION="580.95.05"{more},'
                f'container="vllm",namespace="serving",pod="llama-70b-{gpu // 2}"'
            )
            value = randomness.uniform(0, most)
            lines.append(f"{name}{{{labels}}} {value:.6f}" if most <= 1 else f"{name}{{{labels}}} {value:.0f}")

    for name, kind, most in _PER_GPU:
        add(name, kind, most, ',err_code="0",err_msg="No Error"' if "XID" in name else "")
    for link in range(_LINKS):
        for name in _PER_LINK[: 1 + link % 2]:
            add(f"{name}{link}", "counter", 3.0)
    return "\n".join(lines) + "\n"


def texts(file: Path | None) -> list[str]:
    """The variants of the payload."""
    if file is not None:
        return [file.read_text()]
    uuids = [f"GPU-5b4e07f{gpu}-0da5-6d26-a36a-e7af1ce2586e" for gpu in range(GPUS)]
    return [exposition(random.Random(seed), uuids) for seed in range(VARIANTS)]


# -- the exporters -------------------------------------------------------------------------------------------------


async def export(targets: int, file: Path | None) -> None:
    """Be that many exporters, each on a port of its own; print the ports, and answer until stdin ends."""
    answers = []
    for text in texts(file):
        body = text.encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\n\r\n"
        answers.append(head.encode() + body)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answers[number % len(answers)])
                await writer.drain()
                number += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    servers = [await asyncio.start_server(serve, "127.0.0.1", 0) for _ in range(targets)]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.to_thread(sys.stdin.read)


# -- the collector -------------------------------------------------------------------------------------------------


def cpu_s() -> float:
    """CPU seconds of this process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@asynccontextmanager
async def collector_of(folder: Path, *, load: bool) -> AsyncIterator[tuple[Collector, Scraper]]:
    """A collector with its own log; with `load` its loader fills an embedded store."""
    store = open_owned(StoreSettings(url=f"chdb://{folder / 'data'}"))
    migrate(store)
    settings = CollectorSettings(wal=WalSettings() if load else WalSettings(segment_age_s=3600))
    collector = Collector(settings, store, folder, CollectorRegistry())
    if load:
        collector.start()
    yield collector, Scraper(collector.intake, settings.scrape, Telemetry(CollectorRegistry()))
    collector.close()
    store.close()


async def collect(ports: list[int], rounds: int, samples: int, folder: Path, *, load: bool) -> Measurement:
    """Ask every target once to learn it, then `rounds` times."""
    targets = [ScrapeTarget(job="dcgm", source="dcgm", url=f"http://127.0.0.1:{port}/metrics") for port in ports]
    async with collector_of(folder, load=load) as (collector, scraper), scraper.session() as session:
        bound = asyncio.Semaphore(CollectorSettings().scrape.concurrency)

        async def scrape(target: ScrapeTarget) -> None:
            async with bound:
                result = await scraper.scrape(session, target)
            if result != "ok":
                raise RuntimeError(f"{target.url}: {result}")

        before_bytes = resident_bytes()
        begun = cpu_s()
        await asyncio.gather(*map(scrape, targets))
        first_round_cpu_s = cpu_s() - begun
        if load:
            collector.flush(600)
        gc.collect()
        memory_bytes = resident_bytes() - before_bytes
        begun, begun_wall = cpu_s(), time.monotonic()
        for _ in range(rounds):
            await asyncio.gather(*map(scrape, targets))
        if load:
            collector.flush(600)
        used_s, wall_s = cpu_s() - begun, time.monotonic() - begun_wall
        return Measurement(rounds * len(targets), samples, first_round_cpu_s, used_s, wall_s, memory_bytes)


def resident_bytes() -> int:
    """Memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


# -- putting it together -------------------------------------------------------------------------------------------


def process(*arguments: str) -> "subprocess.Popen[str]":
    """This script in another process."""
    command = [sys.executable, "-m", "benchmarks.scrape", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def measure(arguments: argparse.Namespace, rounds: int) -> Measurement:
    """One run against fresh processes."""
    more = ["--file", str(arguments.file)] if arguments.file else []
    with process("--export", "--targets", str(arguments.targets), *more) as exporters:
        assert exporters.stdout is not None
        ports = exporters.stdout.readline().strip()
        load = ["--load"] if arguments.load else []
        with process("--collect", ports, "--rounds", str(rounds), *load, *more) as collector:
            output, _ = collector.communicate(timeout=1800)
        exporters.communicate(timeout=60)
    if collector.returncode:
        raise RuntimeError(f"the collector ended with {collector.returncode}")
    return Measurement(**json.loads(output.splitlines()[-1]))


def report(console: Console, runs: list[Measurement], arguments: argparse.Namespace) -> dict[str, object]:
    """Print the table; the figures."""
    table = Table(title="Scrapes of dcgm-exporter, " + ("into the engine" if arguments.load else "into the log"))
    headings = (
        "run",
        "scrapes",
        "CPU ms / scrape",
        "lines / CPU s",
        "targets a core",
        "first round, ms",
        "wall s",
        "KiB a target",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for number, run in enumerate(runs, start=1):
        table.add_row(
            str(number),
            f"{run.scrapes:,}",
            f"{run.cpu_ms_per_scrape:.2f}",
            f"{run.lines_per_cpu_second:,.0f}",
            f"{targets_per_core(run):,.0f}",
            f"{1e3 * run.first_round_cpu_s / arguments.targets:.1f}",
            f"{run.wall_s:.1f}",
            f"{run.memory_bytes / arguments.targets / 1024:.0f}",
        )
    text = texts(arguments.file)[0]
    console.print(machine())
    console.print(
        f"{arguments.targets} targets, {runs[0].samples} samples and {len(text) / 1000:.0f} kB a scrape, "
        f"not compressed; {GPUS} GPUs of 12 labels"
    )
    console.print(table)
    return {
        "cpu_ms_per_scrape": round(statistics.median(run.cpu_ms_per_scrape for run in runs), 3),
        "lines_per_cpu_second": round(statistics.median(run.lines_per_cpu_second for run in runs)),
        "targets_per_core_at_15_s": round(statistics.median(targets_per_core(run) for run in runs)),
        "first_scrape_cpu_ms": round(
            statistics.median(1e3 * run.first_round_cpu_s / arguments.targets for run in runs), 1
        ),
        "engine_included": arguments.load,
        "runs": len(runs),
    }


def targets_per_core(run: Measurement) -> float:
    """Targets that one core scrapes every 15 s."""
    return 1e3 * INTERVAL_S / run.cpu_ms_per_scrape


def main() -> None:
    """Measure and print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short run, to see that it works")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--targets", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=10, help="scrapes of each target that are counted")
    parser.add_argument("--load", action="store_true", help="count what the engine needs to load it, too")
    parser.add_argument("--file", type=Path, help="a text to serve in place of ours")
    parser.add_argument("--export", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--collect", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.export:
        asyncio.run(export(arguments.targets, arguments.file))
    elif arguments.collect:
        ports = [int(port) for port in arguments.collect.split()]
        samples = sum(line[:1] not in ("", "#") for line in texts(arguments.file)[0].split("\n"))
        with tempfile.TemporaryDirectory(prefix="tailsight-bench-") as folder:
            measured = asyncio.run(collect(ports, arguments.rounds, samples, Path(folder), load=arguments.load))
        print(json.dumps({name: getattr(measured, name) for name in Measurement.__slots__}))
    else:
        runs = [
            measure(arguments, 2 if arguments.quick else arguments.rounds)
            for _ in range(1 if arguments.quick else arguments.runs)
        ]
        print(json.dumps(report(Console(), runs, arguments)))


if __name__ == "__main__":
    main()
