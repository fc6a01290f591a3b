"""All settings, composed from their owners and read once: a YAML file, then the environment over it.

Every key is also an environment variable: TAILSIGHT_COLLECTOR__OTLP_HTTP__PORT=4319. TAILSIGHT_STORE alone names the
store's URL. A relative path in the file is one of the file's folder; one in a variable is one of the working directory.
"""

import glob
import itertools
import math
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from alerts.announce import announces
from alerts.settings import AlertsSettings
from alerts.settings_faults import explained, models_in, type_at
from analytics.cost.focus import FocusAccount
from analytics.cost.jobs import Pricing
from analytics.cost.latency_value import Elasticity, ServiceValue
from analytics.cost.price_book import PriceBook, read_price_book, shipped_prices
from analytics.cost.runaway import Budget, Period
from analytics.cost.spot import OUTAGE_S, InterruptibleWork
from analytics.jobs.explaining import AnalyzeSettings
from analytics.knowledge import Knowledge, shipped_knowledge
from analytics.slo_windows import periods_of
from analytics.spikes import SpikeSettings
from analytics.yaml_text import read_yaml, told_without_values
from api.settings import ApiSettings, AuthSettings
from collector.settings import CollectorSettings
from dashboards.settings import DashboardSettings
from domain.address import http_url, is_http, is_loopback, is_of_this_machine, shown
from domain.cost import PriceMode
from domain.incident import Indicator
from domain.slo import Objective
from reports.settings import ReportsSettings
from storage.settings import StoreSettings
from tailsight.errors import SettingsError
from tailsight.knowledge import read_own_knowledge
from tailsight.slo_files import read_objectives

_PREFIX = "TAILSIGHT_"


class WebSettings(BaseModel):
    """The port of the pages and the API."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="address to listen on; beyond loopback only with auth.token")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    public_url: str | None = Field(
        None, description="where people reach the pages, e.g. behind a reverse proxy; for links in alerts, too"
    )

    @field_validator("public_url")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        if url is not None and not is_http(url):
            raise ValueError(f"{shown(url)!r} is no URL; write http(s)://HOST")
        return url

    @property
    def url(self) -> str:
        """Where the pages are reached, as far as it is told here: `serve` knows which port it was given."""
        return self.public_url or http_url(self.host, self.port)


class AnalyticsSettings(BaseModel):
    """How often and how far back spikes are looked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    interval_s: float = Field(30, gt=0, description="seconds from one look to the next")
    step_s: int = Field(15, ge=1, le=3600, description="seconds a step of the request rollup")
    history_s: int = Field(7200, ge=10, description="seconds before a moment that say what is usual")
    lookback_s: int = Field(1800, ge=60, description="seconds that each look goes over again")

    @model_validator(mode="after")
    def _history_holds_steps(self) -> "AnalyticsSettings":
        least_s = SpikeSettings().history_buckets_min * self.step_s
        if self.history_s < least_s:
            raise ValueError(f"history_s is {self.history_s}; {self.step_s} s steps need at least {least_s}")
        return self

    def to_job(self, knowledge: Knowledge, pricing: Pricing | None = None) -> AnalyzeSettings:
        """What the job takes; `knowledge` is that of `KnowledgeSettings.known`, `pricing` of `CostSettings.to_job`."""
        return AnalyzeSettings(SpikeSettings(step_s=self.step_s, history_s=self.history_s), knowledge, pricing)


