"""GPUs: how busy each was, and which of them a cause sits on."""

import math

import polars as pl
from dash import html
from dash.development.base_component import Component

from dashboards import text
from domain.entity import Entity, EntityKind
from domain.topology import Topology
from domain.window import Window
from storage.readers import read_samples, read_series, sample_rows
from storage.store import Store

_ACTIVITY = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"  # ratio of the time in which the graphics or compute engine was busy


def read_gpus(store: Store, window: Window) -> pl.DataFrame:
    """The GPUs alive in the window, as a frame of `storage.readers.SERIES`."""
    return read_series(store, window, [_ACTIVITY])


def read_activity(store: Store, window: Window, gpus: pl.DataFrame, step_s: int) -> pl.DataFrame:
    """How busy these GPUs (of `read_gpus`) were: columns node, gpu, time, ratio (0-1). No sample, no row."""
    samples = sample_rows(read_samples(store, window, gpus, step_s, "mean"), step_s)
    return samples.join(gpus, on="series_id").select("node", "gpu", "time", ratio="value")


def at_cadence(activity: pl.DataFrame, step_s: int) -> tuple[pl.DataFrame, int]:
    """The same activity in steps no shorter than those in which samples come, and that step (s).

    A GPU that is sampled each minute, shown in columns of half a minute, would look as if it were gone half the time.
    """
    gaps = activity.sort("gpu", "time").select(pl.col("time").diff().over("gpu").dt.total_seconds()).to_series()
    usual = gaps.drop_nulls().median()
    if not isinstance(usual, float) or usual <= step_s:
        return activity, step_s
    cadence_s = step_s * math.ceil(usual / step_s)
    regular = activity.group_by("node", "gpu", pl.col("time").dt.truncate(f"{cadence_s}s")).agg(pl.col("ratio").mean())
    return regular, cadence_s


def mean_activity(activity: pl.DataFrame, gpus: pl.DataFrame) -> pl.DataFrame:
    """One row a GPU: columns node, gpu, ratio (null for one without a sample), by name."""
    means = activity.group_by("gpu").agg(pl.col("ratio").mean())
    alive = gpus.select("node", "gpu").unique()
    return alive.join(means, on="gpu", how="left").sort("node", "gpu", nulls_last=True)


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
    """One row a node, one tile a GPU, coloured by how busy it was; what the cause sits on is framed.

    Args:
        activity: as of `mean_activity`.
        affected: names of GPUs and nodes.
    """
    if activity.is_empty():
        return html.P("No GPU metrics in this time.", className="calm")
    rows = []
    for (node,), members in activity.group_by(["node"], maintain_order=True):
        name = str(node or "unknown node")
        tiles = [
            _tile(f"{name} {gpu}", ratio, affected=gpu in affected)
            for gpu, ratio in members.select("gpu", "ratio").iter_rows()
        ]
        rows.append(
            html.Div(
                [html.Code(name, className="clip", title=name), html.Span(tiles, className="tiles")],
                className="node node-affected" if name in affected else "node",
            )
        )
    framed = ", ".join(sorted(affected)) or "none known"
    label = f"{activity.height} GPUs on {len(rows)} nodes; affected: {framed}"
    return html.Div(rows, className="nodes", role="img", **{"aria-label": label})


def _tile(name: str, ratio: float | None, *, affected: bool) -> Component:
    classes = ["tile", *(["tile-affected"] if affected else []), *(["tile-unknown"] if ratio is None else [])]
    busy = "no sample" if ratio is None else f"{text.percent_whole(ratio)} busy"
    style = {} if ratio is None else {"--busy": f"{ratio:.0%}"}
    return html.Span(className=" ".join(classes), style=style, title=f"{name}: {busy}")
