"""What the engine answers on incidents that an outsider made.

    python -m benchmarks.causes.outside [--seeds N] [--styles A,B,C] [--kinds KIND,…] [--processes N]

The engine is developed against the project's own simulator, and could fit it. These incidents are of another make
(`outside_incident.py`): other formulas, other sites, other exporters, other habits. Each is loaded into a fresh
embedded store as a collector would load it, analysed as `tailsight analyze` does, and what comes out is held against
the truth. Printed are a table by kind and site, and of each miss what was said instead and why the truth was ruled out.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.causes.outside_incident import CLEAN, KINDS, Incident, make_incident
from benchmarks.causes.outside_site import STYLES, Style
from domain.cause import CauseKind
from domain.incident import Incident as Answer
from domain.topology import topology_from_document
from domain.window import Window

BEFORE_S, AFTER_S = 120, 300
"""An incident that begins this much before or after the fault is still about it."""
_LOOKED_BEFORE_S = 900


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the answer to one incident stands against its truth."""

    kind: str
    style: Style
    seed: int
    found: bool
    kind_right: bool
    entity_right: bool
    within_three: bool
    told: str
    """What was answered, in words."""
    truth: str
    why_not: str
    """Why the truth was ruled out, if it was."""
    answered: str
    """Kind at rank 1; 'nothing' when there was no incident."""
    confidence: float | None
    incidents_count: int
    slower_ratio: float
    error_ratio: float
    cpu_s: float


def judge(incident: Incident, answers: Sequence[Answer], cpu_s: float = 0.0) -> Verdict:
    """Hold what was answered against the truth.

    Of several incidents about the fault (one a service, say) the best counts; every one counts against `clean`.
    """
    about = [answer for answer in answers if _is_about(incident, answer)]
    best = max(about, key=lambda answer: _marks(incident, answer), default=None)
    kind_right, entity_right, within_three = _marks(incident, best)[:3] if best else (False, False, False)
    if incident.truth_kind == CLEAN:
        kind_right = entity_right = within_three = not about
    ruled_out = {one.kind: one.why for one in best.explanation.ruled_out} if best else {}
    return Verdict(
        kind=incident.truth_kind,
        style=incident.style,
        seed=incident.seed,
        found=bool(about),
        kind_right=kind_right,
        entity_right=entity_right,
        within_three=within_three,
        told=_words(best, answers),
        truth=f"{incident.truth_kind} {incident.truth_entity or ''} {incident.flavour}".strip(),
        why_not=ruled_out.get(CauseKind(incident.truth_kind), "") if incident.truth_kind != CLEAN else "",
        answered=best.cause.kind.value if best else "nothing",
        confidence=best.cause.confidence if best else None,
        incidents_count=len(about),
        slower_ratio=incident.slower_ratio,
        error_ratio=incident.error_ratio,
        cpu_s=cpu_s,
    )


def _is_about(incident: Incident, answer: Answer) -> bool:
    if incident.truth_kind == CLEAN:
        return True
    began_s = answer.started_at.timestamp()
    ended_s = answer.ended_at.timestamp() if answer.ended_at else incident.data_ended_s
    overlaps = ended_s > incident.started_at_s and began_s < incident.ended_at_s
    return overlaps and incident.started_at_s - BEFORE_S <= began_s <= incident.started_at_s + AFTER_S


def _marks(incident: Incident, answer: Answer) -> tuple[bool, bool, bool, int]:
    first = answer.cause
    kind_right = first.kind == incident.truth_kind
    entity_right = kind_right and (
        incident.truth_kind == CauseKind.UNKNOWN or first.entity in (incident.truth_entity, *incident.also_right)
    )
    within_three = any(cause.kind == incident.truth_kind for cause in answer.explanation.causes[:3])
    if incident.truth_kind == CauseKind.UNKNOWN:
        within_three = kind_right
    return kind_right, entity_right, within_three, answer.slow_requests_count


def _words(best: Answer | None, answers: Sequence[Answer]) -> str:
    if best is None:
        late = [f"{one.service} {one.indicator} {one.cause.kind} at {one.started_at:%H:%M:%S}" for one in answers]
        return "nothing" + (f" in time; else: {'; '.join(late)}" if late else "")
    causes = [f"{cause.kind} {cause.entity} {cause.confidence:.2f}" for cause in best.explanation.causes[:3]]
    evidence = [
        f"{one.signal} of {one.entity} {_number(one.before)} -> {_number(one.during)}"
        for one in best.cause.evidence[:3]
    ]
    return f"{best.service} {best.indicator}: {', '.join(causes)} [{'; '.join(evidence)}]"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.3g}"


