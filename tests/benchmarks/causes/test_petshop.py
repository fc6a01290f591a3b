from pathlib import Path

import pytest

from benchmarks.causes.petshop import FOLDER, OURS, aliases, load, run

needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"PetShop is not there: {FOLDER}")


def test_an_absent_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cases\.parquet is absent: .*--data FOLDER"):
        load(tmp_path)


def test_a_load_balancer_is_known_by_the_first_letters_of_its_service() -> None:
    balancer = "servi-searc.us-west-2.elb.amazonaws.com_remote"
    calls = frozenset({("PetSite", balancer), ("PetSite", "PetSearch_AWS::ECS::Fargate"), ("PetSearch_client", "x")})
    assert aliases(calls) == {balancer: "PetSearch_AWS::ECS::Fargate"}


@pytest.mark.slow
@needs_data
def test_the_true_cause_is_named_first_and_usual_time_is_left_alone() -> None:
    figures = run()
    assert figures[f"{OURS} / all / cases"] == 52
    assert figures[f"{OURS} / all / at_1"] >= 0.95
    assert figures[f"{OURS} / all, other traffic / at_1"] >= 0.92
    assert figures[f"{OURS} / temporal, low traffic / at_1"] >= 0.95
    assert figures["detection / all / at_1"] >= 0.90
    assert figures["specificity / all / at_1"] >= 0.90
    assert figures["ours - correlation / all, paired / low"] > 0
