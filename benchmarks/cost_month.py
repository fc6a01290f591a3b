"""A month of a fleet of 1,000 GPUs with 10^8 requests, attributed from what was settled, on one core.

    make bench-cost_month [BENCH_ARGS="--gpus 1000 --requests 100800000"]

An embedded store is filled, in the engine, with what the settling of hours would have left of such a month: what each
GPU did in each hour, and engine time by replica and tenant (how long an hour takes to settle is told too, of a smaller
fleet that the simulator plays). Timed is `analytics.cost.jobs.costs_of` with the sums by model, tenant and cause of
idleness, on one core; the bill is held against GPU hours times price.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from analytics.cost.allocation import cost_by
from analytics.cost.jobs import Pricing, costs_of, settle
from analytics.cost.price_book import price_book_of
from benchmarks.server import machine
from domain.window import Window
from simulator.fill import fill
from simulator.run import Simulation
from storage.migrate import migrate
from storage.open import open_owned
from storage.settings import StoreSettings
from storage.store import Store

START = datetime(2026, 10, 1, tzinfo=UTC)
HOURS = 720
GPUS_A_REPLICA = 4
TENANTS = 20
USD_PER_GPU_HOUR = 3.21

_GPU_HOURS = """INSERT INTO tailsight_gpu_hours
SELECT
    toDateTime({start:DateTime64(6, 'UTC')}) + intDiv(number, {gpus:UInt32}) * 3600 AS hour,
    concat('GPU-', leftPad(toString(number % {gpus:UInt32}), 6, '0')) AS gpu,
    concat('node-', toString(intDiv(number % {gpus:UInt32}, 8))) AS node,
    'NVIDIA H100 80GB HBM3' AS gpu_model,
    'prod' AS pool,
    concat('replica-', toString(intDiv(number % {gpus:UInt32}, {a_replica:UInt32}))) AS replica,
    concat('service-', toString(intDiv(number % {gpus:UInt32}, {a_replica:UInt32}) % 10)) AS service,
    concat('model-', toString(intDiv(number % {gpus:UInt32}, {a_replica:UInt32}) % 10)) AS model,
    1. AS slice_ratio,
    spent.1 AS state,
    spent.2 AS seconds,
    {now:DateTime64(6, 'UTC')} AS settled_at
FROM numbers({gpus:UInt64} * {hours:UInt64})
ARRAY JOIN [
    ('busy', 600. + cityHash64(number) % 2400), ('loaded_without_traffic', 2900. - cityHash64(number) % 2400),
    ('stalled_on_fabric', 100.)] AS spent"""
_REQUEST_HOURS = """INSERT INTO tailsight_request_hours
SELECT
    toDateTime({start:DateTime64(6, 'UTC')}) + intDiv(number, {groups:UInt32}) * 3600 AS hour,
    concat('service-', toString(intDiv(number % {groups:UInt32}, {tenants:UInt32}) % 10)) AS service,
    concat('model-', toString(intDiv(number % {groups:UInt32}, {tenants:UInt32}) % 10)) AS model,
    'v1' AS version,
    'prod' AS pool,
    concat('tenant-', toString(number % {tenants:UInt32})) AS tenant,
    concat('replica-', toString(intDiv(number % {groups:UInt32}, {tenants:UInt32}))) AS replica,
    '' AS node,
    false AS is_error,
    intDiv({requests:UInt64}, {groups:UInt64} * {hours:UInt64}) AS requests,
    requests * 1500 AS input_tokens,
    requests * 300 AS output_tokens,
    1. + cityHash64(number, 1) % 100000 AS engine_ms,
    engine_ms / 4 AS input_engine_ms,
    {now:DateTime64(6, 'UTC')} AS settled_at
FROM numbers({groups:UInt64} * {hours:UInt64})"""
_COST_HOURS = """INSERT INTO tailsight_cost_hours
SELECT toDateTime({start:DateTime64(6, 'UTC')}) + number * 3600, 0, 0, {now:DateTime64(6, 'UTC')}
FROM numbers({hours:UInt64})"""


def fill_month(store: Store, gpus: int, requests: int) -> int:
    """What the settling of a month would have left; how many requests it tells of."""
    groups = gpus // GPUS_A_REPLICA * TENANTS
    end = START + timedelta(hours=HOURS)
    common = {"start": START, "hours": HOURS, "now": end}
    store.execute(_GPU_HOURS, common | {"gpus": gpus, "a_replica": GPUS_A_REPLICA})
    store.execute(_REQUEST_HOURS, common | {"groups": groups, "tenants": TENANTS, "requests": requests})
    store.execute(_COST_HOURS, common)
    return requests // (groups * HOURS) * groups * HOURS


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
            told = fill_month(store, given.gpus, given.requests)
            window = Window(START, START + timedelta(hours=HOURS))
            began, cpu = time.perf_counter(), time.process_time()
            costs = costs_of(store, window, pricing)
            sums = [cost_by(costs.allocation, [by]) for by in ("model", "tenant", "idle_cause", "use")]
            took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
            expected_usd = given.gpus * HOURS * USD_PER_GPU_HOUR
            difference_usd = abs(costs.bill.bill_usd - expected_usd)
            counted = int(sums[0]["requests"].sum())
            settled_s = _settle_seconds(store, pricing)
        finally:
            store.close()
    table = Table("GPUs", "Requests", "Rows", "Attributed", "CPU", "Bill", "Off by", "An hour of 32 GPUs settles in")
    table.add_row(
        f"{given.gpus:,}", f"{counted:,}", f"{costs.allocation.height:,}", f"{took_s:.1f} s", f"{cpu_s:.1f} s",
        f"${expected_usd:,.2f}", f"${difference_usd:.6f}", f"{settled_s:.2f} s",
    )  # fmt: skip
    console.print(table)
    figures = {
        "month_seconds": round(took_s, 2),
        "month_cpu_seconds": round(cpu_s, 2),
        "bill_difference_usd": round(difference_usd, 9),
        "requests_missing": told - counted,
        "settle_hour_seconds": round(settled_s, 3),
    }
    print(json.dumps(figures))
    return 0


def _settle_seconds(store: Store, pricing: Pricing) -> float:
    """Seconds to settle an hour of the simulated fleet."""
    start = datetime(2026, 11, 23, 8, tzinfo=UTC)
    fill(store, Simulation(1, start), start, start + timedelta(hours=2), calls_one_in=1000)
    began = time.perf_counter()
    hours = settle(store, start + timedelta(hours=2, minutes=30), pricing, reach=timedelta(days=1))
    return (time.perf_counter() - began) / hours


if __name__ == "__main__":
    sys.exit(main())
