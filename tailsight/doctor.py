"""What is well and what is not, as one list of checks: of the configuration, of the process that serves, of the store.

Trouble stands now, and somebody has to act. A warning is what happened since the process began (counters do not say
whether it goes on), or what may be meant so.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib.metadata import version
from typing import Any

import httpx
import polars as pl
from prometheus_client.parser import text_string_to_metric_families

from alerts.checks import NOTIFIES_NOBODY, notification_channels
from analytics.jobs.fleet import stopped_services
from analytics.jobs.objectives import services_without_objective, standing_objectives, without_objective_words
from collector.cardinality import find_excesses
from domain.address import local_url, shown
from domain.freshness import LATE_AFTER, Looks
from domain.window import Window, duration_text, from_rfc3339
from storage.errors import StoreError
from storage.open import read_gateway_address
from storage.readers import FRESHNESS_DAYS, read_freshness, read_sources
from storage.retention import Family, disk_of, read_days
from storage.store import Store
from storage.upstream import sources
from tailsight.errors import SettingsError
from tailsight.settings import Settings, links_of_this_machine, listens_openly

_ANSWER_S = 20.0
_SOURCES = timedelta(days=1)  # who sent nothing for longer is forgotten, as on the page Data
_NAMED_MAX = 10


class State(StrEnum):
    """How something stands."""

    FINE = "fine"
    WARNING = "warning"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what was looked at.
        state: how it stands.
        says: what was found.
        do: what to do about it; None where it is fine.
    """

    name: str
    state: State
    says: str
    do: str | None = None


def examine(settings: Settings, opened: Callable[[], AbstractContextManager[Store]], now: datetime) -> list[Check]:
    """Everything that can be looked at from here.

    Args:
        settings: those of the process that serves, or nothing fits.
        opened: opens the store, through its owner where it has one; what it raises is a check.
        now: the clock.
    """
    checks = [*_of_configuration(settings)]
    with ExitStack() as stack:
        store: Store | None = None
        try:
            store = stack.enter_context(opened())
        except (SettingsError, StoreError) as error:
            checks.append(_no_store(str(error)))
        asked = _asked(settings, is_ours=store is not None and store.engine is not None)
        checks += [asked] if isinstance(asked, Check) else _of_process(asked, settings, now)
        metrics = asked.metrics if isinstance(asked, _Told) else _Metrics("")
        if store is not None:
            try:
                checks += list(_of_store(store, metrics, settings, now))
            except StoreError as error:
                checks.append(_no_store(str(error)))
    return checks


def _no_store(says: str) -> Check:
    return Check("store", State.TROUBLE, says, "mend that first: what lies in the store could not be looked at")


# -- the configuration -------------------------------------------------------------------------------------------------


def _of_configuration(settings: Settings) -> Iterator[Check]:
    openly = listens_openly(settings)
    if openly is None:
        yield Check("configuration", State.FINE, "can be used")
    else:
        yield Check("configuration", State.TROUBLE, openly, "until then `tailsight serve` refuses to start")
    told = notification_channels(settings.alerts)
    if told:
        yield Check("alerts", State.FINE, "; ".join(told))
    else:
        yield Check("alerts", State.WARNING, *NOTIFIES_NOBODY)
    misleading = links_of_this_machine(settings)
    if misleading is not None:
        yield Check("links", State.WARNING, misleading, "set web.public_url")


# -- the process that serves -------------------------------------------------------------------------------------------


class _Metrics:
    """The samples of a text in the Prometheus format, by their name."""

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples[sample.name].append((sample.labels, sample.value))

    def by_labels(self, name: str) -> list[tuple[Mapping[str, str], float]]:
        """Labels and value of each sample; empty where there is none."""
        return self._samples.get(name, [])

    def value(self, name: str) -> float | None:
        """Of a metric without labels; None where there is none."""
        return next((value for _, value in self.by_labels(name)), None)

    def counts(self, name: str, *labels: str) -> list[tuple[str, int]]:
        """What was counted, by the values of these labels joined with a blank, most first; without what is 0."""
        added: dict[str, int] = defaultdict(int)
        for of, value in self.by_labels(name):
            added[" ".join(of[label] for label in labels)] += int(value)
        return sorted(((key, count) for key, count in added.items() if count), key=lambda one: (-one[1], one[0]))


