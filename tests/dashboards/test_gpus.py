import polars as pl

from dashboards.gpus import affected_names, at_cadence, gpu_tiles, mean_activity
from domain.entity import Entity, EntityKind
from domain.topology import Node, Switch, SwitchPort, Topology
from tests.dashboards.frames import TIME, minutes_ago
from tests.dashboards.reading import classes, words

_GPUS = pl.DataFrame({"node": ["n1", "n1", "n2"], "gpu": ["G-1", "G-2", "G-3"], "replica": ["chat-0", "chat-0", None]})
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


def test_samples_rarer_than_columns_make_wider_columns() -> None:
    regular, step_s = at_cadence(_activity(4, 3, 2, 1), 30)
    assert (regular.height, step_s) == (4, 60)


def test_samples_in_every_column_stay_as_they_are() -> None:
    activity = _activity(4, 3, 2, 1)
    assert at_cadence(activity, 60) == (activity, 60)
    assert at_cadence(activity.clear(), 60)[1] == 60


def test_a_gpu_without_samples_has_no_mean() -> None:
    means = mean_activity(_activity(2, 1), _GPUS)
    assert means.rows() == [("n1", "G-1", 0.5), ("n1", "G-2", None), ("n2", "G-3", None)]


def test_tiles_frame_the_affected_and_leave_the_unknown_open() -> None:
    tiles = gpu_tiles(mean_activity(_activity(2, 1), _GPUS), frozenset({"n1", "G-1"}))
    assert classes(tiles).count("tile") == 3
    assert classes(tiles).count("tile-unknown") == 2
    assert classes(tiles).count("tile-affected") == 1
    assert classes(tiles).count("node-affected") == 1
    assert words(gpu_tiles(pl.DataFrame(), frozenset())) == "No GPU metrics in this time."
