import numpy as np
import pytest

from benchmarks.causes.scoring import Hits, as_dict, difference, expected_hit, interval, row


def test_equal_scores_hit_at_their_expected_rank() -> None:
    nodes = ["a", "b", "c", "d"]
    assert expected_hit({"a": 2.0, "b": 1.0, "c": 1.0}, nodes, "a", 1) == 1.0
    assert expected_hit({"a": 2.0, "b": 1.0, "c": 1.0}, nodes, "b", 1) == 0.0
    assert expected_hit({"a": 2.0, "b": 1.0, "c": 1.0}, nodes, "b", 2) == 0.5
    assert expected_hit({}, nodes, "d", 1) == 0.25
    assert expected_hit({}, nodes, "d", 3) == 0.75


def test_a_cause_that_is_no_candidate_is_refused() -> None:
    with pytest.raises(ValueError, match="'z' is not among the 1 candidates"):
        expected_hit({}, ["a"], "z", 1)


def test_a_method_that_says_nothing_scores_as_chance_does() -> None:
    hits = Hits.of(({}, ["a", "b", "c", "d"], cause) for cause in "abcd")
    assert hits.at_1.tolist() == [0.25] * 4
    assert hits.at_3.tolist() == [0.75] * 4


def test_the_interval_holds_the_mean_and_narrows_with_more_cases() -> None:
    few, many = np.array([0.0, 1.0] * 5), np.array([0.0, 1.0] * 500)
    assert interval(few)[0] < 0.5 < interval(few)[1]
    assert interval(many)[1] - interval(many)[0] < interval(few)[1] - interval(few)[0]


def test_as_many_hits_as_cases_are_no_certainty() -> None:
    assert interval(np.ones(28)) == pytest.approx((0.879, 1.0), abs=1e-3)
    assert interval(np.zeros(28)) == pytest.approx((0.0, 0.121), abs=1e-3)
    assert interval(np.array([0.5, 1.0, 1.0]))[0] == pytest.approx(0.5)


def test_figures_are_found_by_name() -> None:
    better = Hits(np.array([1.0, 1.0]), np.array([1.0, 1.0]))
    worse = Hits(np.array([0.0, 1.0]), np.array([1.0, 1.0]))
    figures = as_dict([row("ours", "all", better), difference("ours - other", "all", better, worse)])
    assert figures["ours / all / at_1"] == 1.0
    assert figures["ours / all / cases"] == 2
    assert figures["ours - other / all / at_1"] == 0.5
    assert (figures["ours - other / all / low"], figures["ours - other / all / high"]) == interval(np.array([1.0, 0.0]))