@dataclass(frozen=True, slots=True)
class _Told:
    """What a process tells of itself: the document of `/readyz`, and `/metrics`."""

    url: str
    readiness: Mapping[str, Any]
    metrics: _Metrics

    @property
    def began_at(self) -> datetime | None:
        """When the process began; None where its operating system does not tell."""
        return _moment(self.metrics.value("process_start_time_seconds"))


def _asked(settings: Settings, *, is_ours: bool) -> _Told | Check:
    """What the process that serves tells; or why it does not.

    Args:
        settings: where it serves, unless the owner of an embedded store has left word where it does; and its token.
        is_ours: is the store embedded in this process, so that nobody serves it.
    """
    path, web = settings.store.embedded_path, settings.web
    if path is not None:
        address = None if is_ours else read_gateway_address(path)
        if address is None or address.web_url is None:
            return Check(
                "process",
                State.TROUBLE,
                f"no process serves the store in {path}: nothing is taken in, found or told",
                "start `tailsight serve`",
            )
        return _answers(address.web_url, settings, State.TROUBLE)
    if web.port == 0:
        says = "web.port is 0, so where `tailsight serve` listens is not known"
        return Check("process", State.WARNING, says, "set web.port to ask the process as well")
    # The store of a server may be served from another machine.
    return _answers(local_url(web.host, web.port), settings, State.WARNING)


def _answers(url: str, settings: Settings, absent: State) -> _Told | Check:
    """What answers at a URL; `absent` is how it stands when nothing does."""
    token = settings.auth.token
    headers = [] if token is None else [(b"authorization", b"Bearer " + token.get_secret_value().encode())]
    # Without the proxy that the environment may name: it must not be shown the token.
    with httpx.Client(base_url=url, headers=headers, timeout=_ANSWER_S, trust_env=False) as client:
        try:
            ready, metrics = client.get("/readyz"), client.get("/metrics")
            readiness = ready.json() if ready.status_code in (200, 503) else {}
        except httpx.TimeoutException:
            says = f"what listens at {url} does not answer within {_ANSWER_S:.0f} s"
            return Check("process", State.TROUBLE, says, "look at its log; if it hangs, start `tailsight serve` anew")
        except httpx.TransportError as error:
            do = "start `tailsight serve`"
            if absent is State.WARNING:
                do += ", or ask on the machine that it runs on (web.host, web.port)"
            return Check("process", absent, f"nobody answers at {url}: {error}", do)
        except ValueError:
            readiness = {}
    if not isinstance(readiness, dict) or "ready" not in readiness:
        says = f"what answers at {url} is no Tailsight: HTTP {ready.status_code} for /readyz"
        return Check("process", State.TROUBLE, says, "set web.host and web.port to where `tailsight serve` listens")
    if metrics.status_code != 200:
        says = f"the process at {url} does not show its metrics: HTTP {metrics.status_code}"
        do = "ask with the configuration and the token of that process (--config, auth.token_file)"
        return Check("process", State.TROUBLE, says, do)
    return _Told(url, readiness, _Metrics(metrics.text))


def _of_process(told: _Told, settings: Settings, now: datetime) -> Iterator[Check]:
    yield _running(told, now)
    for check in told.readiness["checks"]:
        if not check["ok"] and check["name"] != "loader":
            yield Check("ready", State.TROUBLE, f"{check['name']}: {check['detail']}", "look at the store and its disk")
    yield _analysis(told, settings, now)
    yield _loading(told)
    for loss in _LOSSES:
        yield _lost(loss, told.metrics, _since(told.began_at, now))
    yield _targets(told.metrics, now)
    yield _alert_sources(told, settings, now)
    yield from _alertmanagers(told.metrics)
    yield _dead_letters(told.metrics)
    yield _upkeep(told, settings, now)


