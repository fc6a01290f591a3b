"""Seeded incidents of the simulator: is the true kind named first, on the true entity, and how soon.

Each case is a cloud of its own (size, models, load and scrape interval by seed), some 50 minutes of usual time and one
fault of 6 to 12 minutes in it. It is played straight into an embedded store (`simulator.fill`), looked at by the same
job as live data (`analytics.jobs.incidents.analyze`), and only then held against the truth. Suites:

    one       one cause, mixed load
    confused  the same, with a harmless change or alarm at the same time, and the sensor faults of a real site
    two       two causes at once, on different entities: both within the first three answers, told over all pairs that
              users felt and over those of which they felt each
    removed   one cause, whose required signals nobody sends: `unknown`, or the kind that stands over it, is right. Not
              kinds that requests tell by themselves: those cannot be taken away
    clean     no fault: six hours of usual life; a busy hour that users felt may be told, and as nothing else

    python -m benchmarks.causes.seeded [--suites one,clean] [--seeds N] [--kinds KIND,…] [--jobs N] [--misses]
                                       [--stores DIR]

With `--stores` what was played is kept, and the next run of the same cases looks at the very same data again: so two
states of the engine are compared, and only the engine takes time. Stores played by another simulator must be deleted.
"""

import argparse
import json
import multiprocessing
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.progress import track
from rich.table import Table

from analytics.causes import Findings, explain
from analytics.expected import Load
from analytics.jobs.explaining import AnalyzeSettings, find
from analytics.jobs.incidents import analyze, unusual_cases
from analytics.knowledge import Knowledge, shipped_knowledge
from analytics.scope import Scope, stage_split
from benchmarks.causes.scoring import interval
from benchmarks.causes.seeded_peers import others_say
from benchmarks.server import machine
from domain.cause import CauseKind
from domain.entity import Entity
from domain.incident import Incident
from domain.window import Window
from simulator.cloud import Cloud, build_cloud
from simulator.confounders import plan_confounders
from simulator.faults import Fault, Harmless, hit_replicas, plan_fault
from simulator.fill import fill
from simulator.quirks import Quirks
from simulator.run import Simulation
from storage.migrate import migrate
from storage.open import open_owned
from storage.readers import read_requests
from storage.settings import StoreSettings
from storage.store import Store
from storage.topology import write_topology

SUITES = ("one", "confused", "two", "removed", "clean")
KINDS: tuple[CauseKind, ...] = tuple(kind for kind in CauseKind if kind is not CauseKind.UNKNOWN)
PARENTS: Mapping[CauseKind, set[CauseKind]] = {
    kind: {CauseKind.UNKNOWN, CauseKind.STRAGGLER, CauseKind.CAPACITY_LOSS} for kind in KINDS
}
"""What may be said of a cause that nobody can see: nothing, or what it looks like from outside."""
ABLATIONS = ("load model", "scope", "order", "knowledge")
FIRST_DAY = datetime(2026, 3, 2, tzinfo=UTC)
HISTORY_S = 3000
AFTER_S = 420
FELT_RATIO = 1.4
FELT_FAILURES = 0.02
KEPT_AWAY_RATIO = 0.1  # with fewer of its requests left, the other fault of a pair has taken them from it
ALONE_AFTER = timedelta(
    days=14
)  # where each fault of a pair is played by itself: behind all days of a store, same weekday
CLEAN_S = 6 * 3600
MONTH_S = 30 * 86_400
CASES_A_STORE = 12


@dataclass(frozen=True, slots=True)
class Case:
    """What is played: which kinds of fault, in which suite, by which seed; `number` counts over a run."""

    suite: str
    kinds: tuple[CauseKind, ...]
    seed: int
    number: int

    @property
    def starts_at(self) -> datetime:
        """Each case has a day of its own in its store, and an hour by its seed."""
        hour = random.Random(f"hour-{self.suite}-{self.seed}").uniform(0, 16)
        return FIRST_DAY + timedelta(days=self.number % CASES_A_STORE, hours=hour)