def answer(folder: Path, incident: Incident) -> list[Answer]:
    """Load the incident into a fresh embedded store in `folder` and analyse the time around it."""
    # Late, because a process that has imported the engine must never fork, and the generator is of use without it.
    from analytics.jobs.explaining import AnalyzeSettings  # noqa: PLC0415
    from analytics.jobs.incidents import analyze  # noqa: PLC0415
    from storage.migrate import migrate  # noqa: PLC0415
    from storage.open import open_owned  # noqa: PLC0415
    from storage.settings import StoreSettings  # noqa: PLC0415
    from storage.topology import write_topology  # noqa: PLC0415

    store = open_owned(StoreSettings(url=f"chdb://{folder / 'data'}"))
    try:
        migrate(store)
        now = _moment(incident.data_ended_s)
        token = f"{incident.truth_kind}/{incident.style}/{incident.seed}"
        store.load_otlp("otel_traces", incident.spans, token=token)
        # A collector loads all metrics into each table, which keeps its own kind: the same rows, more slowly.
        store.load_otlp("otel_metrics_gauge", incident.gauges, token=f"{token}/gauges")
        store.load_otlp("otel_metrics_sum", incident.counters, token=f"{token}/counters")
        if incident.topology is not None:
            write_topology(store, topology_from_document(incident.topology), now)
        window = Window(_moment(incident.started_at_s) - timedelta(seconds=_LOOKED_BEFORE_S), now)
        return analyze(store, window, now, objectives=(), settings=AnalyzeSettings())
    finally:
        store.close()


def _moment(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)


def _examine(case: tuple[str, Style, int]) -> Verdict:
    kind, style, seed = case
    began_s = time.process_time()
    incident = make_incident(kind, seed, style)
    with tempfile.TemporaryDirectory(prefix="tailsight-outside-") as folder:
        answers = answer(Path(folder), incident)
    return judge(incident, answers, time.process_time() - began_s)


def run(
    seeds: Sequence[int],
    styles: Sequence[Style],
    kinds: Sequence[str] = KINDS,
    processes: int = 2,
    console: Console | None = None,
) -> dict[str, Any]:
    """Examine every kind at every style with every seed; the figures and the verdicts.

    Returns:
        `incidents`, `kind_first_ratio`, `kind_and_entity_first_ratio`, `kind_within_three_ratio` (of all, clean ones
        included), `clean_right_ratio`, `cpu_s_mean`, and `verdicts`, a list of `Verdict`.
    """
    cases = [(kind, style, seed) for seed in seeds for kind in kinds for style in styles]
    verdicts = []
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=8) as pool:
        for verdict in pool.imap_unordered(_examine, cases):
            verdicts.append(verdict)
            if console:
                mark = "right" if verdict.entity_right else "kind " if verdict.kind_right else "MISS "
                why = f" | ruled out: {verdict.why_not}" if verdict.why_not and not verdict.kind_right else ""
                console.print(
                    f"{len(verdicts):4}/{len(cases)} {mark} {verdict.style}{verdict.seed} {verdict.truth}"
                    f" -> {verdict.told}{why}",
                    highlight=False, soft_wrap=True, markup=False,
                )  # fmt: skip
    verdicts.sort(key=lambda one: (KINDS.index(one.kind), one.style, one.seed))
    clean = [one for one in verdicts if one.kind == CLEAN]
    return {
        "incidents": len(verdicts),
        "kind_first_ratio": _ratio([one.kind_right for one in verdicts]),
        "kind_and_entity_first_ratio": _ratio([one.entity_right for one in verdicts]),
        "kind_within_three_ratio": _ratio([one.within_three for one in verdicts]),
        "clean_right_ratio": _ratio([one.kind_right for one in clean]),
        "cpu_s_mean": round(sum(one.cpu_s for one in verdicts) / len(verdicts), 2) if verdicts else None,
        "verdicts": verdicts,
    }


def _ratio(right: Sequence[bool]) -> float | None:
    return round(sum(right) / len(right), 3) if right else None


def show(console: Console, figures: dict[str, Any], styles: Sequence[Style]) -> None:
    """Print the table by kind and style, with what was said instead, and a line for each miss."""
    verdicts: list[Verdict] = figures["verdicts"]
    table = Table(title="First answer right: kind (with entity) of incidents", title_justify="left")
    for name in ("truth", *styles, "within 3", "said instead"):
        table.add_column(name)
    for kind in KINDS:
        those = [one for one in verdicts if one.kind == kind]
        if not those:
            continue
        cells = []
        for style in styles:
            here = [one for one in those if one.style == style]
            cells.append(f"{sum(o.kind_right for o in here)} ({sum(o.entity_right for o in here)}) of {len(here)}")
        instead = [one.answered for one in those if not one.kind_right]
        said = ", ".join(f"{instead.count(name)} {name}" for name in sorted(set(instead)))
        table.add_row(kind, *cells, f"{sum(one.within_three for one in those)} of {len(those)}", said)
    console.print(table)
    for one in verdicts:
        if not one.entity_right:
            why = f" | ruled out: {one.why_not}" if one.why_not else ""
            console.print(
                f"{'kind only' if one.kind_right else 'miss'} {one.style}{one.seed} {one.truth} "
                f"(p99 ×{one.slower_ratio:.1f}, errors {one.error_ratio:.1%}) -> {one.told}{why}",
                highlight=False, soft_wrap=True, markup=False,
            )  # fmt: skip


def main() -> None:
    """Examine and print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="how many seeds, from 0")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--styles", default=",".join(STYLES))
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    styles = [style for style in STYLES if style in arguments.styles.split(",")]
    console = Console(width=160)
    figures = run(
        range(arguments.first_seed, arguments.first_seed + arguments.seeds),
        styles,
        arguments.kinds.split(","),
        arguments.processes,
        console,
    )
    show(console, figures, styles)
    print(json.dumps({name: value for name, value in figures.items() if name != "verdicts"}))


if __name__ == "__main__":
    main()
