"""Upstream: what of the added time of a service's requests, or of their failures, lies in the services it calls."""

from dataclasses import dataclass

import polars as pl

from analytics.call_tree import Blame, CallGraph, UsualTime, calls_of_spans, link_ends, steps_of_spans
from analytics.knowledge import Knowledge, Signal
from analytics.signals import Shift
from domain.entity import Entity, EntityKind

_STEP_MS = 60_000.0
_SIGMAS_MAX = 40.0


@dataclass(frozen=True, slots=True)
class Upstream:
    """How the called services moved, and by their names their share (0-1) of the service's excess."""

    shifts: tuple[Shift, ...]
    ratios: dict[str, float]
    callers: frozenset[str] = frozenset()


def upstream_of(usual: pl.DataFrame, during: pl.DataFrame, service: str, knowledge: Knowledge) -> Upstream:
    """Share out the excess of a service among the services below it (`analytics.call_tree`), in time and in failures.

    Args:
        usual: a frame of `read_calls` of some requests in usual time.
        during: the same of some in the spike.
        service: whose requests they were.
        knowledge: titles, units and floors of the signals.
    """
    shifts: list[Shift] = []
    ratios: dict[str, float] = {}
    slow = _account(usual, during, service, knowledge.signals["upstream_time"], "duration_ms", 0.0)
    failing = _account(usual, during, service, knowledge.signals["upstream_errors"], "failed", 1.0)
    for found in (slow, failing):
        for shift, share in found:
            shifts.append(shift)
            ratios[shift.entity.name] = max(ratios.get(shift.entity.name, 0.0), share)
    return Upstream(tuple(shifts), ratios, _callers(during, service))


def _callers(calls: pl.DataFrame, service: str) -> frozenset[str]:
    """The services whose spans the service's own spans answer."""
    parents = calls.select("trace_id", pl.col("span_id").alias("parent_id"), pl.col("service").alias("caller"))
    own = calls.filter(pl.col("service") == service).join(parents, on=["trace_id", "parent_id"])
    return frozenset(own.filter(pl.col("caller") != service)["caller"].drop_nulls())


def _account(
    usual: pl.DataFrame, during: pl.DataFrame, service: str, signal: Signal, value: str, grain: float
) -> list[tuple[Shift, float]]:
    spans, spans_now = (_spans(frame, value) for frame in (usual, during))
    graph = calls_of_spans(pl.concat([spans, spans_now]), service)
    called = sorted(node for node in graph.below if _callee(node) != service)
    if not called:
        return []
    past, now = (steps_of_spans(frame, _STEP_MS) for frame in (spans, spans_now))
    blames = {blame.node: blame for blame in _blames(graph, past, now, grain)}
    found = []
    for name in dict.fromkeys(_callee(node) for node in called):
        before, level = _mean(past, name), _mean(now, name)
        if before is None or level is None:
            continue
        own = [blames[node] for node in called if _callee(node) == name and node in blames]
        sigmas = min(max((blame.sigmas for blame in own), default=0.0), _SIGMAS_MAX)
        if level - before < signal.floor or level - before < signal.relative_floor * before:
            sigmas = 0.0
        shift = Shift(signal, Entity(EntityKind.SERVICE, name), before, level, sigmas, sigmas, None)
        found.append((shift, min(1.0, sum(blame.share for blame in own))))
    return found


def _blames(graph: CallGraph, past: pl.DataFrame, now: pl.DataFrame, grain: float) -> tuple[Blame, ...]:
    try:
        return UsualTime(graph, past, grain=grain).blame(now).blames
    except ValueError:  # too few requests to compare with
        return ()


def _spans(calls: pl.DataFrame, value: str) -> pl.DataFrame:
    # A service that tells no spans of its own is known by the name its caller calls it.
    parents = calls.select("trace_id", pl.col("parent_id").alias("span_id"))
    untold = calls.filter(pl.col("peer").is_not_null()).join(parents, on=["trace_id", "span_id"], how="anti")
    called = untold.with_columns(
        pl.col("span_id").alias("parent_id"), pl.col("span_id") + "/peer", pl.col("peer").alias("service")
    )
    return (
        pl.concat([calls, called])
        .with_columns(pl.col("is_error").cast(pl.Float64).alias("failed"))
        .select(
            trace="trace_id",
            span="span_id",
            parent="parent_id",
            node="service",
            start_ms=pl.col("time").dt.epoch("us") / 1000.0,
            duration_ms=value,
        )
    )


def _callee(node: str) -> str:
    """The service at the far end of a link; a service is its own."""
    return (link_ends(node) or (node,))[-1]


def _mean(steps: pl.DataFrame, node: str) -> float | None:
    own = steps.filter(pl.col("node") == node)
    requests = float(own["requests"].sum())
    return float((own["requests"] * own["mean"]).sum()) / requests if requests else None