@dataclass(frozen=True, slots=True)
class Said:
    """One cause as it was answered."""

    kind: CauseKind
    entity: Entity
    confidence: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered of a case. `said` is empty when no incident was found near the fault."""

    case: Case
    truth: tuple[tuple[CauseKind, Entity], ...]
    said: tuple[Said, ...]
    felt: bool
    each_felt: bool
    onset_error_s: float | None
    detected_after_s: float | None
    incidents: int
    seconds: float
    why_not: str
    ablated: dict[str, tuple[CauseKind, Entity]] = field(default_factory=dict)
    others: dict[str, tuple[CauseKind, Entity]] = field(default_factory=dict)

    def names(self, first: int, *, entity: bool) -> int:
        """How many of the true causes are among the first so many."""
        named = [(one.kind, one.entity) for one in self.said[:first]]
        return sum(any(one is kind and (not entity or on == where) for one, on in named) for kind, where in self.truth)


def cases(suites: Sequence[str], seeds: int, kinds: Sequence[CauseKind]) -> list[Case]:
    """All cases of these suites."""
    found: list[tuple[str, tuple[CauseKind, ...], int]] = []
    for suite in suites:
        if suite == "clean":
            found += [(suite, (), 7000 + seed) for seed in range(max(2, seeds))]
        elif suite == "two":
            randomness = random.Random("two")
            pairs = [tuple(randomness.sample(list(kinds), 2)) for _ in range(2 * seeds)]
            found += [(suite, pair, 5000 + seed) for seed, pair in enumerate(pairs)]
        else:
            played = [kind for kind in kinds if suite != "removed" or not _told_by_requests(kind)]
            found += [(suite, (kind,), seed) for seed in range(seeds) for kind in played]
    return [Case(*one, number) for number, one in enumerate(found)]


def _told_by_requests(kind: CauseKind) -> bool:
    """Is there a required sign that needs no metric, as the start of a replica that requests name."""
    knowledge = shipped_knowledge()
    return any(not knowledge.signals[sign.signal].metrics for sign in knowledge.patterns[kind].requires)


def _metrics_of(kind: CauseKind) -> set[str]:
    """The metrics that carry the required signals of a kind."""
    knowledge = shipped_knowledge()
    return {metric for sign in knowledge.patterns[kind].requires for metric in knowledge.signals[sign.signal].metrics}


def play(store: Store, case: Case, played: "Played") -> Answer:
    """Play one case into the store, look at it, and say what was answered."""
    began = time.process_time()
    cloud = build_cloud(case.seed, varied=True)
    start = case.starts_at
    faults = _faults(case, cloud, start)
    end = start + timedelta(seconds=CLEAN_S if case.suite == "clean" else HISTORY_S + AFTER_S)
    for fault in faults:
        end = max(end, fault.ended_at + timedelta(seconds=AFTER_S))
    quirks = Quirks.drawn(case.seed) if case.suite == "confused" else None
    harmless = _harmless(case, cloud, faults)
    simulation = Simulation(case.seed, start, [*faults, *harmless], cloud=cloud, quirks=quirks)
    with played.once(case, "all of it") as is_new:
        if is_new:
            write_topology(store, cloud.topology(), start)
            fill(store, simulation, start, end)
    settings = AnalyzeSettings(knowledge=_knowledge(case))
    window = Window(start + timedelta(seconds=600), end)
    incidents = analyze(store, window, end, (), settings)
    near = [one for one in incidents if (_meets(one, faults) if faults else not _is_busy_hour(one, harmless))]
    best = max(near, key=lambda one: (one.cause.kind is not CauseKind.UNKNOWN, one.slow_requests_count), default=None)
    truth = tuple((CauseKind(fault.kind), fault.entity) for fault in faults)
    said = () if best is None else tuple(Said(one.kind, one.entity, one.confidence) for one in best.explanation.causes)
    if case.suite == "two":  # of two causes each may have an incident of its own
        said = tuple(
            Said(one.kind, one.entity, one.confidence)
            for rank in range(3)
            for incident in near
            for one in incident.explanation.causes[rank : rank + 1]
        )
    ablated, others = _compared(store, window, best, settings) if best is not None and case.suite == "one" else ({}, {})
    first_start = min((fault.started_at for fault in faults), default=start)
    return Answer(
        case=case,
        truth=truth,
        said=said,
        felt=not faults or _felt(store, cloud, faults),
        each_felt=case.suite != "two" or _each_felt(store, case, cloud, faults, played),
        onset_error_s=None if best is None or not faults else (best.started_at - first_start).total_seconds(),
        detected_after_s=None if best is None or not faults else (best.detected_at - first_start).total_seconds(),
        incidents=len(near),
        seconds=time.process_time() - began,
        why_not="" if best is None else "; ".join(
            f"{one.kind}: {one.why}" for one in best.explanation.ruled_out if one.kind in {kind for kind, _ in truth}
        ),
        ablated=ablated,
        others=others,
    )  # fmt: skip


def _felt(store: Store, cloud: Cloud, faults: Sequence[Fault]) -> bool:
    """Did users feel it: is a percentile of a service it hit, or its failures, clearly above before."""
    for service in {replica.service.name for fault in faults for replica in hit_replicas(cloud, fault)}:
        first, last = min(fault.started_at for fault in faults), max(fault.ended_at for fault in faults)
        requests = stage_split(read_requests(store, Window(first - timedelta(seconds=HISTORY_S), last), service))
        before, during = (requests.filter(pl.col("time") < first), requests.filter(pl.col("time") >= first))
        if before.is_empty() or during.is_empty():
            continue
        if float(during["is_error"].mean() or 0) > float(before["is_error"].mean() or 0) + FELT_FAILURES:  # type: ignore[arg-type]  # ratios
            return True
        for column in ("ttft_ms", "latency_ms", "tpot_ms"):
            for quantile in (0.5, 0.95, 0.99):
                usual, now = before[column].quantile(quantile), during[column].quantile(quantile)
                if usual and now and now > FELT_RATIO * usual:
                    return True
    return False


def _each_felt(store: Store, case: Case, cloud: Cloud, faults: Sequence[Fault], played: "Played") -> bool:
    """Did users feel each fault of a pair, by the same measure as single ones, and whatever was answered.

    Of two in the same service the percentiles do not say whose the time is, so each is played by itself too: it must
    be felt there, and in the pair requests must still have met it. What ails a replica that the other fault has taken
    out of service meets nobody.
    """
    services = [{replica.service.name for replica in hit_replicas(cloud, fault)} for fault in faults]
    if services[0].isdisjoint(services[1]):
        return all(_felt(store, cloud, [fault]) for fault in faults)
    for number, fault in enumerate(faults, start=1):
        later = number * ALONE_AFTER
        alone = replace(fault, started_at=fault.started_at + later, ended_at=fault.ended_at + later)
        start, by_itself = case.starts_at + later, build_cloud(case.seed, varied=True)
        with played.once(case, f"fault {number} alone") as is_new:
            if is_new:
                fill(store, Simulation(case.seed, start, [alone], cloud=by_itself), start, alone.ended_at)
        left, usual = _requests_met(store, cloud, fault), _requests_met(store, cloud, alone)
        if not _felt(store, cloud, [alone]) or left < KEPT_AWAY_RATIO * usual:
            return False
    return True


def _requests_met(store: Store, cloud: Cloud, fault: Fault) -> int:
    """How many requests the replicas served that a fault hits, while it lasted."""
    hit = hit_replicas(cloud, fault)
    lasted, pods = Window(fault.started_at, fault.ended_at), [replica.pod for replica in hit]
    served = [read_requests(store, lasted, service) for service in {replica.service.name for replica in hit}]
    return sum(frame.filter(pl.col("replica").is_in(pods)).height for frame in served)


def _faults(case: Case, cloud: Cloud, start: datetime) -> list[Fault]:
    randomness = random.Random(f"fault-{case.suite}-{case.seed}")
    duration_s = randomness.uniform(360, 720)
    onset = start + timedelta(seconds=HISTORY_S + randomness.uniform(0, 60))
    found: list[Fault] = []
    for number, kind in enumerate(case.kinds):
        at = onset + timedelta(seconds=number * randomness.uniform(0, 90))
        fault = plan_fault(kind, cloud, case.seed + number, at, duration_s)
        for again in range(1, 10):
            if fault.entity not in {one.entity for one in found}:
                break
            fault = plan_fault(kind, cloud, case.seed + 100 * again, at, duration_s)
        found.append(fault)
    return found


def _harmless(case: Case, cloud: Cloud, faults: Sequence[Fault]) -> tuple[Fault, ...]:
    """What happens beside the fault and hurts nobody; on clean days too."""
    if case.suite not in ("confused", "clean"):
        return ()
    middle = faults[0].started_at if faults else case.starts_at + timedelta(seconds=CLEAN_S / 2)
    return plan_confounders(cloud, case.seed, faults, middle)


def _knowledge(case: Case) -> Knowledge:
    """What is known; where signals are removed, without those that the true kind requires."""
    knowledge = shipped_knowledge()
    if case.suite != "removed":
        return knowledge
    metrics = {metric for kind in case.kinds for metric in _metrics_of(kind)}
    kept = {
        name: replace(signal, metrics=tuple(metric for metric in signal.metrics if metric not in metrics))
        for name, signal in knowledge.signals.items()
    }
    return Knowledge(kept, knowledge.patterns)


def _meets(incident: Incident, faults: Sequence[Fault]) -> bool:
    """Did it begin while a fault was there, or within some minutes."""
    first = min(fault.started_at for fault in faults)
    last = max(fault.ended_at for fault in faults)
    return first - timedelta(seconds=120) <= incident.started_at <= last + timedelta(seconds=120)


def _is_busy_hour(incident: Incident, harmless: Sequence[Fault]) -> bool:
    """Is it what a clean day has to tell: more traffic than usual, where there was more."""
    busy = [one for one in harmless if one.kind is Harmless.BUSY_HOUR]
    return bool(busy) and incident.cause.kind is CauseKind.TRAFFIC_SURGE and _meets(incident, busy)


def _compared(
    store: Store, window: Window, incident: Incident, settings: AnalyzeSettings
) -> tuple[dict[str, tuple[CauseKind, Entity]], dict[str, tuple[CauseKind, Entity]]]:
    """What would be said of the incident without one part of the method, and by the plain methods of others."""
    found = [
        case
        for spike, case in unusual_cases(store, window, settings)
        if abs((spike.window.start - incident.started_at).total_seconds()) < 1 and spike.service == incident.service
    ]
    if not found:
        return {}, {}
    findings = find(store, found[0], settings)
    ablated = {}
    for part in ABLATIONS[:3]:
        cause = explain(_without(part, findings), settings.knowledge).causes[0]
        ablated[part] = (cause.kind, cause.entity)
    others = others_say(findings, settings.knowledge)
    ablated["knowledge"] = others["z-score"]
    return ablated, others


def _without(part: str, findings: Findings) -> Findings:
    if part == "load model":
        return replace(findings, load=Load())
    if part == "order":
        return replace(findings, shifts=[replace(shift, onset=None) for shift in findings.shifts])
    return replace(findings, scope=_everywhere(findings))


def _everywhere(findings: Findings) -> Scope:
    """The scope of somebody who does not look whose requests are slow: each entity may have made all of it."""
    scope = findings.scope
    shares = {
        kind: {name: replace(share, excess_ratio=1.0) for name, share in of_kind.items()}
        for kind, of_kind in scope.shares.items()
    }
    return replace(scope, shares=shares, upstream_ratio=dict.fromkeys(scope.upstream_ratio, 1.0))


# -- running -----------------------------------------------------------------------------------------------------------


class Played:
    """What a store has been played already: a line each in a file beside it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "played.txt"
        self._lines = set(self._file.read_text().splitlines()) if self._file.exists() else set()

    @contextmanager
    def once(self, case: Case, what: str) -> Iterator[bool]:
        """Is it to be played.

        Raises:
            RuntimeError: when an earlier run was ended in the middle of it, and half of it is there.
        """
        line = f"{case.suite} {case.seed} {' '.join(case.kinds)}: {what}, day {case.number % CASES_A_STORE}"
        if f"{line}, begun" in self._lines and f"{line}, done" not in self._lines:
            raise RuntimeError(f"half of {line!r} was played into {self._file.parent}: delete that folder")
        is_new = f"{line}, done" not in self._lines
        self._write(f"{line}, begun")
        yield is_new
        self._write(f"{line}, done")

    def _write(self, line: str) -> None:
        if line not in self._lines:
            self._lines.add(line)
            with self._file.open("a") as file:
                file.write(f"{line}\n")


