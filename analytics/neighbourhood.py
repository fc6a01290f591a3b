"""Where a service runs: which GPUs, nodes, ports and switches carry which of its replicas, and what holds what."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache

import polars as pl

from analytics.scope import Scope
from domain.entity import Entity, EntityKind, GpuPlace
from domain.topology import Topology

_OF_ANY_PROCESS = "process_start_time_seconds"


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Which replicas of the service each entity carries (what it can make slow), and what holds what.

    `parts` gives a node's GPUs and a switch's ports, `gpu_indices` the number of a GPU in its node, where it is known,
    `peers` of a port the one at the other end of its cable.
    """

    replicas_of: Mapping[Entity, frozenset[str]]
    parts: Mapping[Entity, frozenset[Entity]] = field(default_factory=dict)
    gpu_indices: Mapping[Entity, int] = field(default_factory=dict)
    peers: Mapping[Entity, Entity] = field(default_factory=dict)

    def explained(self, entity: Entity, scope: Scope) -> float:
        """The share of the excess, or if that is more of the added failures, on the replicas of this entity."""
        shares = [scope.replicas[name] for name in self.replicas_of.get(entity, frozenset()) if name in scope.replicas]
        return max(sum(share.excess_ratio for share in shares), sum(share.failures_ratio for share in shares))

    @property
    def beside(self) -> frozenset[Entity]:
        """The GPUs of the service's nodes that serve others, or nobody."""
        own = (whole for whole in self.replicas_of if whole.kind is EntityKind.NODE)
        of_nodes = (self.parts.get(node, frozenset()) for node in own)
        return frozenset().union(*of_nodes) - self.replicas_of.keys()

    def whole(self, entity: Entity) -> Entity | None:
        """The node or switch that this entity is a part of."""
        return next((whole for whole, parts in self.parts.items() if entity in parts), None)

    def gpu_place(self, entity: Entity) -> GpuPlace | None:
        """Where a GPU is, and the replica that it serves; None of anything else."""
        if entity.kind is not EntityKind.GPU:
            return None
        whole = self.whole(entity)
        node = whole.name if whole is not None and whole.kind is EntityKind.NODE else None
        replicas = self.replicas_of.get(entity, frozenset()) - {""}
        return GpuPlace(node, self.gpu_indices.get(entity), next(iter(replicas)) if len(replicas) == 1 else None)


def neighbourhood(service: str, requests: pl.DataFrame, series: pl.DataFrame, topology: Topology) -> Neighbourhood:
    """Which replicas stand behind each GPU, node, port and switch, from what requests, labels and the topology say.

    Where no request names its replica, all of them are of one, named by empty text.

    Args:
        service: whose replicas.
        requests: a frame of `read_requests`: replica and node of each request.
        series: a frame of `read_series` whose last label is `GPU_INDEX_LABEL`: node and replica of each GPU, node of
            each port.
        topology: the wiring: which switch port a node's port leads to, and where that switch leads.
    """
    replicas, on_node = _placed(service, requests, series)
    found: dict[Entity, set[str]] = {Entity(EntityKind.SERVICE, service): set(replicas)}
    parts: dict[Entity, set[Entity]] = {}
    peers: dict[Entity, Entity] = {}
    ports_of_switch = cache(topology.ports_of_switch)  # asked of each node below it
    for replica in replicas - {""}:
        found[Entity(EntityKind.REPLICA, replica)] = {replica}
    for node, names in on_node.items():
        found[Entity(EntityKind.NODE, node)] = names
        for port in topology.ports_of(node):
            found.setdefault(port, set()).update(names)
        for switch, ports in topology.way_up(node).items():
            for above in (switch, *ports):
                found.setdefault(above, set()).update(names)
            parts.setdefault(switch, set()).update(ports_of_switch(switch.name))
            peers |= topology.ends_of_uplinks(switch.name)
        for near_end, switch_port in topology.cables_of(node):
            switch = Entity(EntityKind.SWITCH, switch_port.switch)
            parts.setdefault(switch, set()).add(near_end)
        peers |= topology.ends_of_cables(node)
    rows = list(series.select("node", "gpu", "port", "replica").unique().iter_rows(named=True))
    # Where the exporter says whose GPUs are this service's, all others of the node are somebody else's, or idle: they
    # are no peers, for what runs there does not run here.
    assigned = {row["node"] for row in rows if row["gpu"] and row["replica"] in replicas}
    for row in rows:
        names = on_node.get(row["node"] or "", set())
        if row["gpu"]:
            gpu = Entity(EntityKind.GPU, row["gpu"])
            own = {row["replica"] or ""} & replicas
            carried = own or (set() if row["node"] in assigned else names)
            if carried:
                found.setdefault(gpu, set()).update(carried)
            if row["node"]:
                parts.setdefault(Entity(EntityKind.NODE, row["node"]), set()).add(gpu)
        elif row["port"] and row["node"]:
            found.setdefault(Entity(EntityKind.PORT, f"{row['node']}/{row['port']}"), set()).update(names)
    return Neighbourhood(
        {entity: frozenset(names) for entity, names in found.items()},
        {whole: frozenset(entities) for whole, entities in parts.items()},
        gpu_indices(series),
        peers,
    )