def _running(told: _Told, now: datetime) -> Check:
    own = version("tailsight")
    runs = next((labels["version"] for labels, _ in told.metrics.by_labels("tailsight_build_info")), "unknown")
    says = f"answers at {told.url}: version {runs}, began {_ago(told.began_at, now)}"
    if runs == own:
        return Check("process", State.FINE, says)
    return Check("process", State.WARNING, f"{says}; this command is {own}", "start `tailsight serve` anew")


def _analysis(told: _Told, settings: Settings, now: datetime) -> Check:
    newest = told.readiness["newest_look_at"]
    newest_at = from_rfc3339(newest) if newest is not None else None
    says = f"looked {_ago(newest_at, now)}" if newest_at is not None else "has not looked yet"
    if not _is_over(newest_at or told.began_at or now, settings.analytics.interval_s, now):
        return Check("analysis", State.FINE, says)
    do = "the log says why: mostly the store does not answer. Nothing new is found or told"
    return Check("analysis", State.TROUBLE, f"no look goes well: {says}", do)


def _loading(told: _Told) -> Check:
    waits_bytes = told.metrics.value("tailsight_collector_wal_backlog_bytes") or 0.0
    loader = next((check for check in told.readiness["checks"] if check["name"] == "loader"), None)
    says = f"{loader['detail'] if loader else 'no loader runs'}; {waits_bytes / 2**20:.1f} MiB of the log wait"
    if loader is None or loader["ok"]:
        return Check("loading", State.FINE, says)
    failures = told.metrics.counts("tailsight_collector_load_failures_total", "signal", "error")
    failed = f". Loads that failed: {_listed(failures)}" if failures else ""
    do = "look at the store, its disk and the log of the process; nothing acknowledged is lost"
    return Check("loading", State.TROUBLE, says + failed, do)


@dataclass(frozen=True, slots=True)
class _Loss:
    """Something that did not come in, and the counter that tells of it by these labels. `do` may be by reason."""

    name: str
    metric: str
    labels: tuple[str, ...]
    what: str
    do: str | Mapping[str, str]

    def advice(self, reasons: Iterable[str]) -> str:
        """What to do about these reasons."""
        if isinstance(self.do, str):
            return self.do
        return "; ".join(f"{reason}: {self.do[reason]}" for reason in dict.fromkeys(reasons) if reason in self.do)


_COLLECTOR = "tailsight_collector_"
# As docs/operate.md says at more length.
_REFUSED = {
    "backlog_full": "the log is full: see `loading` and `disk`",
    "overloaded": "a burst passes; else send smaller batches, or raise collector.in_flight_bytes_max",
    "log_unavailable": "look at the disk of the log; the log of the process has the error",
    "stalled": "look at the network, and send smaller batches",
    "disconnected": "look at the time-out of the sender",
    "unauthenticated": "give the sender the token",
    "undecodable": "mend the sender",
    "unsupported": "mend the sender",
    "too_large": "send smaller batches",
    "internal": "a defect: the log of the process says why; please report it",
}
_LOSSES = (
    _Loss(
        "refused",
        _COLLECTOR + "refused_requests_total",
        ("signal", "reason"),
        "requests of senders were refused",
        _REFUSED,
    ),
    _Loss(
        "rejected",
        _COLLECTOR + "rejected_items_total",
        ("signal", "reason"),
        "items were taken out of requests",
        "mend the clock of the sender, or widen collector.accepted_times",
    ),
    _Loss(
        "dropped",
        _COLLECTOR + "dropped_samples_total",
        ("job", "reason"),
        "scraped samples were left out",
        "docs/sources says what each reason means; mend it at the exporter",
    ),
    _Loss(
        "without samples",
        _COLLECTOR + "points_without_samples_total",
        ("reason",),
        "points are kept as they came, and no samples were made of them",
        "of deltas no rate is told: let the sender count up (cumulative sums, docs/sources/otlp.md)",
    ),
    _Loss(
        "quarantined",
        _COLLECTOR + "quarantined_items_total",
        ("table", "reason"),
        "items could not be decoded, and are in tailsight_quarantine,",
        "the page Data shows them; please report it. All else of their requests is stored",
    ),
    _Loss(
        "damaged",
        _COLLECTOR + "wal_damaged_bytes_total",
        ("signal",),
        "bytes of the log were no whole frame",
        "after a crash that is its end, which nobody was told is taken; without one, look at the disk",
    ),
    _Loss(
        "discovery",
        _COLLECTOR + "discovery_failures_total",
        ("job", "reason"),
        "files, pods or answers told of no target",
        "the log says which. Of Kubernetes: may the service account list and watch pods?",
    ),
)