def _in_one_store(part: Sequence[Case], stores: Path | None) -> list[Answer]:
    """Some cases, each on a day of its own in one store: an embedded engine opens one folder a process."""
    with nullcontext(stores) if stores else tempfile.TemporaryDirectory(prefix="tailsight-causes-") as above:
        folder = Path(above) / f"{part[0].suite}-{part[0].seed}-{'-'.join(part[0].kinds)}-{len(part)}"
        store = open_owned(StoreSettings(url=f"chdb://{folder}/data"))
        try:
            migrate(store)
            played = Played(folder)
            return [play(store, case, played) for case in part]
        finally:
            store.close()


def answers_of(chosen: Sequence[Case], jobs: int, *, stores: Path | None = None, quiet: bool = False) -> list[Answer]:
    """Play all cases, `jobs` stores at a time; kept under `stores`, or thrown away."""
    parts = [chosen[first : first + CASES_A_STORE] for first in range(0, len(chosen), CASES_A_STORE)]
    spawn = multiprocessing.get_context("spawn")  # the engine cannot be forked
    found: list[Answer] = []
    with spawn.Pool(jobs, maxtasksperchild=1) as pool:
        done: Iterator[list[Answer]] = pool.imap_unordered(partial(_in_one_store, stores=stores), parts)
        for part in done if quiet else track(done, f"{len(chosen)} incidents", total=len(parts)):
            found += part
    return sorted(found, key=lambda answer: answer.case.number)


