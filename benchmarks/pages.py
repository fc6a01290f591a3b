"""Milliseconds, bytes and requests that each page takes in a real Chromium, over a demo with a week of history.

    python -m benchmarks.pages [--quick] [--days N] [--runs N]

`tailsight demo` runs as anybody would start it, live, so the pages share the machine with everything else that it does.
Each page is opened `--runs` times in turns: first by a browser that has seen nothing (cold), then again by one that has
(warm). A page is drawn when no part of it is loading any more. A callback's time is from its request to the end of its
answer, as the browser saw it.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from rich.console import Console
from rich.table import Table

from benchmarks.server import machine

ROOT = Path(__file__).parent.parent
PATHS = (
    "/", "/incidents", "/slos", "/alerts", "/alerts/routes", "/cost", "/cost/breakdown", "/cost/idle", "/cost/forecast",
    "/cost/advice", "/reports", "/data",
)  # fmt: skip
READY_S = 600
CALLBACK = "_dash-update-component"

# What the browser itself has measured: https://www.w3.org/TR/resource-timing/, https://www.w3.org/TR/paint-timing/
MEASURED = """() => {
    const all = performance.getEntriesByType("resource")
    const paint = performance.getEntriesByName("first-contentful-paint")[0]
    const [document] = performance.getEntriesByType("navigation")
    return {
        painted_ms: paint ? paint.startTime : null,
        bytes: [document, ...all].reduce((sum, one) => sum + one.transferSize, 0),
        requests: all.length + 1,
        callbacks_ms: all.filter(one => one.name.includes("CALLBACK")).map(one => one.responseEnd - one.requestStart),
    }
}""".replace("CALLBACK", CALLBACK)


@dataclass
class Opened:
    """What opening a page took, a value each time."""

    drawn_ms: list[float] = field(default_factory=list)
    painted_ms: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    callbacks_ms: list[float] = field(default_factory=list)


@contextmanager
def demo(days: float) -> Iterator[str]:
    """A demo that is ready; its URL."""
    command = [sys.executable, "-m", "tailsight", "demo", "--days", str(days), "--port", "0"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        began = time.monotonic()
        for line in process.stdout:
            found = re.search(r"Tailsight is at (http://\S+)", line)
            if found:
                yield found[1]
                return
            if time.monotonic() - began > READY_S:
                break
        raise SystemExit(f"the demo was not ready; it ended with {process.poll()}")
    finally:
        process.terminate()
        process.wait(60)


def open_page(context: BrowserContext, url: str, told: Opened) -> None:
    """Open it until it is drawn, and note what that took."""
    page = context.new_page()
    began = time.perf_counter()
    page.goto(url)
    _wait_until_drawn(page)
    told.drawn_ms.append((time.perf_counter() - began) * 1e3)
    measured: dict[str, Any] = page.evaluate(MEASURED)
    if measured["painted_ms"] is not None:
        told.painted_ms.append(measured["painted_ms"])
    told.bytes.append(measured["bytes"])
    told.requests.append(measured["requests"])
    told.callbacks_ms += measured["callbacks_ms"]
    page.close()


def _wait_until_drawn(page: Page) -> None:
    page.locator("#page > *").first.wait_for()
    page.locator(".chart[aria-label=Loading]").first.wait_for(state="detached")
    page.locator("[data-dash-is-loading=true]").first.wait_for(state="detached")


def measure(browser: Browser, url: str, paths: list[str], runs: int) -> tuple[dict[str, Opened], dict[str, Opened]]:
    """Each page cold and warm, `runs` times in turns."""
    cold, warm = ({path: Opened() for path in paths} for _ in range(2))
    for _ in range(runs):
        for path in paths:
            context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
            context.set_default_timeout(60_000)
            open_page(context, url + path, cold[path])
            open_page(context, url + path, warm[path])
            context.close()
    return cold, warm


def paths_of(url: str) -> list[str]:
    """The fixed pages, and the newest incident's and the worst objective's."""
    incidents = httpx.get(f"{url}/api/v1/incidents").raise_for_status().json()["incidents"]
    objectives = httpx.get(f"{url}/api/v1/slos").raise_for_status().json()["slos"]
    found = [*PATHS]
    if incidents:
        found.append(f"/incidents/{incidents[0]['id']}")
    if objectives:
        found.append(f"/slos/{objectives[0]['metadata']['name']}")
    return found


def table_of(cold: dict[str, Opened], warm: dict[str, Opened]) -> Table:
    """Medians, a row a page."""
    table = Table(
        "page", "painted, cold", "drawn, cold", "drawn, warm", "kB, cold", "kB, warm", "requests", "callback, worst"
    )
    for path, first in cold.items():
        again = warm[path]
        table.add_row(
            path,
            f"{statistics.median(first.painted_ms):,.0f} ms",
            f"{statistics.median(first.drawn_ms):,.0f} ms",
            f"{statistics.median(again.drawn_ms):,.0f} ms",
            f"{statistics.median(first.bytes) / 1e3:,.0f}",
            f"{statistics.median(again.bytes) / 1e3:,.0f}",
            f"{statistics.median(first.requests):.0f}",
            f"{max([*again.callbacks_ms, 0]):,.0f} ms",
        )
    return table


def main() -> None:
    """Print the table and the line of figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a day of history, each page twice")
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    days, runs = (1.0, 2) if given.quick else (given.days, given.runs)
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("no chromium on PATH: run `make browser`")
    with demo(days) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        cold, warm = measure(browser, url, paths_of(url), runs)
        browser.close()
    console = Console(width=140)
    console.print(f"{machine()}; `tailsight demo` with {days:g} days of history, live; {runs} runs, medians")
    console.print(table_of(cold, warm))
    figures = {
        "pages": len(cold),
        "painted_cold_ms_median": round(statistics.median(one for page in cold.values() for one in page.painted_ms)),
        "drawn_cold_ms_median": round(statistics.median(one for page in cold.values() for one in page.drawn_ms)),
        "drawn_warm_ms_median": round(statistics.median(one for page in warm.values() for one in page.drawn_ms)),
        "drawn_warm_ms_worst_page": round(max(statistics.median(page.drawn_ms) for page in warm.values())),
        "cold_kilobytes_max": round(max(one for page in cold.values() for one in page.bytes) / 1e3),
        "requests_max": max(one for page in cold.values() for one in page.requests),
        "callback_ms_median": round(statistics.median(one for page in warm.values() for one in page.callbacks_ms)),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
