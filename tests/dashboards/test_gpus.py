import polars as pl

from dashboards.gpus import affected_names, column_s, described, gpu_names, gpu_tiles, mean_activity
from domain.entity import Entity, EntityKind
from domain.topology import Node, Switch, SwitchPort, Topology
from tests.dashboards.frames import TIME, minutes_ago
from tests.dashboards.reading import classes, words

_GPUS = pl.DataFrame(
    {
        "node": ["n1", "n1", "n1", "n2"],
        "gpu": ["G-1", "G-1", "G-2", "G-3"],
        "replica": ["chat-0", "chat-1", "chat-0", None],
        "labels": [["10"], ["10"], ["0"], [""]],
    }
)
_TOPOLOGY = Topology(
    {
        "n1": Node("n1", ports={"mlx5_0/1": SwitchPort("leaf-1", 3)}),
        "n2": Node("n2", ports={"mlx5_0/1": None}),
    },
    {"leaf-1": Switch("leaf-1")},
)


def _activity(*minutes: float) -> pl.DataFrame:
    times = [minutes_ago(minute) for minute in minutes]
    return pl.DataFrame({"node": "n1", "gpu": "G-1", "time": times, "ratio": 0.5}, schema_overrides={"time": TIME})


def _affected(kind: EntityKind, name: str) -> set[str]:
    return set(affected_names(Entity(kind, name), _GPUS, _TOPOLOGY))


def test_a_cause_affects_what_it_sits_on() -> None:
    assert _affected(EntityKind.GPU, "G-3") == {"G-3"}
    assert _affected(EntityKind.NODE, "n2") == {"n2"}
    assert _affected(EntityKind.REPLICA, "chat-0") == {"G-1", "G-2"}
    assert "n1" in _affected(EntityKind.PORT, "n1/mlx5_0/1")
    assert "n1" in _affected(EntityKind.PORT, "leaf-1/3")
    assert _affected(EntityKind.SWITCH, "leaf-1") == {"n1"}


def test_a_cause_that_is_no_matter_of_place_affects_no_gpu() -> None:
    assert _affected(EntityKind.SERVICE, "chat") == set()
    assert _affected(EntityKind.VERSION, "1.4.2") == set()


def test_five_minutes_of_trouble_are_columns_wide_in_every_range_up_to_a_day() -> None:
    assert [column_s(hours * 3600, 32) for hours in (1, 3, 6, 24, 168)] == [30, 60, 120, 600, 3600]
    assert column_s(21_600, 512) == 240


def test_a_gpu_is_called_by_its_node_index_and_newest_replica() -> None:
    assert described(_GPUS).rows() == [
        ("n1", "G-2", 0, "chat-0"),
        ("n1", "G-1", 10, "chat-1"),
        ("n2", "G-3", None, None),
    ]
    assert gpu_names(described(_GPUS)) == {"G-1": "GPU 10 of n1 (chat-1)", "G-2": "GPU 0 of n1 (chat-0)"}


def test_a_gpu_without_samples_has_no_mean() -> None:
    means = mean_activity(_activity(2, 1), described(_GPUS))
    assert means.select("gpu", "ratio").rows() == [("G-2", None), ("G-1", 0.5), ("G-3", None)]


def test_tiles_frame_and_name_the_affected_and_leave_the_unknown_open() -> None:
    tiles = gpu_tiles(mean_activity(_activity(2, 1), described(_GPUS)), frozenset({"n1", "G-1"}))
    assert classes(tiles).count("tile") == 3
    assert classes(tiles).count("tile-unknown") == 2
    assert classes(tiles).count("tile-affected") == 1
    assert classes(tiles).count("node-affected") == 1
    told = words(tiles)
    assert "10 n1 GPU 10, chat-1 (G-1): 50 % busy, affected" in told
    assert "n2 G-3: no sample, serves no replica" in told
    assert "carries what is wrong GPU 10, chat-1 : 50 % busy" in told
    assert words(gpu_tiles(pl.DataFrame(), frozenset())) == "No GPU metrics in this time."
