"""Scope: which requests are slow, where their time went, and whose they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from scipy.stats import binom

from domain.entity import Entity, EntityKind
from domain.incident import Indicator
from domain.topology import Topology
from domain.window import Window


@dataclass(frozen=True, slots=True)
class Scope:
    """Who was slow in a spike, in milliseconds above usual.

    A request is slow when it took longer than 99 % of usual ones (`slow_over_ms`) or failed; `slow_by_chance` is the
    probability of as many slow ones in usual time (binomial). Both are None without usual time to compare with.
    `excess_ratio` gives each replica's share of all excess milliseconds, `traffic_ratio` its share of the requests;
    `stage_excess_ms` the excess of a mean request by stage.
    """

    slow_over_ms: float | None
    slow_count: int
    slow_ratio: float
    slow_by_chance: float | None
    tenants_count: int | None
    excess_ratio: Mapping[str, float]
    traffic_ratio: Mapping[str, float]
    stage_excess_ms: Mapping[str, float]
    exemplar_trace_ids: tuple[str, ...]

    @property
    def is_unusual(self) -> bool:
        """Are there more slow requests than chance allows: a percentile of few requests jumps by itself."""
        return self.slow_by_chance is not None and self.slow_by_chance <= _CHANCE_MAX

    @property
    def concentration(self) -> float:
        """How far the excess gathers on few replicas: 0 when it lies as the traffic does, towards 1 on one of many."""
        return sum(
            max(0.0, share - self.traffic_ratio.get(replica, 0.0)) for replica, share in self.excess_ratio.items()
        )


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Which replicas of the service each entity carries: what it can make slow."""

    replicas_of: Mapping[Entity, frozenset[str]]

    def explained(self, entity: Entity, scope: Scope) -> float:
        """The share of the excess that lies on the replicas of this entity."""
        replicas = self.replicas_of.get(entity, frozenset())
        return sum(scope.excess_ratio.get(replica, 0.0) for replica in replicas)


_CHANCE_MAX = 1e-6

STAGES = ("queue_ms", "prefill_ms", "transfer_ms", "decode_ms")


def stage_split(requests: pl.DataFrame) -> pl.DataFrame:
    """Add `transfer_ms`: what of the time to first token is neither queue nor prefill, null where unknown."""
    transfer = pl.col("ttft_ms") - pl.col("queue_ms") - pl.col("prefill_ms")
    return requests.with_columns(transfer.clip(lower_bound=0.0).alias("transfer_ms"))


def localise(
    requests: pl.DataFrame,
    indicator: Indicator,
    spike: Window,
    reference: Window,
    excluded: Sequence[Window] = (),
    one_in: int = 1,
) -> Scope:
    """Compare the requests of a spike with those of usual time, replica by replica.

    The excess of a replica is its requests times the rise of their mean, so the excess of all replicas adds up to
    that of the service (excess-time accounting, first step).

    Args:
        requests: a frame of `read_requests` over both windows, with `stage_split` columns.
        indicator: TTFT or LATENCY.
        spike: the window of the spike.
        reference: usual time before it.
        excluded: what of it was not usual: earlier spikes.
        one_in: how many requests each row stands for.
    """
    column = f"{indicator.value}_ms"
    measured = requests.filter(pl.col(column).is_not_null() | pl.col("is_error"))
    is_usual = _within(reference) & ~pl.any_horizontal(pl.lit(value=False), *(_within(one) for one in excluded))
    usual_all, during_all = measured.filter(is_usual), measured.filter(_within(spike))
    usual, during = (frame.filter(~pl.col("is_error")) for frame in (usual_all, during_all))
    slow_over_ms = _number(usual[column].quantile(0.99))
    slow = during.filter(pl.col(column) > slow_over_ms) if slow_over_ms is not None else during.clear()
    bad_count = slow.height + during_all.height - during.height
    by_replica = _excess_by_replica(during, usual, column)
    excess = float(by_replica["excess"].sum())
    # A time to first token holds no decode.
    stages = [stage for stage in STAGES if not (indicator is Indicator.TTFT and stage == "decode_ms")]
    tenants = slow["tenant"].drop_nulls()
    return Scope(
        slow_over_ms=slow_over_ms,
        slow_count=bad_count * one_in,
        slow_ratio=bad_count / during_all.height if during_all.height else 0.0,
        slow_by_chance=_chance(bad_count, during_all.height, usual.height, usual_all.height),
        tenants_count=tenants.n_unique() if during["tenant"].count() else None,
        excess_ratio={row["replica"]: row["excess"] / excess for row in by_replica.iter_rows(named=True) if excess > 0},
        traffic_ratio={row["replica"]: row["n"] / during.height for row in by_replica.iter_rows(named=True)},
        stage_excess_ms={
            stage: float(during[stage].mean()) - float(usual[stage].mean())  # type: ignore[arg-type]  # counted: there is a mean
            for stage in stages
            if during[stage].count() and usual[stage].count()
        },
        exemplar_trace_ids=tuple(slow.sort(column, descending=True)["trace_id"].drop_nulls().head(5).to_list()),
    )


