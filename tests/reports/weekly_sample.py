"""A week of a made-up cloud, with realistic numbers and everything in it that a report can tell."""

import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from analytics.cost.allocation import bill_usd, rows_of
from analytics.knowledge import shipped_knowledge
from domain.alert import Alert
from domain.cause import Cause, CauseKind, Explanation
from domain.cost import NANOUSD
from domain.entity import Entity, EntityKind
from domain.incident import Incident, Indicator, Severity, Status
from domain.slo import Objective, SloState, SloStatus
from domain.window import rfc3339
from reports.weekly import DataGap, FiredAlert, Health, HealthRow, WeeklyFacts

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
SUNDAY_NIGHT = MONDAY + timedelta(days=7)
PRICES = {"NVIDIA H100 80GB HBM3": 3.85, "NVIDIA L40S": 1.55}
MODELS = (  # name, GPUs, GPU model, busy share by day, tokens of a GPU-second
    ("llama-3.1-70b", 12, "NVIDIA H100 80GB HBM3", 0.86, 2600),
    ("mixtral-8x22b", 6, "NVIDIA H100 80GB HBM3", 0.74, 2100),
    ("bge-m3", 4, "NVIDIA L40S", 0.55, 5200),
    ("bge-reranker-v2", 2, "NVIDIA L40S", 0.42, 3900),
)
TENANTS = (("northwind", 0.44), ("globex", 0.23), ("initech", 0.16), ("umbrella", 0.11), ("hooli", 0.06))


def sample_facts(**changed: Any) -> WeeklyFacts:
    """The week, with what a test wants otherwise."""
    now, before = allocation(MONDAY, 1.0, 7), allocation(MONDAY - timedelta(days=7), 0.94, 8, spare_gpus=3)
    facts = WeeklyFacts(
        week="2026-W47",
        read_at=SUNDAY_NIGHT + timedelta(hours=6),
        site="prod-us-east",
        web_url="https://tailsight.example.com",
        slos=slos(),
        slos_before=[
            replace(one, state=SloState.MET if one.state is not SloState.NO_DATA else one.state, budget_left_ratio=left)
            for one, left in zip(slos(), (0.54, 0.53, 0.66, 0.80, 0.89, None), strict=True)
        ],
        slo_counts={
            "chat-ttft": (9_671_000.0, 9_740_310),
            "embeddings-latency": (31_310_040.0, 31_335_104),
            "chat-availability": (9_737_880.0, 9_740_310),
            "rerank-latency": (4_214_000.0, 4_217_200),
            "batch-availability": (812_300.0, 812_990),
        },
        incidents=incidents(),
        knowledge=shipped_knowledge(),
        incidents_before=[_week_earlier(one) for one in incidents()[:4]],
        incident_notes={
            "inc-5a1f20c4d1": {
                "notified_at": "2026-11-16T09:32:10Z",
                "acknowledged_at": "2026-11-16T09:36:10Z",
                "acknowledged_by": "ann",
                "notes": [
                    {"at": "2026-11-16T09:36:10Z", "by": "ann", "text": "draining the node"},
                    {"at": "2026-11-16T09:52:00Z", "by": "ben", "text": "cable swapped, errors gone", "id": "pd-1"},
                ],
            },
            "inc-9c02be7714": {"notified_at": "2026-11-18T14:09:11Z", "acknowledged_at": "2026-11-18T14:11:50Z"},
            "inc-0f3d9a6e52": {"notified_at": "2026-11-21T02:44:25Z", "acknowledged_at": "2026-11-21T02:51:02Z"},
        },
        alerts=alerts(),
        alerts_before=alerts()[:6],
        latency=latency(),
        allocation=now,
        allocation_before=before,
        forecast=forecast(),
        variance=variance(bill_usd(before), bill_usd(now)),
        advice=[
            {
                "title": "Return 4 idle H100 on gpu-07-07",
                "saves_usd_per_month_low": 2_600.0,
                "saves_usd_per_month_high": 3_000.0,
                "confidence": 0.9,
                "why": "No model was on them in 9 days of 14; the pool's peak needs 22 of 26.",
            },
            {
                "title": "Move the batch jobs of hooli to the nights",
                "saves_usd_per_month_low": 700.0,
                "saves_usd_per_month_high": 1_150.0,
                "confidence": 0.7,
                "why": "Their deadline is 24 h; by night 31 % of GPU time is idle.",
            },
            {
                "title": "Serve bge-m3 in fp8",
                "saves_usd_per_month_low": 180.0,
                "saves_usd_per_month_high": 420.0,
                "confidence": "low",
                "why": "Measured curves of the L40S; quality must be checked first.",
            },
        ],
        sla=[
            {
                "customer": "northwind",
                "service": "chat-completions",
                "promised_ratio": 0.999,
                "achieved_ratio": 0.99861,
                "credit_usd": 2_140.0,
                "claim_until": "2026-12-14",
            }
        ],
        users=[
            {
                "user": f"svc-{name}-{number}",
                "tenant": name,
                "cost_usd": 5200 * share / number,
                "requests_count": 90_000,
            }
            for name, share in TENANTS
            for number in (1, 2, 3)
        ],
        gpus=Health(
            32,
            (
                HealthRow(
                    "GPU-1f7a4e02", "gpu-07-03", "Xid 79: fell off the bus", MONDAY + timedelta(days=2, hours=14)
                ),
                HealthRow(
                    "GPU-c3319ab8", "gpu-07-05", "Throttled by heat, 84 C", MONDAY + timedelta(days=4), is_over=True
                ),
            ),
        ),
        links=Health(
            96,
            (HealthRow("gpu-07-03/mlx5_2/1", "rack r07", "Symbol errors, 85 a second", MONDAY + timedelta(days=2)),),
        ),
        data_gaps=[
            DataGap(
                "dcgm on gpu-07-08",
                MONDAY + timedelta(days=3, hours=4),
                MONDAY + timedelta(days=3, hours=7),
                "GPU samples; its hours are billed as not seen",
            )
        ],
        method_notes=("Prices: Nebius list of 2026-09-25, H100 $3.85 and L40S $1.55 an hour.",),
    )
    return replace(facts, **changed)