# Reasons to leave out what is no measurement, or is none that we keep; every exporter has some (docs/sources).
_AS_IT_SHOULD_BE = {"created", "exemplar", "nan", "not_available", "sentinel"}


def _lost(loss: _Loss, metrics: _Metrics, since: str) -> Check:
    counts = [
        (of, count) for of, count in metrics.counts(loss.metric, *loss.labels) if _last_word(of) not in _AS_IT_SHOULD_BE
    ]
    if not counts:
        return Check(loss.name, State.FINE, f"nothing{since}")
    do = loss.advice(_last_word(of) for of, _ in counts)
    return Check(loss.name, State.WARNING, f"{loss.what}{since}: {_listed(counts)}", do)


def _last_word(of: str) -> str:
    """The reason, which is the last label wherever there is one."""
    return of.rpartition(" ")[2]


def _targets(metrics: _Metrics, now: datetime) -> Check:
    """Of those that the process scrapes itself."""
    scraped = sum(int(count) for _, count in metrics.by_labels(_COLLECTOR + "scrape_targets"))
    down = [
        f"{labels['job']} {labels['target']} ({labels['result']}, {_age(datetime.fromtimestamp(since, UTC), now)})"
        for labels, since in metrics.by_labels(_COLLECTOR + "scrape_target_down_since_timestamp_seconds")
    ]
    if not down:
        return Check("targets", State.FINE, f"{scraped:,} are scraped, none is down")
    do = "does the exporter run, and can it be reached from here? not_logged: see `loading` and `disk`"
    return Check("targets", State.TROUBLE, f"{len(down):,} of {scraped:,} down: {_some(down)}", do)


def _alert_sources(told: _Told, settings: Settings, now: datetime) -> Check:
    failures = dict(told.metrics.counts("tailsight_alert_sources_failed_total", "source"))
    if not failures:
        return Check("alert sources", State.FINE, "each could be asked")
    newest = {
        labels["source"]: _moment(value)
        for labels, value in told.metrics.by_labels("tailsight_alert_sources_failed_timestamp_seconds")
    }
    listed = ", ".join(f"{one} {count:,} times, last {_ago(newest.get(one), now)}" for one, count in failures.items())
    if not all(_is_over(newest.get(one) or now, settings.analytics.interval_s, now) for one in failures):
        do = "the log says alerts_failed and why. What fired of it stays up, nothing new of it is told"
        return Check("alert sources", State.TROUBLE, f"could not be asked: {listed}", do)
    return Check("alert sources", State.WARNING, f"could once not be asked: {listed}", "the log says alerts_failed")


def _alertmanagers(metrics: _Metrics) -> Iterator[Check]:
    """One check for each that was posted to."""
    posts: dict[str, dict[str, float]] = defaultdict(dict)
    for labels, count in metrics.by_labels("tailsight_alertmanager_pushes_total"):
        posts[labels["url"]][labels["outcome"]] = count
    for url, by_outcome in posts.items():
        failed, done = by_outcome.get("failed", 0.0), by_outcome.get("done", 0.0)
        name, says = f"Alertmanager {url}", f"took {done:,.0f} of {done + failed:,.0f} posts"
        do = "the log says alertmanager_not_reached and why"
        if not failed:
            yield Check(name, State.FINE, says)
        else:
            yield Check(name, State.WARNING if done else State.TROUBLE, says, do)


def _dead_letters(metrics: _Metrics) -> Check:
    letters = metrics.counts("tailsight_notification_dead_letters", "receiver")
    if not letters:
        return Check("notifications", State.FINE, "none is undelivered")
    do = "the page Alerts says what each receiver answered; what fires is told with the next flush, what is over is not"
    return Check("notifications", State.TROUBLE, f"not taken, by receiver: {_listed(letters)}", do)


