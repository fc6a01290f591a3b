import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts.routing import Route, RouteError, duration_s, parse_route
from benchmarks.routing import disagreements
from tests.alerts.conformance import cases, needs_cases

TREES = cases("routing_cases.json").get("trees", [])
DEFAULTS = {"group_wait": 30.0, "group_interval": 300.0, "repeat_interval": 14400.0}


def tree_of(case: dict[str, Any]) -> Route:
    if "route_yaml" in case:
        return parse_route(yaml.safe_load(case["route_yaml"]))
    return parse_route(yaml.safe_load(case["config_yaml"])["route"])


@needs_cases
@pytest.mark.parametrize(
    ("tree", "case"),
    [(tree, case) for tree in TREES for case in tree["cases"]],
    ids=lambda value: value["test"] if "test" in value else str(value["labels"]),
)
def test_alerts_reach_the_routes_that_they_reach_in_alertmanager(tree: dict[str, Any], case: dict[str, Any]) -> None:
    reached = tree_of(tree).match(case["labels"])
    if "expected_route_labels" in case:
        assert dict(reached[-1].labels) == case["expected_route_labels"]
    if "route_keys" in case:
        assert [route.key for route in reached] == case["route_keys"]
    for route, wanted in zip(reached, case.get("expected", reached), strict=True):
        if isinstance(wanted, dict):
            assert route.options.receiver == wanted["receiver"]
            if "group_by" in wanted:
                assert list(route.options.group_by) == (wanted["group_by"] or [])
            for name in DEFAULTS.keys() & wanted.keys():
                seconds = duration_s(wanted[name]) if wanted[name] else DEFAULTS[name]
                assert getattr(route.options, f"{name}_s") == seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("1h30m", 5400), ("4900ms", 4.9), ("2w", 1209600), ("0", 0), ("1d", 86400)]
)
def test_durations_are_those_of_prometheus(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "1m1h", "-1s", "1.5h", "10 s", "s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration_s(text)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"receiver": "a", "matchers": ["a=b"]}, "root takes every alert"),
        ({"receiver": "a", "continue": True}, "root cannot continue"),
        ({"receiver": "a", "active_time_intervals": ["x"]}, "no time intervals"),
        ({"receiver": "a", "groupby": ["x"]}, "groupby; valid are"),
        ({"receiver": "a", "group_interval": "0s"}, "group_interval"),
        ({"receiver": "a", "routes": [{"matchers": ["a=~["]}]}, r"routes\[0\]"),
        ({"receiver": "a", "group_by": ["a", "..."]}, "alone"),
        ({"receiver": "a", "routes": [{"match": None, "match_re": {"a": None}}]}, "must be text"),
    ],
)
def test_a_tree_that_cannot_be_used_is_refused_where_it_is_wrong(document: dict[str, Any], told: str) -> None:
    with pytest.raises(RouteError, match=told):
        parse_route(document)


# -- random trees, held against the real amtool ------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("amtool") is None, reason="no amtool on PATH (apt install prometheus-alertmanager)")
def test_random_trees_route_as_the_real_amtool_says(tmp_path: Path) -> None:
    """A few here; `python -m benchmarks.routing` goes through ten thousand."""
    assert disagreements(trees=6, label_sets_each=4, seed=1, folder=tmp_path) == []
