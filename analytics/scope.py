"""Scope: which requests are slow, where their time went, and whose they are."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import scipy
from numpy.typing import NDArray

from analytics.request_times import tpot_ms
from analytics.robust import binomial_dispersion
from domain.entity import EntityKind
from domain.incident import Indicator
from domain.window import Window

DIMENSIONS: Mapping[EntityKind, str] = {
    EntityKind.REPLICA: "replica",
    EntityKind.VERSION: "version",
    EntityKind.TENANT: "tenant",
    EntityKind.NODE: "node",
}
"""Whose requests are told apart, and by which column."""


@dataclass(frozen=True, slots=True)
class Share:
    """What of the excess and of the requests lies on one value of a dimension; ratios of the whole service.

    `usual_traffic_ratio` is its share of the requests in usual time; `rise_ms` how much longer its mean request took
    than its work would have taken in usual time, `sigmas` that rise over its standard error.
    """

    excess_ratio: float
    traffic_ratio: float
    usual_traffic_ratio: float
    failures_ratio: float
    rise_ms: float
    sigmas: float


@dataclass(frozen=True, slots=True)
class Scope:
    """Who was slow in a spike, in milliseconds above usual.

    A request is slow when it took longer than 99 % of usual ones (`slow_over_ms`) or failed; `slow_by_chance` is the
    probability of as many slow ones in usual time, as far as that is known and as slow ones come in bursts there. Both
    are None without usual time to compare with. `usual_worst_ratio` is the greatest share of slow requests in a
    stretch of usual time as long.

    `excess_ms` is by how much the mean request took longer; `shares` tells whose that is, `stage_excess_ms` where in a
    mean request it was spent (`STAGES`), `upstream_ratio` how much of it in each called service. `added_tokens_ratio`
    is each tenant's share of the work that longer prompts and answers brought; `beside_ratio` is the share of each
    version's requests that came while another version served too; `lost` are replicas that serve no more. `lasted_s` is
    how long the spike was.
    """

    slow_over_ms: float | None
    slow_count: int
    slow_ratio: float
    slow_by_chance: float | None
    tenants_count: int | None
    excess_ms: float
    shares: Mapping[EntityKind, Mapping[str, Share]]
    stage_excess_ms: Mapping[str, float]
    exemplar_trace_ids: tuple[str, ...]
    added_tokens_ratio: Mapping[str, float] = field(default_factory=dict)
    upstream_ratio: Mapping[str, float] = field(default_factory=dict)
    replicas_of_version: Mapping[str, frozenset[str]] = field(default_factory=dict)
    usual_worst_ratio: float = 0.0
    lost: frozenset[str] = frozenset()
    beside_ratio: Mapping[str, float] = field(default_factory=dict)
    lasted_s: float = 0.0

    @property
    def is_unusual(self) -> bool:
        """As of `Slowness`."""
        return _is_beyond(self, _CHANCE_MAX)

    @property
    def is_notable(self) -> bool:
        """As of `Slowness`."""
        return _is_beyond(self, _CHANCE_NOTED)

    @property
    def may_be_burst(self) -> bool:
        """Could arrivals that happened to come close together have brought it: waiting, and not that much of it.

        Two hours of usual time do not hold the worst burst of a month. So where nothing else explains what waits in
        the queue, it is an incident only well beyond them: how far falls with the time that it lasts, as the mean of so
        many bursts, one after the other, varies by the root of their number.
        """
        added = sum(excess_ms for excess_ms in self.stage_excess_ms.values() if excess_ms > 0)
        waits = self.stage_excess_ms.get("queue_ms", 0.0) > added / 2
        bursts = max(1.0, self.lasted_s / _BURST_S)
        beyond = _WORSE_THAN_WORST + (_BEYOND_BURSTS - _WORSE_THAN_WORST) / math.sqrt(bursts)
        return waits and self.slow_ratio <= beyond * self.usual_worst_ratio

    def evenness(self, version: str) -> float:
        """How evenly a version's excess lies on its replicas: 1 when as its traffic does, towards 0 on one of many."""
        own = [self.replicas[name] for name in self.replicas_of_version.get(version, ()) if name in self.replicas]
        excess, traffic = sum(share.excess_ratio for share in own), sum(share.traffic_ratio for share in own)
        if not excess or not traffic:
            return 1.0
        return 1.0 - sum(max(0.0, share.excess_ratio / excess - share.traffic_ratio / traffic) for share in own)

    @property
    def is_spent_within(self) -> bool:
        """Was the added time spent in the service itself, and what is left of it nobody's incident.

        Beside a queue of half a minute, seven seconds in a called service are a small share, and a cause all the same:
        what is left counts where it adds to the mean request half of what 99 % of usual ones take.
        """
        told = sum(max(0.0, self.stage_excess_ms.get(stage, 0.0)) for stage in _OWN_STAGES)
        left_ms = self.excess_ms - told
        return 0 < self.excess_ms < told / _OWN_MOST and left_ms <= _LEFT_MIN * (self.slow_over_ms or math.inf)

    @property
    def work_ratio(self) -> float:
        """What of the added time in a mean request is longer prompts and answers at the usual pace, 0-1."""
        added = sum(excess_ms for excess_ms in self.stage_excess_ms.values() if excess_ms > 0)
        work = sum(max(0.0, self.stage_excess_ms.get(stage, 0.0)) for stage in ("prompt_ms", "answer_ms"))
        return work / added if added > 0 else 0.0

    @property
    def replicas(self) -> Mapping[str, Share]:
        """The shares of the replicas."""
        return self.shares.get(EntityKind.REPLICA, {})

    def concentration(self, kind: EntityKind = EntityKind.REPLICA) -> float:
        """How far the excess gathers on few of a kind: 0 when it lies as the traffic does, towards 1 on one of many."""
        return sum(max(0.0, share.excess_ratio - share.traffic_ratio) for share in self.shares.get(kind, {}).values())