def _upkeep(told: _Told, settings: Settings, now: datetime) -> Check:
    """Of each part, and of catching up with tables of others: has it failed, and not gone well since.

    One that has not failed may take long.
    """
    metrics, failed = told.metrics, {}
    for labels, count in metrics.by_labels("tailsight_upkeep_runs_total"):
        if labels["outcome"] == "failed" and count:
            failed[labels["part"]] = settings.store.retention.interval_s
    newest = {
        labels["part"]: _moment(value)
        for labels, value in metrics.by_labels("tailsight_upkeep_last_success_timestamp_seconds")
    }
    if dict(metrics.counts("tailsight_catch_up_looks_total", "outcome")).get("failed"):
        failed["catching up"] = settings.store.catch_up.interval_s
        newest["catching up"] = _moment(metrics.value("tailsight_catch_up_last_success_timestamp_seconds"))
    late = [
        f"{part} (went well {_ago(newest[part], now)})" if newest.get(part) else f"{part} (never went well)"
        for part, interval_s in failed.items()
        if _is_over(newest.get(part) or told.began_at or now, interval_s, now)
    ]
    if not late:
        return Check("upkeep", State.FINE, "each part goes well")
    do = "the log says which failed, and why; mostly the store does not answer"
    return Check("upkeep", State.TROUBLE, f"fails: {', '.join(late)}", do)


# -- the store ---------------------------------------------------------------------------------------------------------


def _of_store(store: Store, metrics: _Metrics, settings: Settings, now: datetime) -> Iterator[Check]:
    yield Check("store", State.FINE, f"{shown(settings.store.url)} answers")
    for table in sources(store):
        kind = "attributes as JSON" if table.dialect.json else "attributes as maps"
        says = f"reads {table.signal} from {table.name}, {kind}; made by others, left as it is"
        yield Check(f"table of {table.signal}", State.FINE, says)
    for source, newest in read_freshness(store, now).items():
        yield _newest(source, newest, settings, now)
    yield _senders(read_sources(store, Window(now - _SOURCES, now)), metrics, now)
    yield _traffic(store, now)
    yield _objectives(store, settings, now)
    excesses = find_excesses(store, settings.collector.cardinality, now)
    for excess in excesses:
        name = f"series of {excess.of}" if excess.metric else f"{excess.label} of {excess.of}"
        yield Check(name, State.TROUBLE, str(excess), 'docs/operate.md, "Too many series", says how')
    if not excesses:
        yield Check("series", State.FINE, "no metric has too many")
    yield from kept(store, settings, is_full=bool(metrics.value("tailsight_disk_full")))


def _newest(source: str, newest: datetime | None, settings: Settings, now: datetime) -> Check:
    if newest is not None and now - newest <= LATE_AFTER:
        return Check(f"newest {source}", State.FINE, f"newest of {source}: {_age(newest, now)} old")
    age = f"none in the last {FRESHNESS_DAYS[-1]} days" if newest is None else f"{_age(newest, now)} old"
    do = {
        "requests": f"send OTLP spans of requests to {settings.dashboards.otlp_http_url}; docs/sources/otlp.md",
        "samples": "name exporters (collector.scrape), or send metrics over OTLP; docs/sources",
    }[source]
    return Check(f"newest {source}", State.TROUBLE, f"newest of {source}: {age}", do)