class KnowledgeSettings(BaseModel):
    """Signals and causes of somebody's own, beside those that Tailsight knows. Read once, with the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    signals: Path | None = Field(None, description="YAML of signals of your own (adding-a-cause.md); read at start")
    causes: Path | None = Field(None, description="YAML of causes of your own, in place of ours; read at start")
    _known: Knowledge | None = PrivateAttr(None)

    @field_validator("signals", "causes")
    @classmethod
    def _is_there(cls, file: Path | None) -> Path | None:
        if file is not None and not file.is_file():
            raise ValueError(f"there is no file {file}")
        return file

    @model_validator(mode="after")
    def _can_be_used(self) -> "KnowledgeSettings":
        if self.signals is not None or self.causes is not None:
            self._known = read_own_knowledge(self.signals, self.causes)
        return self

    @property
    def known(self) -> Knowledge:
        """All that is known: what Tailsight knows out of the box, and what the files say."""
        return shipped_knowledge() if self._known is None else self._known


class ObjectiveSettings(BaseModel):
    """One objective; without any, each service gets a first one for availability and for time to first token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="its name, in the API too; no two may share one")
    service: str = Field(min_length=1, description="whose requests")
    indicator: Indicator = Field(description="ttft, latency or errors")
    target_ratio: float = Field(gt=0, lt=1, description="share of requests that are good, e.g. 0.995")
    window_days: int = Field(30, ge=1, le=366, description="days that the error budget is for")
    threshold_ms: float | None = Field(None, gt=0, description="a request is good up to here; for ttft and latency")

    @model_validator(mode="after")
    def _can_be_judged(self) -> "ObjectiveSettings":
        timed = self.indicator in (Indicator.TTFT, Indicator.LATENCY)
        if timed and self.threshold_ms is None:
            raise ValueError(f"an objective of {self.indicator} needs a threshold_ms, e.g. threshold_ms: 800")
        if not timed and self.indicator is not Indicator.ERRORS:
            raise ValueError(
                f"objectives of {self.indicator} are OpenSLO documents (slo.files, docs/slos.md); valid here are ttft, "
                "latency and errors"
            )
        if not timed and self.threshold_ms is not None:
            raise ValueError("an objective of errors takes no threshold_ms: a request fails or it does not")
        return self

    def to_domain(self) -> Objective:
        """The noun."""
        return Objective(**self.model_dump())


class SloSettings(BaseModel):
    """Objectives in files of OpenSLO v1. Read once, with the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[str, ...] = Field(
        (), description="files of OpenSLO documents, or patterns such as slos/*.yaml (slos.md)"
    )
    _objectives: tuple[Objective, ...] = PrivateAttr(())

    @model_validator(mode="after")
    def _can_be_judged(self) -> "SloSettings":
        self._objectives = read_objectives(self.files)
        return self

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What the files promise."""
        return self._objectives


class TopologySettings(BaseModel):
    """The wiring."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path | None = Field(None, description="YAML of nodes, GPUs, ports and switches; read at start")


class FocusAccountSettings(BaseModel):
    """Whose bill it is, in FOCUS."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field("tailsight", min_length=1, description="BillingAccountId of FOCUS rows")
    name: str = Field("GPU fleet", min_length=1, description="BillingAccountName of FOCUS rows")
    provider: str = Field("self-hosted", min_length=1, description="ProviderName where the price book names none")


class BudgetSettings(BaseModel):
    """What may be spent in a month or a week, in all or by one service or tenant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="its name; no two may share one")
    amount_usd: float = Field(gt=0, description="dollars of each period")
    period: Period = Field(Period.MONTH, description="month or week (UTC)")
    service: str | None = Field(None, description="only what this service spends, idle time included")
    tenant: str | None = Field(None, description="only what the requests of this tenant cost")

    def to_domain(self) -> Budget:
        """The noun."""
        return Budget(**self.model_dump())


class SpotSettings(BaseModel):
    """Pools whose work may be interrupted, and what you know of spot for them: advice on spot takes both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pool: str = Field(min_length=1, description="the pools, with * and ?, e.g. batch-*")
    gpu_model: str = Field("*", description="the GPUs that those prices are for, with * and ?, e.g. *H100*")
    prices: tuple[str, ...] = Field(min_length=1, description="prices of mode spot in the price book, one a zone")
    interruptions_per_gpu_hour: tuple[float, float] = Field(description="least and most, e.g. [0.001, 0.01]")
    lost_work_s: float = Field(ge=0, description="work done again after one: half of the time between checkpoints")
    reload_s: float = Field(ge=0, description="from a new node to ready")
    outage_s: tuple[float, float] = Field(OUTAGE_S, description="how long spot then stays out, least and most")
    usd_per_interruption: float = Field(0.0, ge=0, description="of a GPU, beyond its time")

    @model_validator(mode="after")
    def _ranges_are_least_first(self) -> "SpotSettings":
        for name in ("interruptions_per_gpu_hour", "outage_s"):
            low, high = getattr(self, name)
            if not 0 <= low <= high < math.inf:
                raise ValueError(f"{name} is [{low:g}, {high:g}]; expected the least and the most, e.g. [0.001, 0.01]")
        return self

    def to_domain(self) -> InterruptibleWork:
        """The noun."""
        return InterruptibleWork(**self.model_dump())