# -- figures -----------------------------------------------------------------------------------------------------------


def figures(answers: Sequence[Answer]) -> dict[str, float]:
    """The row of each suite, as numbers by name."""
    found: dict[str, float] = {}
    for suite in SUITES:
        own = [answer for answer in answers if answer.case.suite == suite]
        if not own:
            continue
        if suite == "clean":
            found["clean_incidents_per_service_month"] = (
                sum(one.incidents for one in own)
                * MONTH_S
                / (sum(len(build_cloud(one.case.seed, varied=True).services) for one in own) * CLEAN_S)
            )
        elif suite == "two":
            each_felt = [one for one in own if one.each_felt]
            found["two_both_within_3"] = float(np.mean([_is_right(one) for one in own]))
            found["two_both_within_3_each_felt"] = float(np.mean([_is_right(one) for one in each_felt]))
        elif suite == "removed":
            found["removed_unknown_or_parent"] = float(np.mean([_is_right(one) for one in own]))
        else:
            name = "seeded" if suite == "one" else "confused"
            found[f"{name}_kind_at_1"] = float(np.mean([one.names(1, entity=False) for one in own]))
            found[f"{name}_kind_entity_at_1"] = float(np.mean([one.names(1, entity=True) for one in own]))
            found[f"{name}_kind_entity_within_3"] = float(np.mean([one.names(3, entity=True) for one in own]))
            found |= {f"{name}_{key}": value for key, value in _sureness(own).items()}
    return found