def slos() -> list[SloStatus]:
    """Six objectives: one missed, one at risk, three met, one without data."""
    told = (
        ("chat-ttft", "chat-completions", Indicator.TTFT, 0.995, 800.0, SloState.MISSED, -0.12, 5.1),
        ("embeddings-latency", "embeddings", Indicator.LATENCY, 0.999, 60.0, SloState.AT_RISK, 0.08, 2.3),
        ("chat-availability", "chat-completions", Indicator.ERRORS, 0.999, None, SloState.MET, 0.62, 0.8),
        ("rerank-latency", "rerank", Indicator.LATENCY, 0.995, 120.0, SloState.MET, 0.78, 0.4),
        ("batch-availability", "batch-infer", Indicator.ERRORS, 0.99, None, SloState.MET, 0.88, 0.3),
        ("images-availability", "images", Indicator.ERRORS, 0.99, None, SloState.NO_DATA, None, None),
    )
    found = []
    for name, service, indicator, target, threshold, state, left, burn in told:
        total = 41_000_000 if left is not None else 0
        bad = 0.0 if left is None else (1 - left) * (1 - target) * total
        found.append(
            SloStatus(
                objective=Objective(name, service, indicator, target, 30, threshold),
                state=state,
                good_count=total - bad,
                total_count=total,
                sli_ratio=(total - bad) / total if total else None,
                budget_left_ratio=left,
                burn_rate=burn,
                budget_left_history=() if left is None else _history(name, left),
                coverage_ratio=0.0 if left is None else 1.0 if name != "rerank-latency" else 0.982,
                exhausted_at=SUNDAY_NIGHT + timedelta(days=3) if state is SloState.AT_RISK else None,
            )
        )
    return found


def _week_earlier(one: Incident) -> Incident:
    week = timedelta(days=7)
    assert one.ended_at is not None
    return replace(
        one,
        id=f"{one.id}-before",
        started_at=one.started_at - week,
        detected_at=one.detected_at - week + timedelta(seconds=20),
        ended_at=one.ended_at - week,
    )


def _history(name: str, left: float) -> tuple[float, ...]:
    drawn = random.Random(name)
    falls = {drawn.randrange(30, 58): drawn.uniform(4, 14) for _ in range(2)}
    steps = [drawn.uniform(0.4, 1.2) + falls.get(number, 0.0) for number in range(60)]
    return tuple(1 - (1 - left) * sum(steps[: number + 1]) / sum(steps) for number in range(60))