class LatencyValueSettings(BaseModel):
    """What depends on how soon a service answers; by your own figures, since no public study has any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: str = Field(min_length=1, description="which service")
    indicator: Literal["ttft", "latency"] = Field("ttft", description="the time that it is about: ttft or latency")
    value_usd_per_month: float = Field(gt=0, description="what depends on it: revenue, say")
    lost_ratio_per_100_ms: tuple[float, float] = Field(
        description="the share of that lost by 100 ms more, least and most, e.g. [0.001, 0.004]"
    )
    source: str = Field(min_length=1, description="who says so: your test with slowed users, say")

    @model_validator(mode="after")
    def _is_an_elasticity(self) -> "LatencyValueSettings":
        self.to_domain()
        return self

    def to_domain(self) -> ServiceValue:
        """The noun."""
        elasticity = Elasticity(self.lost_ratio_per_100_ms, self.source)
        return ServiceValue(self.service, Indicator(self.indicator), self.value_usd_per_month, elasticity)


class CostSettings(BaseModel):
    """What GPUs cost, and which of them may stand idle. Read once, with the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    price_book: Path | None = Field(
        None, description="YAML of your prices (cost.md); without it public list prices by the GPU's model"
    )
    warm_replicas: tuple[str, ...] = Field(
        (), description="replicas that stand idle because you want them to: names, with * and ?, e.g. [chat-spare-*]"
    )
    budgets: tuple[BudgetSettings, ...] = ()
    load_s: tuple[float, float] | None = Field(
        None, description="median and 95th percentile of a replica's load time in seconds, for advice on warm pools"
    )
    usd_per_missed_request: float | None = Field(
        None, gt=0, description="what a request that waits for a cold start costs you, for the same"
    )
    spot: tuple[SpotSettings, ...] = ()
    latency_value: tuple[LatencyValueSettings, ...] = ()
    account: FocusAccountSettings = FocusAccountSettings()
    _book: PriceBook | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _can_be_used(self) -> "CostSettings":
        if self.load_s is not None and not 0 < self.load_s[0] <= self.load_s[1]:
            raise ValueError(f"load_s is {list(self.load_s)}; expected a median and a 95th percentile, e.g. [45, 90]")
        names = [budget.name for budget in self.budgets]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"budgets: {', '.join(twice)} stands twice; each needs a name of its own")
        if self.price_book is not None:
            try:
                self._book = read_price_book(self.price_book.read_text())
            except OSError as error:
                raise ValueError(f"price_book: cannot read {self.price_book}: {error.strerror}") from None
            except ValueError as error:
                raise ValueError(f"price_book {self.price_book}: {error}") from None
        book = self._book or shipped_prices()
        of_spot = sorted({price.name for price in book.prices if price.mode is PriceMode.SPOT})
        for name in [name for work in self.spot for name in work.prices if name not in of_spot]:
            raise ValueError(f"spot: no price {name} of mode spot; the price book has {', '.join(of_spot) or 'none'}")
        return self

    def to_job(self) -> Pricing:
        """What the jobs of cost take."""
        account = FocusAccount(self.account.id, self.account.name, self.account.provider)
        budgets = tuple(budget.to_domain() for budget in self.budgets)
        book = self._book or shipped_prices()
        return Pricing(
            book,
            self.warm_replicas,
            budgets,
            self.load_s,
            self.usd_per_missed_request,
            tuple(work.to_domain() for work in self.spot),
            tuple(value.to_domain() for value in self.latency_value),
            account,
        )


