import pytest
import yaml

from analytics.slo_documents.documents import MetricSource, RatioMetric, SloObjective
from analytics.slo_documents.v1alpha import read_v1alpha
from analytics.slo_documents.windows import Duration, RollingWindow
from tests.analytics.slo_documents.samples import V1ALPHA, refused


def test_v1alpha_becomes_the_same_nouns() -> None:
    (document,) = read_v1alpha(V1ALPHA)
    assert (document.name, document.service, document.objectives) == ("slo1", "svc01", (SloObjective(0.999),))
    assert document.time_windows == (RollingWindow(Duration(30, "d")),)
    sources = [MetricSource("prometheus", {"queryType": "promql", "query": name}) for name in ("good", "total")]
    assert document.indicator == RatioMetric(good=sources[0], total=sources[1], is_counter=True)


def test_several_objectives_of_v1alpha_are_as_many_slos() -> None:
    document = yaml.safe_load(V1ALPHA)
    document["spec"]["objectives"] *= 2
    assert [one.name for one in read_v1alpha(yaml.safe_dump(document))] == ["slo1-0", "slo1-1"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("target: 0.999", "target: 1.5", ("spec.objectives[0].target", "less_than")),
        ("service: svc01", "service: ''", ("spec.service", "required")),
        ("unit: Day", "unit: Fortnight", ("spec.timeWindow[0].duration", "duration")),
        ("[{count: 30, unit: Day}]", "[]", ("spec.timeWindow", "slice_length")),
        ("  - ratioMetrics:", "  - ratio:", ("spec.objectives[0].ratio", "unknown_field")),
        ("name: slo1, ", "", ("metadata.name", "required")),
    ],
    ids=str,
)
def test_v1alpha_that_is_not_valid_is_refused(old: str, new: str, problem: tuple[str, str]) -> None:
    assert problem in {(one.path, one.rule) for one in refused(read_v1alpha, V1ALPHA.replace(old, new, 1))}


def test_an_slo_of_v1alpha_stands_once() -> None:
    assert [one.rule for one in refused(read_v1alpha, f"{V1ALPHA}---{V1ALPHA}")] == ["duplicate"]