def _senders(found: pl.DataFrame, metrics: _Metrics, now: datetime) -> Check:
    """Who sends metrics: which targets of others (a Collector's) are down, and which jobs stand that sent of late.

    `found` is that of `read_sources`. Our own targets are told by the process that scrapes them.
    """
    own = [labels["job"] for labels, count in metrics.by_labels(_COLLECTOR + "scrape_targets") if count]
    jobs = found.filter((pl.col("kind") == "metrics") & ~pl.col("name").is_in(own))
    down = [f"{job} {instance}" for job, instance in jobs.filter(pl.col("up") == 0).select("name", "instance").rows()]
    newest = jobs.group_by("name", maintain_order=True).agg(pl.col("newest").max())
    standing = [
        f"{job} (last {_ago(last, now)})" for job, last in newest.filter(pl.col("newest") < now - LATE_AFTER).rows()
    ]
    if down:
        do = "does the exporter run, and can it be reached from where it is scraped?"
        return Check("metrics", State.TROUBLE, f"{len(down):,} down: {_some(down)}", do)
    if standing:
        do = "mend the exporter or the sender; a job that is gone for good is forgotten a day later"
        return Check("metrics", State.WARNING, f"nothing comes any more from {_some(standing)}", do)
    return Check("metrics", State.FINE, f"{newest.height:,} jobs are sent by others, none stands")


def _traffic(store: Store, now: datetime) -> Check:
    stopped = stopped_services(store, now)
    if not stopped:
        return Check("traffic", State.FINE, "no service that always has requests has none")
    names = [f"{one.service} (last {_ago(one.last_at, now)})" for one in stopped]
    do = "is the service down, or its way here? docs/alerts.md, TailsightTrafficStopped"
    return Check("traffic", State.TROUBLE, f"always had requests and has none: {_some(names)}", do)


def _objectives(store: Store, settings: Settings, now: datetime) -> Check:
    objectives = standing_objectives(store, settings.promised, now)
    missing = services_without_objective(store, objectives, now)
    if not missing:
        return Check("objectives", State.FINE, f"{len(objectives):,}; no service with requests is without")
    return Check(
        "objectives", State.WARNING, without_objective_words(missing), "promise something of them: docs/slos.md"
    )


def kept(store: Store, settings: Settings, *, is_full: bool = False) -> Iterator[Check]:
    """How long each family of tables is kept and what it holds now; of an embedded store how full its disk is, too.

    `is_full`: nothing was left to drop, so senders are refused. A server's disk is its own to watch.
    """
    days = read_days(store)
    for family in Family:
        own = [day for day in days if day.family is family]
        held = "none yet"
        if own:
            held = f"since {min(day.day for day in own)}, {sum(day.size_bytes for day in own) / 1e6:,.1f} MB"
        kept_days = settings.store.retention.days_by_family[family.value]
        yield Check(f"kept {family}", State.FINE, f"{family} kept for {kept_days} days: {held}")
    path, allowed = settings.store.embedded_path, settings.store.retention.disk_full_ratio
    if path is None:
        return
    used = disk_of(path).used_ratio
    says = f"disk {used:.1%} full; over {allowed:.0%} the oldest days go"
    do = "keep less (store.retention), or give the store a larger disk"
    if is_full:
        larger = (
            "give it a larger disk, or raise store.retention.disk_full_ratio and restart: keeping less frees nothing"
        )
        yield Check("disk", State.TROUBLE, f"{says}; none is left to go, and senders are refused", larger)
    elif used > allowed:
        yield Check("disk", State.WARNING, says, do)
    else:
        yield Check("disk", State.FINE, says)


# -- words -------------------------------------------------------------------------------------------------------------


def _moment(seconds: float | None) -> datetime | None:
    """A time at /metrics; None before there is one."""
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _is_over(moment: datetime, interval_s: float, now: datetime) -> bool:
    """Was it longer ago than what is done at each interval may be missing."""
    return Looks(moment, interval_s).are_overdue(now)


def _age(moment: datetime, now: datetime) -> str:
    return duration_text(max(0.0, 1e3 * (now - moment).total_seconds()))


def _ago(moment: datetime | None, now: datetime) -> str:
    return "at a time that is not known" if moment is None else f"{_age(moment, now)} ago"


def _since(began_at: datetime | None, now: datetime) -> str:
    return "" if began_at is None else f" since it began {_age(began_at, now)} ago"


def _listed(counts: Sequence[tuple[str, int]]) -> str:
    return _some([f"{of} {count:,}" for of, count in counts])


def _some(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - _NAMED_MAX:,} more" if len(names) > _NAMED_MAX else ""
    return ", ".join(names[:_NAMED_MAX]) + more