@dataclass(frozen=True, slots=True)
class Slowness:
    """How many were slow or failed in a spike; the first part of its `Scope`, and told without the rest of it."""

    slow_over_ms: float | None
    slow_count: int
    slow_ratio: float
    slow_by_chance: float | None
    usual_worst_ratio: float

    @property
    def is_unusual(self) -> bool:
        """Are there more slow requests than chance allows, and clearly more than in any stretch of usual time as long.

        A percentile of few requests jumps by itself. Where slow requests come in bursts, as in a queue that is often
        nearly full, a burst is no incident.
        """
        return _is_beyond(self, _CHANCE_MAX)

    @property
    def is_notable(self) -> bool:
        """Are there so many slow requests that it is worth a look whether something plainly explains them.

        Among all stretches of a month chance brings some of these, so by themselves they are no incident. With a
        fault in the same minutes on what served them they are one.
        """
        return _is_beyond(self, _CHANCE_NOTED)


def _is_beyond(found: "Scope | Slowness", chance_max: float) -> bool:
    if found.slow_by_chance is None or found.slow_by_chance > chance_max:
        return False
    return found.slow_ratio > max(_SLOW_MIN, _WORSE_THAN_WORST * found.usual_worst_ratio)


_CHANCE_MAX = 1e-6
_CHANCE_NOTED = 1e-4
_WORSE_THAN_WORST = 1.75
_BEYOND_BURSTS = 3.0  # times the worst stretch of usual time: no single coincidence of arrivals reaches that
_BURST_S = 60.0  # about as long a queue that chance has filled takes to drain
_OWN_STAGES = ("queue_ms", "prompt_ms", "prefill_ms", "answer_ms", "decode_ms")
_OWN_MOST = 0.8
_LEFT_MIN = 0.5
_SLOW_MIN = 0.025  # of the requests; fewer are nobody's incident, however rare
_STEP_US = 15_000_000
_STRETCHES_MIN = 10  # of usual time; fewer do not tell how counts vary
_TOKENS_MIN = 16  # a time per token of fewer means little
_SEVERAL = 8  # fewer requests than this have no mean to speak of

