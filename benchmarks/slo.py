"""SLO alerts: when they fire, held against promtool; and how often they wake somebody for nothing.

    make bench-slo [BENCH_ARGS="--months 60 --seed 0"]

1. The scenarios of a constant error ratio at 1,000 requests a minute, 99.9 % over 30 days: each edge of each page and
   ticket is looked for with `promtool test rules` (Debian: prometheus), on rules as Sloth writes them: in our minute,
   then ever farther from it.
2. Months of a healthy service at half its budget, by requests a minute: pages without a guard, with ours, and with its
   least count of failures alone; and a total outage of 30 minutes: is it paged, and after how long.
3. 500 objectives over 30 days by the minute: how long one core needs to say where each stands (`slo_status`: windows,
   burn rates, course, exclusions) and when it burnt too fast (`burn_alerts`), from counts as the store gives them;
   reading them is not in it.

The last line is one JSON object.
"""

import argparse
import json
import math
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from rich.console import Console
from rich.table import Table

from analytics.burn_rates import WINDOWS, BurnAlert, BurnSettings, Guard, burn_alerts, minutes_to_page
from analytics.slo import slo_status
from benchmarks.server import machine
from domain.incident import Indicator, Severity
from domain.slo import Calendar, Exclusion, Objective, Period

OBJECTIVE = Objective("availability", "chat", Indicator.ERRORS, 0.999, 30)
START = datetime(2026, 3, 1, tzinfo=UTC)
PAST_DAYS, AFTER_MINUTES, REQUESTS_A_MINUTE = 4, 1500, 1000
FARTHEST_MINUTES = 5
SCENARIOS = ((1.0, 1), (1.0, 10), (0.2, 30), (0.05, 60), (0.02, 120), (0.01, 480), (0.005, 1200), (0.5, 1))
"""Error ratio, and minutes that it lasts."""
RATES = (0.1, 0.3, 1.0, 10.0, 100.0)
OUTAGE_MINUTES, OUTAGES_A_MONTH = 30, 1


@dataclass(frozen=True, slots=True)
class Edge:
    """One beginning or end of an alert, in minutes of the scenario, and by how many minutes promtool's differs."""

    severity: Severity
    minute: int
    begins: bool
    error_minutes: float


def scenario_counts(error_ratio: float, minutes: int) -> pl.DataFrame:
    """Requests by the minute: a clean past, the errors, and a clean time after them."""
    size, past = PAST_DAYS * 1440 + minutes + AFTER_MINUTES, PAST_DAYS * 1440
    bad = np.zeros(size, dtype=np.int64)
    bad[past : past + minutes] = round(REQUESTS_A_MINUTE * error_ratio)
    return _frame(bad, np.full(size, REQUESTS_A_MINUTE, dtype=np.int64))


def _frame(bad: Any, total: Any) -> pl.DataFrame:
    times = pl.datetime_range(START, START + timedelta(minutes=len(total) - 1), "1m", eager=True, time_zone="UTC")
    return pl.DataFrame({"time": times, "total": total, "good": total - bad})


def edges(error_ratio: float, minutes: int, folder: Path) -> list[Edge]:
    """Each edge of each alert of a scenario, and how far promtool's lies from ours."""
    counts, series = scenario_counts(error_ratio, minutes), _series(error_ratio, minutes)
    end = START + timedelta(minutes=counts.height)
    found: list[tuple[Severity, int, bool]] = []
    for alert in burn_alerts(OBJECTIVE, counts, end):
        found.append((alert.severity, _minute(alert.started_at), True))
        if alert.ended_at is not None:
            found.append((alert.severity, _minute(alert.ended_at), False))
    return [
        Edge(severity, minute, begins, _error_minutes(severity, minute, begins=begins, series=series, folder=folder))
        for severity, minute, begins in found
    ]


def _minute(moment: datetime) -> int:
    return round((moment - START).total_seconds() / 60)


def _series(error_ratio: float, minutes: int) -> list[dict[str, str]]:
    past, bad = PAST_DAYS * 1440, round(REQUESTS_A_MINUTE * error_ratio)
    return [
        {"series": "requests_total{}", "values": f"0+{REQUESTS_A_MINUTE}x{past + minutes + AFTER_MINUTES}"},
        {"series": "errors_total{}", "values": f"0x{past} {bad}+{bad}x{minutes - 1} {bad * minutes}x{AFTER_MINUTES}"},
    ]


