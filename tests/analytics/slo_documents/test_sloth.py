from pathlib import Path

import pytest

from analytics.slo_documents.documents import MetricSource, RatioMetric, SloDocument, SloObjective
from analytics.slo_documents.sloth import read_sloth
from analytics.slo_documents.windows import Duration, RollingWindow
from tests.analytics.slo_documents.samples import CASES, SLOTH, needs_cases, refused

SLOTH_FILE = """
version: prometheus/v1
service: shop
labels: {tier: 2}
slos:
  - name: availability
    objective: 99.9
    description: Orders are taken.
    labels: {owner: orders}
    sli:
      events:
        error_query: sum(rate(errors[{{.window}}]))
        total_query: sum(rate(all[{{ .window }}]))
    alerting: {name: Orders}
  - name: ratio
    objective: 95
    sli: {raw: {error_ratio_query: "bad[{{.window}}]"}}
    alerting: {page_alert: {disable: true}, ticket_alert: {disable: true}}
  - name: plugged
    objective: 90
    sli: {plugin: {id: availability, options: {job: shop}}}
    alerting: {name: Plugged}
"""
SLOTH_RESOURCE = """
apiVersion: sloth.slok.dev/v1
kind: PrometheusServiceLevel
metadata:
  name: shop
  annotations: {tailsight.io/more-windows: 7d rolling}
spec:
  service: shop
  slos:
    - name: availability
      objective: 99.9
      sli: {events: {errorQuery: "errors[{{.window}}]", totalQuery: "all[{{.window}}]"}}
      alerting: {pageAlert: {disable: true}, ticketAlert: {disable: true}}
"""


def sloth_cases(folder: str) -> list[Path]:
    return [file for file in sorted((SLOTH / folder).glob("*.yaml")) if "openslo" not in file.name]


@needs_cases
@pytest.mark.parametrize("file", sloth_cases("validate/good"), ids=lambda file: file.stem)
def test_what_sloth_takes_is_taken(file: Path) -> None:
    documents = read_sloth(file.read_text())
    assert {document.objectives[0].target_ratio for document in documents} <= {0.95, 0.999, 0.9999}
    assert len(documents) in (2, 4)


@needs_cases
@pytest.mark.parametrize("file", sloth_cases("validate/bad"), ids=lambda file: file.stem)
def test_what_sloth_refuses_is_refused_where_it_is_marked(file: Path) -> None:
    paths = [problem.path for problem in refused(read_sloth, file.read_text())]
    marked = [line.split(":")[0].strip() for line in file.read_text().splitlines() if "BAD!" in line]
    assert [path.rpartition(".")[2] for path in paths] == marked != []


@needs_cases
def test_sloths_examples_are_taken() -> None:
    for file in sorted((CASES / "sloth" / "examples").glob("*.y*ml")):
        if "openslo" not in file.name:
            assert read_sloth(file.read_text()), file.name


@needs_cases
def test_an_slo_that_is_there_twice_is_refused_as_sloth_does() -> None:
    problems = refused(read_sloth, (SLOTH / "validate_with_duplicates" / "bad-prom-multi-duplicates.yaml").read_text())
    assert [(one.path, one.rule) for one in problems] == [
        ("[1].slos[0].name", "duplicate"),
        ("[1].slos[1].name", "duplicate"),
    ]
    assert problems[0].message == "is 'slo1' of service 'svc01', as [0].slos[0] is already"


@needs_cases
def test_the_older_openslo_that_sloth_reads_is_refused_by_name() -> None:
    for folder in ("good", "bad"):
        (problem,) = refused(read_sloth, (SLOTH / "validate" / folder / f"{folder}-openslo.yaml").read_text())
        assert (problem.path, problem.rule) == ("apiVersion", "equal_to")
        assert "openslo/v1alpha" in problem.message


def test_sloths_slos_are_read_with_their_queries_as_text() -> None:
    events, raw, plugin = read_sloth(SLOTH_FILE)
    assert events == SloDocument(
        name="shop-availability",
        display_name="availability",
        description="Orders are taken.",
        annotations={},
        labels={"tier": ("2",), "owner": ("orders",)},
        service="shop",
        indicator=RatioMetric(
            bad=MetricSource("Prometheus", {"query": "sum(rate(errors[{{.window}}]))"}),
            total=MetricSource("Prometheus", {"query": "sum(rate(all[{{ .window }}]))"}),
        ),
        budgeting_method="Occurrences",
        objectives=(SloObjective(0.999),),
        time_windows=(RollingWindow(Duration(30, "d")),),
    )
    assert raw.indicator == RatioMetric(
        raw=MetricSource("Prometheus", {"query": "bad[{{.window}}]"}), raw_type="failure"
    )
    spec = {"id": "availability", "options": {"job": "shop"}}
    assert plugin.indicator == RatioMetric(raw=MetricSource("SlothPlugin", spec), raw_type="failure")


def test_sloths_resource_of_kubernetes_is_read_with_further_windows() -> None:
    (document,) = read_sloth(SLOTH_RESOURCE)
    assert isinstance(document.indicator, RatioMetric)
    assert document.indicator.bad == MetricSource("Prometheus", {"query": "errors[{{.window}}]"})
    assert document.time_windows == (RollingWindow(Duration(30, "d")), RollingWindow(Duration(7, "d")))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("prometheus/v1", "prometheus/v999", ("version", "equal_to")),
        ("service: shop", "service: ''", ("service", "required")),
        ("objective: 99.9", "objective: 0", ("slos[0].objective", "greater_than")),
        ("objective: 99.9", "objective: '99.9'", ("slos[0].objective", "type")),
        ("name: ratio", "name: availability", ("slos[1].name", "duplicate")),
        ("errors[{{.window}}]", "errors[5m]", ("slos[0].sli.events.error_query", "query")),
        ("error_query:", "errorQuery:", ("slos[0].sli.events.error_query", "required")),
        ("{name: Orders}", "{}", ("slos[0].alerting.name", "required")),
        ("sli: {raw: ", "sli: {neither: ", ("slos[1].sli", "mutually_exclusive")),
        ("id: availability", "id: ''", ("slos[2].sli.plugin.id", "required")),
    ],
    ids=str,
)
def test_what_sloth_would_refuse_is_refused_with_a_reason(old: str, new: str, problem: tuple[str, str]) -> None:
    assert problem in [(one.path, one.rule) for one in refused(read_sloth, SLOTH_FILE.replace(old, new, 1))]


def test_a_field_that_is_spelt_as_in_the_other_form_of_sloth_is_named() -> None:
    problems = refused(read_sloth, SLOTH_FILE.replace("error_query:", "errorQuery:", 1))
    assert [str(one) for one in problems] == ["slos[0].sli.events.error_query: is missing; there is errorQuery"]