class Settings(BaseModel):
    """Everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: StoreSettings = StoreSettings()
    collector: CollectorSettings = CollectorSettings()
    analytics: AnalyticsSettings = AnalyticsSettings()
    knowledge: KnowledgeSettings = KnowledgeSettings()
    web: WebSettings = WebSettings()
    auth: AuthSettings = AuthSettings()
    api: ApiSettings = ApiSettings()
    dashboards: DashboardSettings = DashboardSettings()
    topology: TopologySettings = TopologySettings()
    objectives: tuple[ObjectiveSettings, ...] = ()
    slo: SloSettings = SloSettings()
    alerts: AlertsSettings = AlertsSettings()
    cost: CostSettings = CostSettings()
    reports: ReportsSettings = ReportsSettings()

    @property
    def promised(self) -> tuple[Objective, ...]:
        """The objectives of the configuration, and those of the files that it names."""
        return (*(one.to_domain() for one in self.objectives), *self.slo.objectives)


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of reading settings: all that is wrong with them, and what of them can be used.

    Attributes:
        faults: where, what was found, and what is valid; none where all is well.
        settings: with what is usual in place of each group that cannot be used.
        unusable: those groups: nothing more can be said of them.
        alerting_file: what `alerts.config_file` names, be `alerts` usable or not.
    """

    faults: tuple[str, ...]
    settings: Settings
    unusable: frozenset[str] = frozenset()
    alerting_file: Path | None = None