STAGES: Mapping[str, str] = {
    "queue_ms": "in the queue",
    "upstream_ms": "in called services",
    "transfer_ms": "before the first token, outside queue and prefill",
    "prompt_ms": "in prefill, for longer prompts",
    "prefill_ms": "in slower prefill",
    "answer_ms": "in decode, for longer answers",
    "decode_ms": "in slower decode",
}
"""Where the time of a request goes, in words."""


def stage_split(requests: pl.DataFrame) -> pl.DataFrame:
    """Add two columns, null where unknown.

    `transfer_ms` is what of the time to first token is neither queue nor prefill, `tpot_ms` the time per output token
    of answers that were long enough.
    """
    transfer = pl.col("ttft_ms") - pl.col("queue_ms") - pl.col("prefill_ms")
    told = (pl.col("output_tokens") >= _TOKENS_MIN) & ~pl.col("is_error")
    return requests.with_columns(
        transfer.clip(lower_bound=0.0).alias("transfer_ms"),
        pl.when(told).then(tpot_ms()).alias("tpot_ms"),
    )


def localise(
    requests: pl.DataFrame,
    indicator: Indicator,
    spike: Window,
    reference: Window,
    excluded: Sequence[Window] = (),
    one_in: int = 1,
) -> Scope:
    """Compare the requests of a spike with those of usual time: whose they are, and where their time went.

    The excess of a replica is its requests times the rise of their mean beyond what their own work (prompt and answer
    tokens) took in usual time, so the excess of all replicas adds up to that of the service (excess-time accounting,
    first step). A rise within two standard errors is none. Of failures, their number takes the place of time.

    Args:
        requests: a frame of `read_requests` over both windows, with `stage_split` columns.
        indicator: what spiked.
        spike: the window of the spike.
        reference: usual time before it.
        excluded: what of it was not usual: earlier spikes.
        one_in: how many requests each row stands for.
    """
    column = VALUES[indicator]
    usual_all, during_all = _usual_and_during(requests, indicator, spike, reference, excluded)
    usual, during = (frame.filter(~pl.col("is_error")) for frame in (usual_all, during_all))
    slowness = _slowness(usual_all, during_all, indicator, spike)
    slow_over_ms = slowness.slow_over_ms
    slow = during.filter(pl.col(column) > slow_over_ms) if slow_over_ms is not None else during.clear()
    bad = during_all.filter(pl.col("is_error")) if indicator is Indicator.ERRORS else slow
    tenants = pl.concat([bad["tenant"], during_all.filter(pl.col("is_error"))["tenant"]]).drop_nulls()
    expected = expected_of_work(usual, column)
    usual_excess, excess = (
        frame.select(*DIMENSIONS.values(), pl.Series("excess", expected.excess_ms(frame), dtype=pl.Float64))
        for frame in (usual, during)
    )
    return Scope(
        slow_over_ms=slow_over_ms,
        slow_count=slowness.slow_count * one_in,
        slow_ratio=slowness.slow_ratio,
        slow_by_chance=slowness.slow_by_chance,
        tenants_count=tenants.n_unique() if during_all["tenant"].count() else None,
        excess_ms=(_number(during[column].mean()) or 0.0) - (_number(usual[column].mean()) or 0.0),
        shares={
            kind: _shares(usual_all, during_all, usual_excess, excess, dimension, expected.rest_ms, indicator)
            for kind, dimension in DIMENSIONS.items()
        },
        stage_excess_ms=_stage_excess(usual, during, indicator),
        exemplar_trace_ids=tuple(bad.sort(column, descending=True)["trace_id"].drop_nulls().head(5).to_list()),
        added_tokens_ratio=_added_tokens(usual_all, during_all),
        replicas_of_version=_replicas_of_version(during_all),
        beside_ratio=_beside(during_all),
        usual_worst_ratio=slowness.usual_worst_ratio,
        lasted_s=spike.seconds,
    )


