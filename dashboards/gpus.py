"""GPUs: how busy each was, and which of them a cause sits on."""

from dataclasses import dataclass
from typing import Any

import polars as pl
from dash import html
from dash.development.base_component import Component

from analytics.neighbourhood import GPU_INDEX_LABEL
from dashboards import text
from domain.entity import Entity, EntityKind, GpuPlace, gpu_text
from domain.topology import Topology
from domain.window import Window
from storage.readers import ROLLUP_STEPS_S, read_samples, read_series, sample_rows
from storage.store import Store

_ACTIVITY = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"  # ratio of the time in which the graphics or compute engine was busy
_STEPS_S = (15, 30, *ROLLUP_STEPS_S)
_COLUMNS_MOST, _FEW_GPUS = 180, 128


def read_gpus(store: Store, window: Window) -> pl.DataFrame:
    """The GPUs alive in the window, as a frame of `storage.readers.SERIES`; its label is the index on the node."""
    return read_series(store, window, [_ACTIVITY], [GPU_INDEX_LABEL])


def described(gpus: pl.DataFrame) -> pl.DataFrame:
    """One row a GPU of `read_gpus`, by node and index.

    Returns:
        Columns node, gpu, index (on its node) and replica (the newest that it served); null where nothing tells it.
    """
    index = pl.col("labels").list.first().cast(pl.Int64, strict=False)
    rows = gpus.group_by("node", "gpu", maintain_order=True).agg(
        index=index.drop_nulls().last(), replica=pl.col("replica").drop_nulls().last()
    )
    return rows.sort("node", "index", "gpu", nulls_last=True)


def gpu_names(gpus: pl.DataFrame) -> dict[str, str]:
    """What people call each GPU (of `described`), by its UUID: `GPU 7 of gpu-02-02 (assist-3)`.

    One of which the node or the index is not known keeps its UUID.
    """
    known = gpus.drop_nulls(["node", "gpu", "index"])
    return {
        gpu: gpu_text(gpu, GpuPlace(node, index, replica))
        for node, gpu, index, replica in known.select("node", "gpu", "index", "replica").iter_rows()
    }


def read_gpu_names(store: Store, window: Window) -> dict[str, str]:
    """The same of the GPUs alive in the window."""
    return gpu_names(described(read_gpus(store, window)))


def read_activity(store: Store, window: Window, gpus: pl.DataFrame, step_s: int) -> pl.DataFrame:
    """How busy these GPUs (of `read_gpus`) were: columns node, gpu, time, ratio (0-1). No sample, no row."""
    samples = sample_rows(read_samples(store, window, gpus, step_s, "mean"), step_s)
    return samples.join(gpus, on="series_id").select("node", "gpu", "time", ratio="value")


def column_s(seconds: int, count: int) -> int:
    """How wide (s) a column of so long a time is drawn for so many GPUs: five minutes of trouble must be seen.

    Many GPUs get wider ones: what is sent to the browser grows with both.
    """
    most = _COLUMNS_MOST if count <= _FEW_GPUS else _COLUMNS_MOST // 2
    return next((step_s for step_s in _STEPS_S if seconds / step_s <= most), _STEPS_S[-1])


def mean_activity(activity: pl.DataFrame, gpus: pl.DataFrame) -> pl.DataFrame:
    """One row a GPU of `described`, with its column ratio besides: null for one without a sample."""
    means = activity.group_by("node", "gpu").agg(pl.col("ratio").mean())
    return gpus.join(means, on=["node", "gpu"], how="left", nulls_equal=True, maintain_order="left")


