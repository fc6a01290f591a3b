"""The weekly report of a fleet of 1,000 GPUs: read from the store, and rendered in every format.

    make bench-weekly_report [BENCH_ARGS="--gpus 1000 --requests 100800000"]

An embedded store is filled as `benchmarks.cost_month` does: what the settling of hours would have left of a month.
Timed are the reading of the facts and the rendering of each format, on one core; both times the bytes are compared.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from analytics.cost.jobs import Pricing
from analytics.cost.price_book import price_book_of
from analytics.knowledge import shipped_knowledge
from benchmarks.cost_month import HOURS, START, USD_PER_GPU_HOUR, fill_month
from benchmarks.server import machine
from reports.service import FORMATS, WeeklyReports, rendered
from reports.settings import WeeklySettings
from storage.migrate import migrate
from storage.open import open_owned
from storage.settings import StoreSettings

WEEK = "2026-W43"  # the last whole one of the month that is filled
NOW = START + timedelta(hours=HOURS)


def main() -> int:
    """Measure and print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=100_800_000)
    given = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before the engine makes its threads
    console = Console(width=120)
    console.print(machine())
    price = {
        "name": "ours",
        "usd_per_gpu_hour": USD_PER_GPU_HOUR,
        "mode": "reserved",
        "source": "-",
        "as_of": "2026-10",
    }
    pricing = Pricing(price_book_of({"prices": [price], "matches": [{"price": "ours"}]}))
    with tempfile.TemporaryDirectory() as folder:
        store = open_owned(StoreSettings(url=f"chdb://{Path(folder) / 'data'}"))
        try:
            migrate(store)
            fill_month(store, given.gpus, given.requests)
            reports = WeeklyReports(store, WeeklySettings(), shipped_knowledge(), lambda: pricing, tuple, lambda: NOW)
            began, cpu = time.perf_counter(), time.process_time()
            document = reports.document(WEEK)
            read_s, read_cpu_s = time.perf_counter() - began, time.process_time() - cpu
            kept = reports.document(WEEK)
        finally:
            store.close()
    table = Table("", "Seconds", "KiB")
    table.add_row("facts and document", f"{read_s:.2f} (CPU {read_cpu_s:.2f})", "")
    formats_s, same = {}, True
    for name in FORMATS:
        began = time.perf_counter()
        body = rendered(document, name).body
        formats_s[name] = time.perf_counter() - began
        same = same and rendered(kept, name).body == body
        table.add_row(name, f"{formats_s[name]:.2f}", f"{len(body) / 1024:,.0f}")
    console.print(table)
    figures = {
        "read_seconds": round(read_s, 2),
        "read_cpu_seconds": round(read_cpu_s, 2),
        "render_all_formats_seconds": round(sum(formats_s.values()), 2),
        "same_bytes_when_kept": same,
    }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