def incidents() -> list[Incident]:
    """Seven incidents, one of them open, one unexplained, one of unknown budget and cost."""
    link = Entity(EntityKind.PORT, "gpu-07-03/mlx5_2/1")
    return [
        _incident("inc-5a1f20c4d1", "embeddings", 0, 9.5, 12, 0.011, 61.0, CauseKind.PROMPT_MIX_SHIFT, "northwind"),
        _incident(
            "inc-71b3c8d902", "rerank", 1, 16.2, 9, 0.004, 8.4, CauseKind.COLD_START, "rerank-2", severity="ticket"
        ),
        _incident(
            "inc-9c02be7714", "chat-completions", 2, 14.12, 41, 0.292, 498.0, CauseKind.NETWORK_LINK_FAULT, link.name
        ),
        _incident(
            "inc-44e19d0f3a",
            "chat-completions",
            3,
            11.0,
            7,
            0.031,
            74.5,
            CauseKind.GPU_THERMAL_THROTTLE,
            "GPU-c3319ab8",
        ),
        _incident(
            "inc-2be86c1775", "batch-infer", 4, 5.6, 95, None, None, CauseKind.UNKNOWN, "batch-infer", severity="ticket"
        ),
        _incident(
            "inc-0f3d9a6e52", "chat-completions", 5, 2.69, 26, 0.187, 312.0, CauseKind.NETWORK_LINK_FAULT, link.name
        ),
        _incident("inc-e8d5a2410b", "embeddings", 6, 21.4, None, 0.064, 120.0, CauseKind.TRAFFIC_SURGE, "embeddings"),
    ]


def _incident(
    name: str,
    service: str,
    day: int,
    hour: float,
    minutes: float | None,
    budget: float | None,
    cost: float | None,
    kind: CauseKind,
    on: str,
    severity: str = "page",
) -> Incident:
    began = MONDAY + timedelta(days=day, hours=hour)
    ended = None if minutes is None else began + timedelta(minutes=minutes)
    slow = service == "chat-completions"
    cause = Cause(
        1,
        kind,
        Entity(EntityKind.SERVICE if kind is CauseKind.UNKNOWN else EntityKind.PORT, on),
        0.0 if kind is CauseKind.UNKNOWN else 0.93,
        None,
        f"{on}: what was usual 0.37 → 85.4 1/s",
        (),
        ("Drain the node, then replace the cable on leaf-07b port 17.",) if "link" in kind else ("Add a replica.",),
    )
    return Incident(
        id=name,
        service=service,
        model=None,
        indicator=Indicator.TTFT if slow else Indicator.LATENCY,
        status=Status.OPEN if ended is None else Status.RESOLVED,
        severity=Severity(severity),
        started_at=began,
        detected_at=began + timedelta(seconds=70 + 13 * day),
        ended_at=ended,
        baseline_ms_p99=540.0 if slow else 48.0,
        peak_ms_p99=4_100.0 if slow else 390.0,
        slow_requests_count=int(18_420 * (minutes or 30) / 26),
        slow_requests_ratio=0.31 if slow else 0.12,
        budget_spent_ratio=budget,
        cost_usd=cost,
        tenants_affected_count=41,
        explanation=Explanation((cause,), ()),
        exemplar_trace_ids=("4bf92f3577b34da6a3ce929d0e0e4736",),
        services_affected=(service,),
    )


def alerts() -> list[FiredAlert]:
    """Pages of burn rates and spikes, and a rule that cries wolf."""
    told = [("SLOBurnRate", "chat-completions", "page", day, 38, True) for day in (2, 3, 5)]
    told += [("TailsightLatencySpike", "embeddings", "page", day, 11, None) for day in (0, 6)]
    told += [("SLOBurnRate", "batch-infer", "ticket", number / 2, 6, number == 0) for number in range(9)]
    return [
        FiredAlert(
            Alert(
                {"alertname": name, "service": service, "severity": severity},
                {},
                (began := MONDAY + timedelta(days=day, hours=5)),
                began + timedelta(minutes=minutes),
                began,
            ),
            useful,
        )
        for name, service, severity, day, minutes, useful in told
    ]


def latency() -> pl.DataFrame:
    """Hourly p99 of four services, with a hole in one."""
    drawn = random.Random(3)
    rows = []
    for service, usual in (("chat-completions", 540), ("embeddings", 48), ("rerank", 95), ("batch-infer", 2300)):
        for hour in range(168):
            time = MONDAY + timedelta(hours=hour)
            p99 = usual * (1 + 0.25 * math.sin((hour - 8) / 24 * 2 * math.pi)) * drawn.uniform(0.9, 1.15)
            for one in incidents():
                if one.service == service and one.started_at.replace(minute=0, second=0) <= time <= (
                    one.ended_at or SUNDAY_NIGHT
                ):
                    p99 = one.peak_ms_p99 if service != "batch-infer" else usual * 3
            rows.append(
                {"time": time, "service": service, "p99_ms": None if service == "rerank" and 76 < hour < 80 else p99}
            )
    return pl.DataFrame(rows, schema={"time": pl.Datetime("us", "UTC"), "service": pl.String, "p99_ms": pl.Float64})