def slowness(
    requests: pl.DataFrame, indicator: Indicator, spike: Window, reference: Window, excluded: Sequence[Window] = ()
) -> Slowness:
    """How many requests of a spike were slow or failed, of those given. Arguments as of `localise`."""
    return _slowness(*_usual_and_during(requests, indicator, spike, reference, excluded), indicator, spike)


def _usual_and_during(
    requests: pl.DataFrame, indicator: Indicator, spike: Window, reference: Window, excluded: Sequence[Window]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The requests of usual time, and those of the spike, that tell the indicator or failed."""
    measured = requests.filter(pl.col(VALUES[indicator]).is_not_null() | pl.col("is_error"))
    return measured.filter(within(reference) & outside(excluded)), measured.filter(within(spike))


def _slowness(usual: pl.DataFrame, during: pl.DataFrame, indicator: Indicator, spike: Window) -> Slowness:
    column = VALUES[indicator]
    slow_over_ms = _number(usual.filter(~pl.col("is_error"))[column].quantile(0.99))
    count = int(during["is_error"].sum())
    if indicator is not Indicator.ERRORS and slow_over_ms is not None:
        count += during.filter(~pl.col("is_error") & (pl.col(column) > slow_over_ms)).height
    past = _usual_of(usual, column, slow_over_ms, indicator)
    steps = max(1, round(spike.seconds * 1e6 / _STEP_US))
    prior = 0.5 if indicator is Indicator.ERRORS else 1.0  # failures that never happened before still may
    return Slowness(
        slow_over_ms=slow_over_ms,
        slow_count=count,
        slow_ratio=count / during.height if during.height else 0.0,
        slow_by_chance=past.chance(count, during.height, steps, prior),
        usual_worst_ratio=past.worst_ratio(steps),
    )


VALUES: Mapping[Indicator, str] = {
    Indicator.TTFT: "ttft_ms",
    Indicator.LATENCY: "latency_ms",
    Indicator.TPOT: "tpot_ms",
    Indicator.ERRORS: "latency_ms",
}
"""The column of each indicator."""


@dataclass(frozen=True, slots=True)
class ExpectedOfWork:
    """What a request takes in usual time by the work it asks for: `constant + input * a + output * b`, in ms."""

    column: str
    coefficients: NDArray[np.float64]
    rest_ms: float

    def excess_ms(self, requests: pl.DataFrame) -> NDArray[np.float64]:
        """How much longer each request took than that, shape (requests,)."""
        return requests[self.column].to_numpy().astype(float) - _work(requests) @ self.coefficients


def expected_of_work(usual: pl.DataFrame, column: str) -> ExpectedOfWork:
    """Fit the time of usual requests to their tokens (least squares); to a constant where tokens are not known.

    The times of serving are near linear in prompt and answer tokens (prefill and decode of a roofline model), and
    lengths vary far more than paces do, so what is left varies far less than the times themselves.
    """
    values = usual[column].to_numpy().astype(float)
    if not len(values):
        return ExpectedOfWork(column, np.zeros(3), 0.0)
    work = _work(usual)
    informative = work.std(axis=0) > 0
    informative[0] = True
    coefficients = np.zeros(3)
    coefficients[informative] = np.linalg.lstsq(work[:, informative], values, rcond=None)[0]
    return ExpectedOfWork(column, coefficients, float(np.std(values - work @ coefficients)))


def _work(requests: pl.DataFrame) -> NDArray[np.float64]:
    tokens = [requests[name].cast(pl.Float64).fill_null(strategy="mean").fill_null(0.0).to_numpy() for name in _TOKENS]
    return np.stack([np.ones(requests.height), *tokens], axis=1)


_TOKENS = ("input_tokens", "output_tokens")


def within(window: Window) -> pl.Expr:
    """Does the column `time` lie in the window."""
    return pl.col("time").is_between(window.start, window.end, closed="left")


def outside(windows: Sequence[Window]) -> pl.Expr:
    """Does it lie in none of the windows."""
    return ~pl.any_horizontal(pl.lit(value=False), *map(within, windows))


def _shares(
    usual: pl.DataFrame,
    during: pl.DataFrame,
    usual_excess: pl.DataFrame,
    excess_now: pl.DataFrame,
    dimension: str,
    rest_ms: float,
    indicator: Indicator,
) -> dict[str, Share]:
    """The share of each value of a dimension; empty when no request says one (of replicas: all on one of no name).

    A new value has the past of all.
    """
    if not during[dimension].count() and dimension != DIMENSIONS[EntityKind.REPLICA]:
        return {}
    past, now = (
        frame.with_columns(pl.col(dimension).fill_null("").alias("value")).select("value", "is_error")
        for frame in (usual, during)
    )
    table = (
        now.group_by("value")
        .agg(pl.len().alias("n"), pl.col("is_error").sum().cast(pl.Float64).alias("failed"))
        .join(
            past.group_by("value").agg(pl.len().alias("usual_n")),
            on="value",
            how="left",
        )
        .join(_rises(excess_now, dimension, rest_ms, "rise", "rise_error"), on="value", how="left")
        .join(_rises(usual_excess, dimension, rest_ms, "usual_rise", "usual_error"), on="value", how="left")
        .with_columns(pl.col("usual_n", "usual_rise", "usual_error", "rise", "rise_error").fill_null(0))
        .with_columns(
            (pl.col("rise") - pl.col("usual_rise")).alias("rise_ms"),
            (pl.col("rise_error") ** 2 + pl.col("usual_error") ** 2).sqrt().alias("error"),
        )
    )
    usual_failed = int(usual["is_error"].sum()) / max(usual.height, 1)  # of all values, those that are gone too
    table = table.with_columns(
        ((pl.col("rise_ms") - 2 * pl.col("error")).clip(lower_bound=0.0) * (pl.col("n") - pl.col("failed"))).alias(
            "excess"
        ),
        (pl.col("failed") - usual_failed * pl.col("n")).clip(lower_bound=0.0).alias("added_failures"),
    )
    excess, failures = float(table["excess"].sum()), float(table["added_failures"].sum())
    if excess <= 0:  # nobody's rise stands out of the noise, so what there is lies as it lies
        table = table.with_columns((pl.col("rise_ms").clip(lower_bound=0.0) * pl.col("n")).alias("excess"))
        excess = float(table["excess"].sum())
    # A few failures beside much slowness are its symptom; the share of failures says whose they are where they matter.
    told = failures >= _SEVERAL and (indicator is Indicator.ERRORS or failures > 0.02 * during.height)
    if indicator is Indicator.ERRORS:
        table, excess = table.with_columns(pl.col("added_failures").alias("excess")), failures
    return {
        row["value"]: Share(
            excess_ratio=row["excess"] / excess if excess > 0 else 0.0,
            traffic_ratio=row["n"] / during.height,
            usual_traffic_ratio=row["usual_n"] / max(usual.height, 1),
            failures_ratio=row["added_failures"] / failures if told else 0.0,
            rise_ms=row["rise_ms"],
            sigmas=row["rise_ms"] / row["error"] if row["error"] > 0 else 0.0,
        )
        for row in table.sort("value").iter_rows(named=True)
    }


def _rises(excess: pl.DataFrame, dimension: str, rest_ms: float, rise: str, error: str) -> pl.DataFrame:
    """Mean excess over the expected by value, and its standard error (of few requests: that of all usual ones)."""
    n = pl.len().cast(pl.Float64)
    spread = pl.when(pl.len() >= _SEVERAL).then(pl.col("excess").std()).otherwise(pl.lit(rest_ms))
    return (
        excess.select(pl.col(dimension).fill_null("").alias("value"), "excess")
        .group_by("value")
        .agg(pl.col("excess").mean().alias(rise), (spread / n.sqrt()).alias(error))
    )


def _stage_excess(usual: pl.DataFrame, during: pl.DataFrame, indicator: Indicator) -> dict[str, float]:
    """Milliseconds that a mean request took longer, by stage; stages that no request tells are left out.

    What longer prompts and answers take at the usual pace is told apart from the pace.
    """
    found = {
        stage: float(during[stage].mean()) - float(usual[stage].mean())  # type: ignore[arg-type]  # counted: there is a mean
        for stage in ("queue_ms", "transfer_ms", "prefill_ms", "decode_ms")
        if during[stage].count() and usual[stage].count()
    }
    for stage, work, tokens in (
        ("prefill_ms", "prompt_ms", "input_tokens"),
        ("decode_ms", "answer_ms", "output_tokens"),
    ):
        before, now = _number(usual[tokens].mean()), _number(during[tokens].mean())
        if stage in found and before and now:
            at_usual_pace = float(usual[stage].mean()) * (now / before - 1.0)  # type: ignore[arg-type]  # as above
            found[work] = at_usual_pace
            found[stage] -= at_usual_pace
    if indicator is Indicator.TTFT:  # it holds no decode
        found.pop("decode_ms", None)
        found.pop("answer_ms", None)
    return {stage: found[stage] for stage in STAGES if stage in found}


def _replicas_of_version(requests: pl.DataFrame) -> dict[str, frozenset[str]]:
    placed = requests.select("version", "replica").drop_nulls().unique()
    return {str(version): frozenset(group["replica"].to_list()) for (version,), group in placed.group_by("version")}


@dataclass(frozen=True, slots=True)
class _Usual:
    """Slow or failed requests and all requests of usual time by step of `_STEP_US`, each (steps,); gaps are zeros."""

    bad: NDArray[np.float64]
    total: NDArray[np.float64]

    def worst_ratio(self, steps: int) -> float:
        """The greatest share of bad requests in so many steps in a row; 0 where there are not as many."""
        if len(self.total) < steps:
            return 0.0
        sums = np.cumsum(np.pad(np.stack([self.bad, self.total]), ((0, 0), (1, 0))), axis=1)
        bad, total = sums[:, steps:] - sums[:, :-steps]
        return float((bad[total >= _SEVERAL] / total[total >= _SEVERAL]).max(initial=0.0))

    def dispersion(self, steps: int) -> float:
        """As `binomial_dispersion`, of the bad ones in so many steps; of fewer where there are not enough as long."""
        length = max(1, min(steps, len(self.total) // _STRETCHES_MIN))
        whole = len(self.total) // length * length
        bad, total = (each[:whole].reshape(-1, length).sum(axis=1) for each in (self.bad, self.total))
        bad, total = bad[total > 0], total[total > 0]
        return binomial_dispersion(bad, total) if len(total) >= _STRETCHES_MIN else 1.0

    def chance(self, bad: int, total: int, steps: int, prior: float) -> float | None:
        """The probability of as many bad ones among so many requests in so many steps; None when nothing is known.

        How many of new values exceed the one that so many of the usual ones exceeded is beta-binomial, whatever their
        distribution (Gumbel and von Schelling 1950): of few usual requests the 99th percentile is hardly known. Where
        bad ones come in bursts, all counts are worth less (quasi-likelihood). `prior` is added to the bad ones seen.
        """
        known, seen = self.total.sum(), self.bad.sum()
        if not total or seen >= known:
            return None
        worth = 1.0 / self.dispersion(steps)
        drawn = max(1, round(total * worth))
        found = min(drawn, math.ceil(bad * worth))
        return float(scipy.stats.betabinom.sf(found - 1, drawn, (seen + prior) * worth, (known - seen) * worth))


def _usual_of(usual: pl.DataFrame, column: str, slow_over_ms: float | None, indicator: Indicator) -> _Usual:
    if usual.is_empty():
        return _Usual(np.zeros(0), np.zeros(0))
    is_bad = pl.col("is_error")
    if indicator is not Indicator.ERRORS and slow_over_ms is not None:
        is_bad |= (pl.col(column) > slow_over_ms).fill_null(value=False)
    by_step = (
        usual.group_by((pl.col("time").dt.epoch("us") // _STEP_US).alias("step"))
        .agg(is_bad.sum().alias("bad"), pl.len().alias("total"))
        .sort("step")
    )
    steps = by_step["step"].to_numpy()
    counts = np.zeros((2, int(steps[-1] - steps[0]) + 1))
    counts[:, steps - steps[0]] = by_step.select("bad", "total").to_numpy().T
    return _Usual(*counts)


def _added_tokens(usual: pl.DataFrame, during: pl.DataFrame) -> dict[str, float]:
    """Each tenant's share of the tokens that longer prompts and answers than usual brought.

    Of its own usual length, or of everybody's where it has no past: what only asks more often has added no length.
    """
    if not during["tenant"].count():
        return {}
    each = pl.sum_horizontal(pl.col(name).fill_null(0).cast(pl.Float64) for name in _TOKENS)
    usual_of_all = _number(usual.select(each.mean()).item()) or 0.0
    added = (
        during.group_by("tenant")
        .agg(pl.len().alias("n"), each.mean().alias("tokens"))
        .join(usual.group_by("tenant").agg(each.mean().alias("usual")), on="tenant", how="left", nulls_equal=True)
        .select(
            "tenant",
            (pl.col("n") * (pl.col("tokens") - pl.col("usual").fill_null(usual_of_all)).clip(lower_bound=0)).alias(
                "added"
            ),
        )
    )
    total = float(added["added"].sum())
    return {tenant: more / total for tenant, more in added.iter_rows() if tenant and total}


def _beside(during: pl.DataFrame) -> dict[str, float]:
    """The share of each version's requests that came in a minute in which another version served too.

    A rollout leaves two versions side by side for a moment only: what came before it is no measure of what came after.
    """
    minutes = (
        during.filter(pl.col("version").is_not_null())
        .group_by("version", pl.col("time").dt.truncate("1m").alias("minute"))
        .len()
        .with_columns((pl.col("version").n_unique().over("minute") > 1).alias("beside"))
    )
    shares = minutes.group_by("version").agg((pl.col("len") * pl.col("beside")).sum() / pl.col("len").sum())
    return {str(version): float(share) for version, share in shares.iter_rows()}


def contrast(
    requests: pl.DataFrame, slow_over_ms: float, indicator: Indicator, dimensions: Sequence[str]
) -> pl.DataFrame:
    """What slow requests have in common: the share of each value among the slow and among the rest.

    Args:
        requests: a frame of `read_requests`.
        slow_over_ms: a request that took longer, or failed, is slow.
        indicator: TTFT, LATENCY or TPOT.
        dimensions: columns of the frame; numbers are cut into powers of four.

    Returns:
        Columns dimension, value, slow_ratio, rest_ratio; most different first within a dimension.
    """
    column = pl.col(f"{indicator.value}_ms")
    marked = requests.filter(column.is_not_null() | pl.col("is_error")).with_columns(
        ((column > slow_over_ms).fill_null(value=False) | pl.col("is_error")).alias("slow")
    )
    slow_count, rest_count = int(marked["slow"].sum()), int((~marked["slow"]).sum())
    parts = []
    for dimension in dimensions:
        value = _token_band(dimension) if requests.schema[dimension].is_numeric() else pl.col(dimension)
        parts.append(
            marked.group_by(value.fill_null("not known").alias("value"))
            .agg(pl.col("slow").sum().alias("slow_n"), (~pl.col("slow")).sum().alias("rest_n"))
            .select(
                pl.lit(dimension).alias("dimension"),
                "value",
                (pl.col("slow_n") / max(slow_count, 1)).alias("slow_ratio"),
                (pl.col("rest_n") / max(rest_count, 1)).alias("rest_ratio"),
            )
            .sort((pl.col("slow_ratio") - pl.col("rest_ratio")), "value", descending=[True, False])
        )
    return pl.concat(parts)


def _token_band(dimension: str) -> pl.Expr:
    tokens = pl.col(dimension)
    return (
        pl.when(tokens < 1024)
        .then(pl.lit("< 1k"))
        .when(tokens < 4096)
        .then(pl.lit("1k – 4k"))
        .when(tokens < 16384)
        .then(pl.lit("4k – 16k"))
        .when(tokens >= 16384)
        .then(pl.lit("≥ 16k"))
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