def _within(window: Window) -> pl.Expr:
    return pl.col("time").is_between(window.start, window.end, closed="left")


def _excess_by_replica(during: pl.DataFrame, usual: pl.DataFrame, column: str) -> pl.DataFrame:
    """Columns replica, n, excess (ms): requests times the rise of their mean; a new replica against all the others."""
    replica = pl.col("replica").fill_null("").alias("replica")
    usual_mean = _number(usual[column].mean())
    own_usual = usual.group_by(replica).agg(pl.col(column).mean().alias("usual"))
    rise = pl.col("mean") - pl.col("usual").fill_null(usual_mean)
    return (
        during.group_by(replica)
        .agg(pl.len().alias("n"), pl.col(column).mean().alias("mean"))
        .join(own_usual, on="replica", how="left")
        .with_columns((rise * pl.col("n")).clip(lower_bound=0.0).fill_null(0.0).alias("excess"))
        .sort("replica")
    )


def _chance(bad: int, total: int, usual_good: int, usual_total: int) -> float | None:
    """The probability of so many bad ones in usual time, where one in a hundred is slow by definition."""
    if not total or not usual_good:
        return None
    usual_bad_ratio = 0.01 + (usual_total - usual_good) / usual_total
    return float(binom.sf(bad - 1, total, min(usual_bad_ratio, 1.0)))


def neighbourhood(service: str, requests: pl.DataFrame, series: pl.DataFrame, topology: Topology) -> Neighbourhood:
    """Which replicas stand behind each GPU, node and port, from what requests, labels and the topology say.

    Args:
        service: whose replicas.
        requests: a frame of `read_requests`: replica and node of each request.
        series: a frame of `read_series`: node and replica of each GPU, node of each port.
        topology: the wiring: which switch port a node's port leads to.
    """
    placed = requests.select("replica", "node").drop_nulls("replica").unique().sort("replica")
    replicas = frozenset(placed["replica"].to_list())
    on_node: dict[str, set[str]] = {}
    for replica, node in placed.iter_rows():
        if node is not None:
            on_node.setdefault(node, set()).add(replica)
    found: dict[Entity, set[str]] = {Entity(EntityKind.SERVICE, service): set(replicas) or {""}}
    for replica in replicas:
        found[Entity(EntityKind.REPLICA, replica)] = {replica}
    for node, names in on_node.items():
        found[Entity(EntityKind.NODE, node)] = names
        for port in topology.ports_of(node):
            found.setdefault(port, set()).update(names)
    keys = ["node", "gpu", "port", "replica", "instance"]
    for row in series.select(keys).unique().iter_rows(named=True):
        names = on_node.get(row["node"] or "", set())
        if row["gpu"]:
            own = {row["replica"]} & replicas
            found.setdefault(Entity(EntityKind.GPU, row["gpu"]), set()).update(own or names)
        elif row["port"] and row["node"]:
            found.setdefault(Entity(EntityKind.PORT, f"{row['node']}/{row['port']}"), set()).update(names)
        elif row["instance"] and not row["replica"] and len(replicas) == 1:
            # An engine target without a pod label: with a single replica there is no doubt whose it is.
            found[Entity(EntityKind.REPLICA, row["instance"])] = set(replicas)
    return Neighbourhood({entity: frozenset(names) for entity, names in found.items()})


def contrast(
    requests: pl.DataFrame, slow_over_ms: float, indicator: Indicator, dimensions: Sequence[str]
) -> pl.DataFrame:
    """What slow requests have in common: the share of each value among the slow and among the rest.

    Args:
        requests: a frame of `read_requests`.
        slow_over_ms: a request that took longer, or failed, is slow.
        indicator: TTFT or LATENCY.
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