def _error_minutes(
    severity: Severity, minute: int, *, begins: bool, series: list[dict[str, str]], folder: Path
) -> float:
    """How far from this edge promtool has one of its kind; inf beyond `FARTHEST_MINUTES`."""
    (folder / "rules.yml").write_text(yaml.safe_dump(_rules()))
    for error in range(FARTHEST_MINUTES + 1):
        if any(
            _has_edge(severity, minute + shift, begins=begins, series=series, folder=folder)
            for shift in {-error, error}
        ):
            return error
    return math.inf


def _has_edge(severity: Severity, minute: int, *, begins: bool, series: list[dict[str, str]], folder: Path) -> bool:
    """Does promtool's alert change its state between the minute before this one and this one."""
    fires = {"exp_labels": {"severity": severity.value}}

    def expect(at: int, *, firing: bool) -> dict[str, Any]:
        return {"eval_time": f"{at}m", "alertname": f"Burn{severity.value}", "exp_alerts": [fires] if firing else []}

    expected = [expect(minute - 1, firing=not begins), expect(minute, firing=begins)]
    test = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "alert_rule_test": expected}],
    }
    (folder / "test.yml").write_text(yaml.safe_dump(test))
    promtool = shutil.which("promtool") or "promtool"
    done = subprocess.run([promtool, "test", "rules", "test.yml"], check=False, cwd=folder, capture_output=True)
    return done.returncode == 0


def _rules() -> dict[str, Any]:
    """The alerts as Sloth writes them: both windows of a pair above its rate, any pair of a severity."""

    def ratio(seconds: int) -> str:
        return f"(rate(errors_total[{seconds}s]) / rate(requests_total[{seconds}s]))"

    budget = 1 - OBJECTIVE.target_ratio
    rules = []
    for severity in (Severity.PAGE, Severity.TICKET):
        pairs = [
            f"({ratio(one.long_s)} > {one.rate(OBJECTIVE) * budget:.8f}"
            f" and {ratio(one.short_s)} > {one.rate(OBJECTIVE) * budget:.8f})"
            for one in WINDOWS
            if one.severity is severity
        ]
        rules.append(
            {"alert": f"Burn{severity.value}", "expr": " or ".join(pairs), "labels": {"severity": severity.value}}
        )
    return {"groups": [{"name": "burn", "interval": "1m", "rules": rules}]}


@dataclass(frozen=True, slots=True)
class LowTraffic:
    """What a guard does at a rate of requests: pages a month for nothing, outages paged, minutes until then."""

    requests_a_minute: float
    guard: str
    false_pages_a_month: float
    outages_paged_ratio: float
    minutes_median: float


def low_traffic(rate: float, name: str, settings: BurnSettings, months: int, seed: int) -> LowTraffic:
    """Healthy months at half the budget, and in each a total outage of 30 minutes in its middle."""
    randomness = np.random.default_rng([seed, round(rate * 10)])
    false_pages, delays, missed = 0, [], 0
    for _ in range(months):
        total = randomness.poisson(rate, 30 * 1440)
        bad = randomness.binomial(total, (1 - OBJECTIVE.target_ratio) / 2)
        false_pages += len(_pages(_frame(bad, total), settings))
        start = 15 * 1440
        down = bad.copy()
        down[start : start + OUTAGE_MINUTES] = total[start : start + OUTAGE_MINUTES]
        day = slice(start - 4 * 1440, start + 120)
        began = START + timedelta(minutes=4 * 1440)
        felt = [
            (page.started_at - began).total_seconds() / 60
            for page in _pages(_frame(down[day], total[day]), settings)
            if began <= page.started_at <= began + timedelta(minutes=OUTAGE_MINUTES + 5)
        ]
        missed += not felt
        delays += felt[:1]
    return LowTraffic(rate, name, false_pages / months, 1 - missed / months, float(np.median(delays or [math.nan])))


def _pages(counts: pl.DataFrame, settings: BurnSettings) -> list[BurnAlert]:
    end = START + timedelta(minutes=counts.height)
    return [one for one in burn_alerts(OBJECTIVE, counts, end, settings) if one.severity is Severity.PAGE]