GPU_INDEX_LABEL = "gpu"
"""The label in which dcgm-exporter tells the number of a GPU in its node."""


def gpu_indices(series: pl.DataFrame) -> dict[Entity, int]:
    """The number of each GPU in its node, where its series tell one number and no other.

    Args:
        series: a frame of `read_series` whose last label is `GPU_INDEX_LABEL`.
    """
    told = series.select("gpu", index=gpu_index(pl.col("labels").list.last()))
    known = told.drop_nulls().group_by("gpu").agg(pl.col("index").unique()).filter(pl.col("index").list.len() == 1)
    return {Entity(EntityKind.GPU, name): index for name, (index,) in known.iter_rows()}


def gpu_index(label: pl.Expr) -> pl.Expr:
    """The number of a GPU in its node, as its label tells it; null for what is no such number."""
    return label.str.extract(r"^(\d{1,3})$").cast(pl.Int64)


def _placed(service: str, requests: pl.DataFrame, series: pl.DataFrame) -> tuple[frozenset[str], dict[str, set[str]]]:
    """The replicas of a service, and by node those that run there, from requests and the labels of metrics."""
    placed = requests.select("replica", "node").unique()
    replicas = frozenset(placed["replica"].drop_nulls().to_list()) or frozenset({""})
    on_node: dict[str, set[str]] = {}
    for replica, node in placed.sort("replica", "node", nulls_last=True).iter_rows():
        if node is not None and (replica or "") in replicas:
            on_node.setdefault(node, set()).add(replica or "")
    for row in series.select("node", "replica", "service").unique().iter_rows(named=True):
        if not row["node"]:
            continue
        if row["replica"] in replicas:
            on_node.setdefault(row["node"], set()).add(row["replica"])
        elif "" in replicas and row["service"] == service:
            on_node.setdefault(row["node"], set()).add("")
    return replicas, on_node


def attributed(series: pl.DataFrame, requests: pl.DataFrame, metrics: Collection[str]) -> pl.DataFrame:
    """The series with the replica of those that bear no label of one, where there is no doubt whose they are.

    A target may be called after its pod (`chat-0:8000`); and where a service has a single replica and one engine alone
    bears no label, that engine is it.

    Args:
        series: a frame of `read_series`.
        requests: a frame of `read_requests` of the service.
        metrics: those that tell of replicas, in lower case.
    """
    replicas = requests["replica"].drop_nulls().unique().to_list()
    host = pl.col("instance").str.split(":").list.first()
    unnamed = pl.col("replica").is_null() & pl.col("metric").is_in(sorted(metrics))
    # When a process started tells every exporter of itself: it makes nobody an engine.
    engines = series.filter(unnamed & (pl.col("metric") != _OF_ANY_PROCESS)).select("service", "instance").unique()
    engines = engines.filter(~host.is_in(replicas).fill_null(value=False))
    is_sole = len(replicas) == 1 and engines.height == 1 and not series.filter(unnamed & host.is_in(replicas)).height
    service, instance = engines.row(0) if is_sole else (None, None)
    of_engine = pl.col("service").eq_missing(service) & pl.col("instance").eq_missing(instance) & pl.lit(is_sole)
    found = pl.when(host.is_in(replicas)).then(host).when(of_engine).then(pl.lit(next(iter(replicas), None)))
    named = pl.when(unnamed).then(found).otherwise("replica")
    return series.with_columns(named.alias("replica"))