def allocation(monday: datetime, traffic: float, seed: int, spare_gpus: int = 2) -> pl.DataFrame:
    """A bill of 168 hours: four models, five tenants, idle by cause, overhead, and GPUs that nobody sees."""
    drawn = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for hour in range(168):
        time = monday + timedelta(hours=hour)
        by_day = 0.88 + 0.12 * math.sin((hour % 24 - 9) / 24 * 2 * math.pi)
        weekend = 0.78 if hour >= 120 else 1.0
        for model, gpus, gpu_model, busy, pace in MODELS:
            used = min(0.97, busy * by_day * weekend * traffic * drawn.uniform(0.95, 1.05))
            paid = gpus * 3600.0
            at = {"time": time, "service": "chat-completions", "model": model, "gpu_model": gpu_model, "pool": "prod"}
            for tenant, share in TENANTS:
                for outcome, of in (("ok", 0.985), ("error", 0.015)):
                    rows.append(_row(at, "requests", paid * used * share * of, gpu_model, pace, tenant, outcome))
            for cause, of in (
                ("loaded_without_traffic", 0.7),
                ("waiting_for_kv_space", 0.17),
                ("loading", 0.05),
                ("stalled_on_fabric", 0.08),
            ):
                rows.append(_row({**at, "idle_cause": cause}, "idle", paid * (1 - used) * 0.94 * of, gpu_model))
            rows.append(_row(at, "overhead", paid * (1 - used) * 0.06, gpu_model))
        nobodys = {"time": time, "gpu_model": "NVIDIA H100 80GB HBM3", "pool": "prod"}
        rows.append(_row({**nobodys, "idle_cause": "no_model"}, "idle", spare_gpus * 3600.0, nobodys["gpu_model"]))
        if 76 <= hour < 79:
            rows.append(_row({**nobodys, "idle_cause": "no_telemetry"}, "idle", 2 * 3600.0, nobodys["gpu_model"]))
        rows.append(_row(nobodys, "unattributed", 400.0, nobodys["gpu_model"]))
    return rows_of(rows)


def _row(
    at: dict[str, Any],
    use: str,
    gpu_seconds: float,
    gpu_model: str,
    pace: int = 0,
    tenant: str | None = None,
    outcome: str | None = None,
) -> dict[str, Any]:
    return {
        **at,
        "use": use,
        "tenant": tenant,
        "outcome": outcome,
        "gpu_seconds": gpu_seconds,
        "cost_nanousd": round(gpu_seconds / 3600 * PRICES[gpu_model] * NANOUSD),
        "requests": round(gpu_seconds * pace / 2100),
        "input_tokens": round(gpu_seconds * pace * 0.8),
        "output_tokens": round(gpu_seconds * pace * 0.2),
        "is_estimated": use == "requests" and "bge" in at.get("model", ""),
    }


def forecast() -> dict[str, Any]:
    """Nine days ahead."""
    horizon = []
    for day in range(9):
        usual = 2_030.0 * (0.985 if day % 7 >= 5 else 1.0)
        wide = 60 + 22 * day
        horizon.append(
            {
                "time": rfc3339(SUNDAY_NIGHT + timedelta(days=day)),
                "median_usd": usual,
                "lower_usd": usual - wide,
                "upper_usd": usual + wide,
            }
        )
    return {
        "model": "seasonal naive with conformal interval",
        "mase": 0.83,
        "horizon": horizon,
        "month_end": {"median_usd": 60_900.0, "lower_usd": 59_800.0, "upper_usd": 62_300.0, "budget_usd": 58_000.0},
    }


def variance(before_usd: float, after_usd: float) -> dict[str, Any]:
    """Parts that add up to the change of the bill."""
    parts = {"price": 0.0, "volume": 612.4, "token mix": 148.2, "efficiency": -301.7, "reservations": -64.0}
    parts["idle"] = after_usd - before_usd - sum(parts.values())
    return {
        "known_hours": 168,
        "hours": 168,
        "before_usd": before_usd,
        "after_usd": after_usd,
        "parts": [{"name": name, "cost_usd": usd} for name, usd in parts.items()],
        "groups": [
            {"name": "llama-3.1-70b", "cost_usd": 402.1, "why": "northwind sends 11 % more requests"},
            {"name": "GPUs without a model", "cost_usd": -646.8, "why": "one H100 was returned on Monday"},
        ],
    }
