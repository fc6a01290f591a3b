"""Evidence of how an objective stood over a stretch of time: every count it rests on, and the sum that proves a file.

The same question gives the same bytes, so two parties can compare one line. JSON bears the SHA-256 of itself without
the field `sha256`, keys sorted, without spaces, in UTF-8; CSV that of all lines before the last.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from analytics.slo import credit_usd, excluded_windows, sliced, without
from analytics.slo_documents.objectives import document_of
from domain.slo import Exclusion, Objective
from domain.window import Window, rfc3339

FORMAT = "tailsight.slo-evidence/1"

_FORMULA = "sli_ratio = sum of (good - excluded_good) / sum of (total - excluded_total) over all buckets"
_SLICED = (
    "buckets are gathered into slices of {length_s} s from 1970-01-01T00:00:00Z on, without those that are excluded; "
    "{counts}; sli_ratio = the mean over the slices that have events"
)
_CREDIT = (
    "credit_usd = monthly_fee_usd x credit_ratio of the last tier with sli_ratio < below_ratio, if this is the month"
)


def evidence(
    objective: Objective, counts: pl.DataFrame, window: Window, exclusions: Sequence[Exclusion], step_s: int
) -> dict[str, Any]:
    """All that is needed to work out again how an objective stood in a window, ready for JSON.

    Args:
        objective: what was promised.
        counts: columns time, total, good: events by the minute.
        window: which minutes count: those that begin within it.
        exclusions: of any objectives; those that concern this one and overlap the window are told, and left out.
        step_s: seconds a bucket; buckets without events are not listed.
    """
    inside = counts.filter(pl.col("time").is_between(window.start, window.end, closed="left"))
    concerned = sorted(
        (
            one
            for one in exclusions
            if one.concerns(objective) and one.starts_at < window.end and one.ends_at > window.start
        ),
        key=lambda one: (one.starts_at, one.id),
    )
    judged = without(inside, excluded_windows(objective, concerned))
    content = {
        "format": FORMAT,
        "slo": document_of(objective),
        "from": rfc3339(window.start),
        "to": rfc3339(window.end),
        "step_s": step_s,
        "formula": _formula(objective),
        "exclusions": [_exclusion(one) for one in concerned],
        "without_excluded": _counted(objective, judged),
        "with_excluded": _counted(objective, inside),
        "sla": _sla(objective, judged),
        "buckets": _buckets(inside, judged, step_s),
    }
    return {**content, "sha256": sha256_of(content)}


def sha256_of(content: Mapping[str, Any]) -> str:
    """The sum of a document of evidence: of all of its fields but `sha256`."""
    rest = {name: value for name, value in content.items() if name != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def evidence_csv(content: Mapping[str, Any]) -> str:
    """The same as lines of buckets, with the rest as JSON in lines that begin with `#`."""
    lines = [
        f"# {name} {json.dumps(value, sort_keys=True, ensure_ascii=False)}"
        for name, value in content.items()
        if name not in ("buckets", "sha256")
    ]
    columns = ("time", "total", "good", "excluded_total", "excluded_good")
    lines.append(",".join(columns))
    lines += [",".join(str(bucket[column]) for column in columns) for bucket in content["buckets"]]
    text = "".join(f"{line}\n" for line in lines)
    return f"{text}# sha256 {hashlib.sha256(text.encode()).hexdigest()}\n"


def _formula(objective: Objective) -> str:
    slices = objective.slices
    formula = _FORMULA
    if slices is not None:
        each = "a slice counts by its good / total"
        if slices.target_ratio is not None:
            each = f"a slice counts 1 when its good / total >= {slices.target_ratio!r}, else 0"
        formula = _SLICED.format(length_s=slices.length_s, counts=each)
    return formula if objective.sla is None else f"{formula}; {_CREDIT}"


def _exclusion(one: Exclusion) -> dict[str, Any]:
    return {
        "id": one.id,
        "from": rfc3339(one.starts_at),
        "to": rfc3339(one.ends_at),
        "reason": one.reason,
        "by": one.created_by,
    }


def _counted(objective: Objective, counts: pl.DataFrame) -> dict[str, Any]:
    events = sliced(counts, objective.slices)
    total, good = int(events["total"].sum()), float(events["good"].sum())
    return {
        "total": total,
        "good": int(good) if good.is_integer() else good,
        "sli_ratio": good / total if total else None,
    }


def _sla(objective: Objective, judged: pl.DataFrame) -> dict[str, Any] | None:
    sla = objective.sla
    if sla is None:
        return None
    return {
        "monthly_fee_usd": sla.monthly_fee_usd,
        "tiers": [{"below_ratio": one.below_ratio, "credit_ratio": one.credit_ratio} for one in sla.tiers],
        "credit_usd": credit_usd(sla, _counted(objective, judged)["sli_ratio"]),
    }


def _buckets(inside: pl.DataFrame, judged: pl.DataFrame, step_s: int) -> list[dict[str, Any]]:
    def by_bucket(counts: pl.DataFrame) -> pl.DataFrame:
        bucket = pl.col("time").dt.truncate(f"{step_s}s")
        return counts.group_by(bucket).agg(pl.col("total", "good").cast(pl.Int64).sum())

    joined = by_bucket(inside).join(by_bucket(judged), on="time", how="left", suffix="_judged").sort("time")
    return [
        {
            "time": rfc3339(time),
            "total": total,
            "good": good,
            "excluded_total": total - (judged_total or 0),
            "excluded_good": good - (judged_good or 0),
        }
        for time, total, good, judged_total, judged_good in joined.iter_rows()
        if total
    ]