def evaluate_seconds(objectives: int, seed: int) -> tuple[float, float]:
    """Seconds of processor time for the status of so many objectives, and for the alerts of as many."""
    randomness = np.random.default_rng(seed)
    total = randomness.poisson(200, 30 * 1440)
    frames = [_frame(randomness.binomial(total, 0.0005 * (1 + number)), total) for number in range(10)]
    end = START + timedelta(days=30)
    recent = [frame.filter(pl.col("time") >= end - timedelta(days=3, hours=1)) for frame in frames]
    exclusion = Exclusion("x", end - timedelta(days=2), end - timedelta(days=2, hours=-1), "maintenance", "bench")
    more = (Period(7), Period(30, Calendar(1, "M", "Europe/Berlin", datetime(2001, 1, 1))))  # noqa: DTZ001  # on a clock
    named = [replace(OBJECTIVE, name=f"slo-{number}", more_periods=more) for number in range(objectives)]
    began = time.process_time()
    for number, objective in enumerate(named):
        slo_status(objective, frames[number % len(frames)], end, [exclusion])
    judged = time.process_time()
    for number, objective in enumerate(named):
        burn_alerts(objective, recent[number % len(recent)], end, exclusions=[exclusion])
    return judged - began, time.process_time() - judged


def _show_edges(console: Console, folder: Path) -> list[Edge]:
    table = Table("error ratio", "for", "formula", "pages", "tickets", "minutes from promtool's", title="Edges")
    shown: list[Edge] = []
    for error_ratio, minutes in SCENARIOS:
        found = edges(error_ratio, minutes, folder)
        shown += found
        told = {
            severity: ", ".join(
                f"{'+' if one.begins else '-'}{one.minute - PAST_DAYS * 1440}"
                for one in found
                if one.severity is severity
            )
            for severity in (Severity.PAGE, Severity.TICKET)
        }
        table.add_row(
            f"{error_ratio:.1%}", f"{minutes} min", f"{minutes_to_page(OBJECTIVE, error_ratio):.1f}",
            told[Severity.PAGE] or "none", told[Severity.TICKET] or "none",
            ", ".join(f"{one.error_minutes:g}" for one in found) or "none",
        )  # fmt: skip
    console.print(table)
    return shown


def main() -> None:
    """Measure and print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--months", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rates", default=",".join(f"{rate:g}" for rate in RATES), help="requests a minute")
    given = parser.parse_args()
    console = Console(width=140)
    console.print(machine())
    figures: dict[str, float] = {}
    if shutil.which("promtool"):
        with tempfile.TemporaryDirectory() as folder:
            found = _show_edges(console, Path(folder))
        figures |= {"slo_edges": len(found), "burn_edge_error_minutes_max": max(one.error_minutes for one in found)}
    else:
        console.print("promtool is not on PATH (apt install prometheus): the edges were not compared")
    guards = {
        "none": BurnSettings(guard=None),
        "ours": BurnSettings(),
        "three failures alone": BurnSettings(guard=Guard(z=0.0)),
    }
    table = Table(
        "requests/min",
        "guard",
        "false pages a month",
        "outages paged",
        "median minutes",
        title=f"{given.months} months",
    )
    for rate in map(float, given.rates.split(",")):
        for name, settings in guards.items():
            one = low_traffic(rate, name, settings, given.months, given.seed)
            pages, paged = f"{one.false_pages_a_month:.2f}", f"{one.outages_paged_ratio:.0%}"
            table.add_row(f"{rate:g}", name, pages, paged, f"{one.minutes_median:.0f}")
            if name != "three failures alone":
                figures[f"slo_false_pages_a_month_{rate:g}_{name}"] = round(one.false_pages_a_month, 3)
                figures[f"slo_outages_paged_{rate:g}_{name}"] = round(one.outages_paged_ratio, 3)
    console.print(table)
    statuses_seconds, alerts_seconds = evaluate_seconds(500, given.seed)
    console.print(f"500 objectives, 30 days: statuses {statuses_seconds:.2f} s, alerts {alerts_seconds:.2f} s")
    figures["evaluate_500_slos_seconds"] = round(statuses_seconds + alerts_seconds, 3)
    figures["evaluate_500_slo_statuses_seconds"] = round(statuses_seconds, 3)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