def affected_names(entity: Entity, gpus: pl.DataFrame, topology: Topology) -> frozenset[str]:
    """The GPUs and nodes that carry what an entity does to requests; none when it is no matter of place.

    Args:
        entity: what a cause is pinned on.
        gpus: a frame of `read_gpus`: which replica runs on which GPU.
        topology: which node is cabled to which switch.
    """
    match entity.kind:
        case EntityKind.GPU | EntityKind.NODE:
            return frozenset({entity.name})
        case EntityKind.REPLICA:
            return frozenset(gpus.filter(pl.col("replica") == entity.name)["gpu"].drop_nulls())
        case EntityKind.PORT:
            far = {name for name in topology.nodes if entity in topology.ports_of(name)}
            return frozenset(far | {entity.name.split("/", 1)[0]})
        case EntityKind.SWITCH:
            return frozenset(
                node.name
                for node in topology.nodes.values()
                if any(peer is not None and peer.switch == entity.name for peer in node.ports.values())
            )
    return frozenset()


def gpu_tiles(activity: pl.DataFrame, affected: frozenset[str]) -> Component:
    """One row a node, one tile a GPU, coloured by how busy it was; what the cause sits on is framed, and named.

    One that serves no replica, where others are known to, is grey: it is idle, and nothing is wrong with it.

    Args:
        activity: as of `mean_activity`.
        affected: names of GPUs and nodes.
    """
    if activity.is_empty():
        return html.P("No GPU metrics in this time.", className="calm")
    served = activity["replica"].count() > 0
    rows = []
    for (node,), members in activity.group_by(["node"], maintain_order=True):
        name = str(node or "unknown node")
        told = [
            _Told.of(row, is_affected=row["gpu"] in affected, is_free=served and row["replica"] is None)
            for row in members.iter_rows(named=True)
        ]
        named = [html.Li([html.Strong(one.place), f": {one.busy}"]) for one in told if one.is_affected]
        rows.append(
            html.Div(
                [
                    html.Div(
                        [
                            html.Code(name, className="clip", title=name),
                            html.Ul([_tile(name, one) for one in told], className="tiles"),
                        ],
                        className="node-row",
                    ),
                    html.P("carries what is wrong", className="affected-names") if name in affected else None,
                    html.Ul(named, className="affected-names") if named else None,
                ],
                className="node node-affected" if name in affected else "node",
            )
        )
    framed = ", ".join(sorted(affected)) or "none known"
    label = f"{activity.height} GPUs on {len(rows)} nodes; affected: {framed}"
    return html.Div(rows, className="nodes", role="group", **{"aria-label": label})


@dataclass(frozen=True, slots=True)
class _Told:
    """A GPU in words; `mark` is what stands below its tile."""

    mark: str
    place: str
    uuid: str
    busy: str
    ratio: float | None
    is_affected: bool
    is_free: bool

    @classmethod
    def of(cls, row: dict[str, Any], *, is_affected: bool, is_free: bool) -> "_Told":
        index, uuid, ratio = row["index"], str(row["gpu"] or "unknown"), row["ratio"]
        place = f"GPU {index}" if index is not None else uuid
        return cls(
            "" if index is None else str(index),
            f"{place}, {row['replica']}" if row["replica"] else place,
            uuid,
            "no sample" if ratio is None else f"{text.percent_whole(ratio)} busy",
            ratio,
            is_affected,
            is_free,
        )


def _tile(node: str, told: _Told) -> Component:
    classes = [
        "tile",
        *(["tile-affected"] if told.is_affected else []),
        *(["tile-unknown"] if told.ratio is None else []),
    ]
    uuid = "" if told.place.startswith(told.uuid) else f" ({told.uuid})"
    if told.is_free:
        classes.append("tile-free")
    states = (", serves no replica" if told.is_free else "") + (", affected" if told.is_affected else "")
    words = f"{node} {told.place}{uuid}: {told.busy}{states}"
    style = {} if told.ratio is None else {"--busy": f"{told.ratio:.0%}"}
    return html.Li(
        [
            html.Span(className=" ".join(classes), style=style),
            html.Span(told.mark, className="tile-mark", **{"aria-hidden": "true"}),
            html.Span(words, className="unseen"),
        ],
        title=words,
    )