def _sureness(answers: Sequence[Answer]) -> dict[str, float]:
    onset = [abs(one.onset_error_s) for one in answers if one.onset_error_s is not None]
    delay = [one.detected_after_s for one in answers if one.detected_after_s is not None]
    sure = [
        (one.said[0].confidence, one.names(1, entity=True)) for one in answers if one.said and one.said[0].confidence
    ]
    return {
        "found": len(onset) / len(answers),
        "onset_error_s_median": float(np.median(onset)) if onset else float("nan"),
        "detected_after_s_median": float(np.median(delay)) if delay else float("nan"),
        "calibration_error": calibration_error(sure),
        "accuracy_at_0.9": float(
            np.mean([float(right) for confidence, right in sure if confidence >= 0.9] or [float("nan")])
        ),
    }


def calibration_error(sure: Sequence[tuple[float, int]], bins: int = 10) -> float:
    """Expected calibration error: how far confidence is from accuracy, over equal bins (Naeini et al. 2015)."""
    if not sure:
        return float("nan")
    confidence, right = (np.array(column, dtype=float) for column in zip(*sure, strict=True))
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    return float(
        sum(
            (places == place).mean() * abs(confidence[places == place].mean() - right[places == place].mean())
            for place in range(bins)
            if (places == place).any()
        )
    )


def show(console: Console, answers: Sequence[Answer], *, misses: bool) -> None:
    """Print the tables: by suite and kind, the confusion, and what others would have said."""
    for suite in ("one", "confused"):
        own = [answer for answer in answers if answer.case.suite == suite]
        if own:
            _show_kinds(console, suite, own)
    pairs = [answer for answer in answers if answer.case.suite == "two"]
    if pairs:
        _show_pairs(console, pairs)
    blind = [answer for answer in answers if answer.case.suite == "removed"]
    if blind:
        _show_removed(console, blind)
    compared = [answer for answer in answers if answer.others]
    if compared:
        table = Table("method", "kind at 1", "kind and entity at 1", title="Beside ours, on the same incidents")
        table.add_row(
            "Tailsight", *_hits([(one, one.said[0].kind, one.said[0].entity) for one in compared if one.said])
        )
        for name in compared[0].others:
            table.add_row(name, *_hits([(one, *one.others[name]) for one in compared]))
        for name in compared[0].ablated:
            table.add_row(f"without {name}", *_hits([(one, *one.ablated[name]) for one in compared]))
        console.print(table)
    if misses:
        for one in answers:
            if one.case.suite != "clean" and not _is_right(one):
                said = ", ".join(f"{said.kind} {said.entity.name} {said.confidence}" for said in one.said[:3])
                truth = ", ".join(f"{kind} {entity.name}" for kind, entity in one.truth)
                console.print(f"{one.case.suite} {one.case.seed}: {truth} ← {said or 'no incident'} | {one.why_not}")
            if one.case.suite == "clean" and one.incidents:
                console.print(f"clean {one.case.seed}: {one.incidents} incidents, {[said.kind for said in one.said]}")