def read_settings(file: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check all settings.

    Args:
        file: a YAML file; None reads the one that TAILSIGHT_CONFIG names, if any.
        environment: variables; the process's own when None.

    Raises:
        SettingsError: naming each key that cannot be used.
    """
    reading = look_through(file, environment)
    if reading.faults:
        raise SettingsError("\n".join(reading.faults))
    return reading.settings


def look_through(file: Path | None, environment: Mapping[str, str] | None = None) -> Reading:
    """Read all settings as `read_settings` does, and go on after a fault: everything that is wrong is told at once.

    Raises:
        SettingsError: for what is no text of settings.
    """
    variables = dict(os.environ if environment is None else environment)
    config = variables.pop("TAILSIGHT_CONFIG", None)
    document: dict[str, Any] = {}
    source = file or (Path(config) if config else None)
    if source is not None:
        document = _document(source)
        _beside(document, source.absolute().parent)
    for name, value in sorted(variables.items()):
        if name.startswith(_PREFIX) and name not in _NOT_SETTINGS and not _SERVICE_LINK.fullmatch(f"{name}={value}"):
            _put(document, _path_of(name), value)
    _beside(document, Path.cwd())
    alerts = document.get("alerts")
    named = alerts.get("config_file") if isinstance(alerts, dict) else None
    alerting_file = Path(named) if isinstance(named, str) else None
    faults: list[str] = []
    unusable: set[str] = set()
    while (settings := _usable(document, faults, unusable)) is None:
        document = {key: value for key, value in document.items() if str(key) not in unusable}
    try:
        settings = _with_token(settings)
    except SettingsError as error:
        faults.append(str(error))
        unusable.add("auth")
    for groups, misfits in _BETWEEN_GROUPS:
        if unusable.isdisjoint(groups):
            faults += misfits(settings)
    return Reading(tuple(faults), settings, frozenset(unusable), alerting_file)


def _usable(document: dict[str, Any], faults: list[str], unusable: set[str]) -> Settings | None:
    """The settings; None after faults: unknown settings are left out then, and groups of other faults are named."""
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        faults += explained(error, Settings)
        unusable |= {str(fault["loc"][0]) for fault in error.errors() if not _left_out(document, fault)}
        return None


def _left_out(document: dict[str, Any], fault: Any) -> bool:
    """Is a fault a setting that is not known, and left out of the document: what stands beside it may be well."""
    *path, key = fault["loc"]
    if fault["type"] != "extra_forbidden":
        return False
    group: Any = document
    for part in path:
        group = group[part]
    if key not in group:
        return False
    del group[key]
    return True


def _misfits_of_objectives(settings: Settings) -> Iterator[str]:
    names = [objective.name for objective in settings.promised]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield f"objectives: {', '.join(twice)} stands twice; each needs a name of its own"
    kept_days = settings.store.retention.requests_days
    too_long = [one.name for one in settings.promised if max(period.days for period in periods_of(one)) > kept_days]
    if too_long:
        yield (
            f"objectives: {', '.join(too_long)} counts over more days than the {kept_days} that requests are kept; "
            "raise store.retention.requests_days, or shorten window_days"
        )


def _misfits_of_targets(settings: Settings) -> Iterator[str]:
    urls = [target.url for target in settings.collector.scrape.targets]
    twice = sorted({url for url in urls if urls.count(url) > 1})
    if twice:
        yield f"collector.scrape.targets: {', '.join(map(shown, twice))} stands twice, and would count twice"


def _misfits_of_ports(settings: Settings) -> Iterator[str]:
    for (one, one_port), (other, other_port) in itertools.combinations(_doors(settings, "port").items(), 2):
        if one_port == other_port != 0:
            yield f"{one} and {other} are both {one_port}; choose two"


def _misfits_of_reports(settings: Settings) -> Iterator[str]:
    known = settings.alerts.config.receivers
    for name in settings.reports.weekly.receivers:
        if name not in known:
            names = ", ".join(known)
            yield f"reports.weekly.receivers: there is no receiver {name!r} in alerts.config_file; known are {names}"
        elif not any(announces(integration) for integration in known[name]):
            yield (
                f"reports.weekly.receivers: {name!r} has nothing that takes a report (PagerDuty would wake "
                "somebody). Name one with email, slack, msteamsv2, webhook or apprise"
            )


def _misfits_of_topology(settings: Settings) -> Iterator[str]:
    file = settings.topology.file
    if file is not None and not file.is_file():
        yield f"topology.file: there is no file {file}"


_BETWEEN_GROUPS: tuple[tuple[tuple[str, ...], Callable[[Settings], Iterator[str]]], ...] = (
    (("objectives", "slo", "store"), _misfits_of_objectives),
    (("collector",), _misfits_of_targets),
    (("collector", "web"), _misfits_of_ports),
    (("alerts", "reports"), _misfits_of_reports),
    (("topology",), _misfits_of_topology),
)
"""The groups that have to be well, and what is wrong between them."""


def listens_openly(settings: Settings) -> str | None:
    """Why this configuration must not be served: an address beyond loopback without a token; None when it may."""
    if settings.auth.token is not None:
        return None
    for key, host in _doors(settings, "host").items():
        if not is_loopback(host):
            return (
                f"{key} is {host}, which others can reach, and no token is set. Set one (TAILSIGHT_AUTH__TOKEN, or "
                f"auth.token_file: a file that holds it), or listen on 127.0.0.1"
            )
    return None


def links_of_this_machine(settings: Settings) -> str | None:
    """Why links in alerts lead nobody here: alerts are told, and no address of ours is set; None when fine."""
    alerts, web = settings.alerts, settings.web
    is_told = bool(alerts.alertmanagers) or any(alerts.config.receivers.values())
    if not is_told or web.public_url is not None or not is_of_this_machine(web.host):
        return None
    return (
        f"alerts are told, and web.public_url is not set: links in them lead to {web.url}, which "
        "leads here on this machine only. Set it to where people reach the pages"
    )


def _doors(settings: Settings, field: str) -> dict[str, Any]:
    """A field of each door by its key."""
    collector = settings.collector
    return {
        f"web.{field}": getattr(settings.web, field),
        f"collector.otlp_http.{field}": getattr(collector.otlp_http, field),
        f"collector.otlp_grpc.{field}": getattr(collector.otlp_grpc, field),
    }


# Read by others: the tests, and the Makefile.
_NOT_SETTINGS = {
    "TAILSIGHT_FAULT_ROUNDS",
    "TAILSIGHT_TEST_STORE",
    "TAILSIGHT_REQUIRE_BROWSER",
    "TAILSIGHT_REQUIRE_NODE_SDK",
    "TAILSIGHT_REQUIRE_IBSIM",
    "TAILSIGHT_REQUIRE_ALERTMANAGER",
}

# Kubernetes tells every pod of the services beside it, so also of one that is called tailsight or tailsight-…:
# https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
_SERVICE_LINK = re.compile(
    r"TAILSIGHT(_[A-Z0-9]+)*_(SERVICE_HOST=.*|SERVICE_PORT(_[A-Z0-9_]+)?=\d+|PORT=(tcp|udp|sctp)://.*"
    r"|PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?=.*)"
)


def _document(file: Path) -> dict[str, Any]:
    try:
        document = read_yaml(file.read_text()) or {}
    except OSError as error:
        raise SettingsError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file} is no text in UTF-8: {error}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{file} {told_without_values(error)}") from None
    if not isinstance(document, dict):
        raise SettingsError(f"{file} holds {type(document).__name__}; expected a mapping of settings")
    if isinstance(document.get("store"), str):
        document["store"] = {"url": document["store"]}
    return document


# Read with the settings, so found by where these stand and not by where somebody starts us.
_FILES = (
    ("alerts", "config_file"),
    ("auth", "token_file"),
    ("cost", "price_book"),
    ("knowledge", "causes"),
    ("knowledge", "signals"),
    ("slo", "files"),
    ("topology", "file"),
)


def _beside(document: dict[str, Any], folder: Path) -> None:
    """Make the relative paths of files that are named so far those of a folder."""
    for group, key in _FILES:
        inner = document.get(group)
        if not isinstance(inner, dict):
            continue
        named = inner.get(key)
        if isinstance(named, str) and named:
            inner[key] = str(folder / named)
        elif isinstance(named, list):
            inner[key] = [str(Path(glob.escape(str(folder))) / one) if isinstance(one, str) else one for one in named]


def _path_of(variable: str) -> list[str]:
    path = variable.removeprefix(_PREFIX).lower().split("__")
    return ["store", "url"] if path == ["store"] else path


def _put(document: dict[str, Any], path: list[str], value: str) -> None:
    place = document
    for key in path[:-1]:
        inner = place.setdefault(key, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"{_PREFIX}{'__'.join(path).upper()}: {key} is not a group of settings")
        place = inner
    # A list or a mapping is written as YAML; numbers and Booleans are read by the setting's own type, and a text or a
    # secret may begin as it likes.
    is_yaml = value[:1] in ("[", "{") and _holds_more(type_at(Settings, path))
    try:
        place[path[-1]] = read_yaml(value) if is_yaml else value
    except yaml.YAMLError as error:
        raise SettingsError(f"{_PREFIX}{'__'.join(path).upper()} {told_without_values(error)}") from None


def _with_token(settings: Settings) -> Settings:
    """The settings with the token read from its file."""
    file = settings.auth.token_file
    if file is None:
        return settings
    try:
        token = file.read_text().strip()
    except OSError as error:
        raise SettingsError(f"auth.token_file: cannot read {file}: {error.strerror}") from None
    if not token:
        raise SettingsError(f"auth.token_file: {file} is empty; expected the token")
    return settings.model_copy(update={"auth": settings.auth.model_copy(update={"token": SecretStr(token)})})


def _holds_more(kind: Any) -> bool:
    """May a setting of this type be a list or a mapping."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return any(map(_holds_more, get_args(kind)))
    return bool(models_in(kind)) or (isinstance(origin, type) and issubclass(origin, Collection))
