"""Makes the files beside it: the report of a simulated week, the second of a fortnight with faults in it.

    .venv/bin/python -m examples.weekly.make [--out examples/weekly] [--keep FOLDER] [--load 0.1]

The simulator plays a cloud of 32 GPUs from 8 to 23 November 2026; its spans and samples go into an embedded store, in
which Tailsight finds the spikes, settles the cost, and makes the report of 2026-W47.
"""

import argparse
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.progress import Progress

from analytics.cost.jobs import settle
from analytics.jobs.incidents import analyze
from domain.cause import CauseKind
from domain.incident import Indicator
from domain.slo import Objective
from domain.topology import topology_from_document
from domain.window import Window
from reports.digest import weekly_digest
from reports.service import WeeklyReports, report_url
from simulator.cloud import ASSIST_REQUESTS_PER_S, CHAT_REQUESTS_PER_S, build_cloud
from simulator.faults import plan_fault
from simulator.fill import fill
from simulator.run import Simulation
from storage.migrate import migrate
from storage.open import open_owned
from storage.rollup import roll_up_signals
from storage.settings import StoreSettings
from storage.store import Store
from storage.topology import write_topology
from tailsight.settings import Settings
from tailsight.simulate import scrape_plan

START, END = datetime(2026, 11, 8, tzinfo=UTC), datetime(2026, 11, 23, 1, tzinfo=UTC)
READ_AT = datetime(2026, 11, 23, 8, tzinfo=UTC)
WEEK = "2026-W47"
OBJECTIVES = (
    Objective("chat-ttft", "chat", Indicator.TTFT, 0.99, 7, threshold_ms=3_000.0),
    Objective("chat-availability", "chat", Indicator.ERRORS, 0.999, 7),
    Objective("assist-ttft", "assist", Indicator.TTFT, 0.99, 7, threshold_ms=800.0),
)
FAULTS = (
    (CauseKind.TRAFFIC_SURGE, datetime(2026, 11, 12, 15, 5, tzinfo=UTC), timedelta(minutes=20)),
    (CauseKind.GPU_MEMORY_PRESSURE, datetime(2026, 11, 16, 9, 30, tzinfo=UTC), timedelta(minutes=40)),
    (CauseKind.NETWORK_LINK_FAULT, datetime(2026, 11, 18, 14, 10, tzinfo=UTC), timedelta(minutes=55)),
    (CauseKind.GPU_THERMAL_THROTTLE, datetime(2026, 11, 20, 11, 0, tzinfo=UTC), timedelta(minutes=45)),
    (CauseKind.BAD_RELEASE, datetime(2026, 11, 21, 13, 20, tzinfo=UTC), timedelta(minutes=25)),
)


def main() -> None:
    """Play, find, settle, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--keep", type=Path, help="keep the store in this folder, to look at it with `tailsight serve`")
    parser.add_argument("--load", type=float, default=0.1, help="the simulator's usual rate of requests, times this")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = open_owned(StoreSettings(url=f"chdb://{given.keep or Path(folder) / 'data'}"))
        try:
            migrate(store)
            with Progress() as progress:
                play(store, given.load, progress)
                look(store, progress)
            write(store, given.out)
        finally:
            store.close()


def play(store: Store, load: float, progress: Progress) -> None:
    """What the cloud showed."""
    cloud = build_cloud(
        1, chat_requests_per_s=load * CHAT_REQUESTS_PER_S, assist_requests_per_s=load * ASSIST_REQUESTS_PER_S
    )
    simulation = Simulation(1, START, cloud=cloud)
    write_topology(store, topology_from_document(cloud.topology_document()), START)
    for number, (kind, began, lasts) in enumerate(FAULTS):
        simulation.inject(plan_fault(kind, cloud, 1 + number, began, lasts.total_seconds()))
    task = progress.add_task("Playing the cloud", total=(END - START).total_seconds())
    for start, end, step_s in scrape_plan(START, END, simulation.faults):
        at = start
        while at < end:
            until = min(at + timedelta(hours=6), end)
            fill(store, simulation, at, until, scrape_step_s=step_s, calls_one_in=1000)
            progress.advance(task, (until - at).total_seconds())
            at = until


def look(store: Store, progress: Progress) -> None:
    """What Tailsight makes of it."""
    settings = Settings()
    roll_up_signals(store, END)
    task = progress.add_task("Settling the cost", total=1.0)
    settle(
        store, READ_AT, settings.cost.to_job(), hours_max=1000,
        progress=lambda done: progress.update(task, completed=done),
    )  # fmt: skip
    job = settings.analytics.to_job(settings.knowledge.known, settings.cost.to_job())
    for _, began, lasts in progress.track(FAULTS, description="Explaining the faults"):
        window = Window(began - timedelta(minutes=10), began + lasts + timedelta(minutes=30))
        analyze(store, window, window.end, OBJECTIVES, job)


def write(store: Store, out: Path) -> None:
    """The report in the formats that are read without Tailsight."""
    settings = Settings()
    reports = WeeklyReports(
        store,
        settings.reports.weekly.model_copy(update={"site": "example"}),
        settings.knowledge.known,
        settings.cost.to_job,
        lambda: OBJECTIVES,
        lambda: READ_AT,
        lambda: "https://tailsight.example",
    )
    document = reports.document(WEEK)
    for form in ("html", "pdf", "md"):
        (out / f"report.{form}").write_bytes(reports.render(WEEK, form).body)
    (out / "digest.txt").write_text(weekly_digest(document, report_url=report_url(document)))


if __name__ == "__main__":
    main()