def _is_right(one: Answer) -> bool:
    """Is it right as its suite counts: both of two within three, nothing that is not seen, else the one cause first."""
    if one.case.suite == "two":
        return one.names(3, entity=False) == 2
    if one.case.suite == "removed":
        return not one.said or one.said[0].kind in PARENTS[one.case.kinds[0]]
    return one.names(1, entity=True) == 1


def _hits(said: Sequence[tuple[Answer, CauseKind, Entity]]) -> tuple[str, str]:
    kinds = [kind == one.truth[0][0] for one, kind, _ in said]
    both = [(kind, entity) == one.truth[0] for one, kind, entity in said]
    return f"{np.mean(kinds):.3f}", f"{np.mean(both):.3f}"


def _show_kinds(console: Console, suite: str, answers: Sequence[Answer]) -> None:
    table = Table("kind", "n", "kind at 1", "and entity", "within 3", "95 %", "else", title=f"Suite {suite}")
    for kind in sorted({one.case.kinds[0] for one in answers}):
        own = [one for one in answers if one.case.kinds[0] is kind]
        first = [one.names(1, entity=False) for one in own]
        low, high = interval(np.array(first, dtype=float))
        wrong = Counter(
            one.said[0].kind.value if one.said else "no incident" for one in own if not one.names(1, entity=False)
        )
        table.add_row(
            kind.value,
            str(len(own)),
            f"{np.mean(first):.2f}",
            f"{np.mean([one.names(1, entity=True) for one in own]):.2f}",
            f"{np.mean([one.names(3, entity=True) for one in own]):.2f}",
            f"{low:.2f} to {high:.2f}",
            ", ".join(f"{name} {count}" for name, count in wrong.most_common()),
        )
    console.print(table)


def _show_pairs(console: Console, answers: Sequence[Answer]) -> None:
    table = Table("pairs", "n", "both within 3", "95 %", title="Suite two")
    each_felt = [one for one in answers if one.each_felt]
    for name, own in (("that users felt", answers), ("of which users felt each", each_felt)):
        right = [_is_right(one) for one in own]
        low, high = interval(np.array(right, dtype=float))
        table.add_row(name, str(len(own)), f"{np.mean(right):.2f}", f"{low:.2f} to {high:.2f}")
    console.print(table)


def _show_removed(console: Console, answers: Sequence[Answer]) -> None:
    table = Table("kind", "n", "unknown or parent", "said", title="Suite removed")
    for kind in sorted({one.case.kinds[0] for one in answers}):
        own = [one for one in answers if one.case.kinds[0] is kind]
        said = Counter(one.said[0].kind.value if one.said else "no incident" for one in own)
        right = f"{np.mean([_is_right(one) for one in own]):.2f}"
        table.add_row(
            kind.value, str(len(own)), right, ", ".join(f"{name} {count}" for name, count in said.most_common())
        )
    console.print(table)


def main() -> None:
    """Play, print the tables, and the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", default="one", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--jobs", type=int, default=2, help="stores at a time")
    parser.add_argument("--misses", action="store_true", help="a line for each case that was not answered right")
    parser.add_argument("--stores", type=Path, help="keep what is played there, and look at it again next time")
    given = parser.parse_args()
    chosen = cases(given.suites.split(","), given.seeds, [CauseKind(kind) for kind in given.kinds.split(",")])
    console = Console(width=160)
    console.print(machine())
    answers = answers_of(chosen, given.jobs, stores=given.stores)
    felt = [one for one in answers if one.felt]
    show(console, felt, misses=given.misses)
    unfelt = [one for one in answers if not one.felt]
    console.print(
        f"{len(unfelt)} cases that no user felt are left out: {Counter(' and '.join(one.case.kinds) for one in unfelt)}"
    )
    console.print(f"{np.mean([one.seconds for one in answers]):.1f} CPU-seconds a case")
    print(json.dumps(figures(felt)))  # the last line is for programs


if __name__ == "__main__":
    main()
