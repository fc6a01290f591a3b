"""Releases: is a new version worse than the one beside it, or than the one before it."""

from collections.abc import Mapping

import polars as pl

from analytics.knowledge import Knowledge
from analytics.scope import Scope, Share
from analytics.signals import Shift
from domain.entity import Entity, EntityKind
from domain.window import Window

_NEW_SHARE_MAX = 0.3  # of usual traffic: more of it, and the version is no news
_GREW_MIN = 1.5
_FEW = 5


def release_shifts(
    requests: pl.DataFrame, column: str, scope: Scope, spike: Window, reference: Window, knowledge: Knowledge
) -> list[Shift]:
    """How each version that is new, or has got more of the traffic, does against the others at the same time.

    Where no other version serves any more, against what was usual before. The times are of the work that was asked
    for (`Scope.shares`), so that a canary that happens to get the long prompts is not blamed for them.

    Args:
        requests: a frame of `read_requests` over both windows.
        column: the time that spiked, as a column of it.
        scope: how each version did.
        spike: the window of the spike.
        reference: usual time before it.
        knowledge: titles, units and floors of the signals.
    """
    versions = scope.shares.get(EntityKind.VERSION, {})
    during = requests.filter(pl.col("time").is_between(spike.start, spike.end, closed="left"))
    usual = requests.filter(pl.col("time").is_between(reference.start, reference.end, closed="left"))
    shifts = []
    for version, share in versions.items():
        grew = share.traffic_ratio >= _GREW_MIN * share.usual_traffic_ratio
        if not version or not grew or share.usual_traffic_ratio > _NEW_SHARE_MAX:
            continue
        own = during.filter(pl.col("version") == version)
        others = during.filter(pl.col("version").is_not_null() & (pl.col("version") != version))
        beside = others if others.height >= max(_FEW, own.height // 50) else usual
        if own.height < _FEW or beside.is_empty():
            continue
        begun = requests.filter(pl.col("version") == version)["time"].min()
        entity = Entity(EntityKind.VERSION, version)
        base = _mean(beside.filter(~pl.col("is_error"))[column])
        rise = share.rise_ms - (0.0 if beside is usual else _mean_rise(versions, version))
        if base:
            error = abs(share.rise_ms / share.sigmas) if share.sigmas else abs(rise)
            signal = knowledge.signals["version_time"]
            sigmas = rise / max(error, signal.floor, signal.relative_floor * base)
            shifts.append(Shift(signal, entity, base, base + rise, sigmas, sigmas, begun))  # type: ignore[arg-type]  # a time
        failed, failed_beside = (float(frame["is_error"].mean() or 0.0) for frame in (own, beside))  # type: ignore[arg-type]  # a ratio
        signal = knowledge.signals["version_errors"]
        chance = ((failed_beside + 1 / own.height) / own.height) ** 0.5
        sigmas = (failed - failed_beside) / max(chance, signal.floor)
        shifts.append(Shift(signal, entity, failed_beside, failed, sigmas, sigmas, begun))  # type: ignore[arg-type]  # a time
    return shifts


def _mean_rise(versions: Mapping[str, Share], without: str) -> float:
    """By how much the mean request of the other versions rose, in ms, weighted by their traffic."""
    others = [share for name, share in versions.items() if name and name != without]
    traffic = sum(share.traffic_ratio for share in others)
    return sum(share.rise_ms * share.traffic_ratio for share in others) / traffic if traffic else 0.0


def _mean(values: pl.Series) -> float:
    mean = values.mean()
    return float(mean) if isinstance(mean, int | float) else 0.0
