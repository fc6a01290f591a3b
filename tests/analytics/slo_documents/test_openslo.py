import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from analytics.slo_documents.openslo import (
    MORE_WINDOWS,
    SLA,
    AlertConditionDocument,
    AlertNotificationTargetDocument,
    AlertPolicyDocument,
    CalendarWindow,
    DataSourceDocument,
    Duration,
    MetricSource,
    OpenSloError,
    Problem,
    RatioMetric,
    RollingWindow,
    ServiceDocument,
    SliDocument,
    SloDocument,
    SloObjective,
    ThresholdMetric,
    document_from,
    document_of,
    imported_documents,
    objective_of,
    objectives_in,
    problems_of,
    read_documents,
    read_pyrra,
    read_sloth,
    read_v1alpha,
)
from domain.incident import Indicator
from domain.slo import Calendar, CreditTier, Objective, Period, Selection, Sla, Slices
from tests.documents import yaml_blocks

CASES = Path(__file__).parents[4] / "shared" / "data" / "slo"
TRANSCRIBED = CASES / "openslo-transcribed" / "v1_validation_cases.json"
SDK = CASES / "openslo-go-sdk" / "pkg"
SLOTH = CASES / "sloth" / "test" / "integration" / "prometheus" / "testdata"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason=f"no conformance cases in {CASES}")
DOCUMENTS: list[dict[str, Any]] = json.loads(TRANSCRIBED.read_text())["cases"] if TRANSCRIBED.is_file() else []
MONDAY = datetime.fromisoformat("2001-01-01")  # on the clock of a place
OBJECTIVES = (
    Objective("chat-ttft", "chat", Indicator.TTFT, 0.99, 30, 800.0),
    Objective("chat-errors", "chat", Indicator.ERRORS, 0.999, 7),
    Objective("tpot", "chat", Indicator.TPOT, 0.99, 30, 50.0, selection=Selection("llama", "v2", "acme", "blue")),
    Objective("goodput", "chat", Indicator.GOODPUT, 0.95, 30, 800.0, tpot_threshold_ms=60.0),
    Objective("throughput", "chat", Indicator.THROUGHPUT, 0.95, 30, floor_per_s=2.5, slices=Slices(300, 1.0)),
    Objective("gpus", "fleet", Indicator.GPU_AVAILABILITY, 0.995, 30, selection=Selection(node="gpu-07-*")),
    Objective("requests-are-fresh", "chat", Indicator.DATA_FRESHNESS, 0.99, 30, age_max_s=300.0),
    Objective("samples-are-fresh", "all", Indicator.DATA_FRESHNESS, 0.99, 30, age_max_s=120.0, data="samples"),
    Objective(
        "further",
        "chat",
        Indicator.ERRORS,
        0.999,
        30,
        more_periods=(Period(7), Period(90, Calendar(1, "Q", "Europe/Berlin", MONDAY))),
        sla=Sla(12_000.0, (CreditTier(0.999, 0.1), CreditTier(0.99, 0.25)), "Europe/Berlin"),
    ),
    Objective("month", "chat", Indicator.ERRORS, 0.999, 30, calendar=Calendar(1, "M", "Europe/Berlin", MONDAY)),
    Objective("slices", "chat", Indicator.LATENCY, 0.99, 28, 2000.0, slices=Slices(60, 0.95)),
    Objective("ratios", "chat", Indicator.LATENCY, 0.99, 28, 2000.0, slices=Slices(300, None)),
)
SLO = """
apiVersion: openslo/v1
kind: SLO
metadata:
  name: web-latency
  displayName: Web latency
  labels: {team: [a, b], env: prod}
  annotations:
    tailsight.io/more-windows: 7d rolling, 1M calendar Europe/Berlin
spec:
  description: Pages come quickly.
  service: web
  indicator:
    metadata: {name: latency}
    spec:
      thresholdMetric:
        metricSource:
          type: Prometheus
          metricSourceRef: our-prometheus
          spec: {query: p99}
  timeWindow:
    - duration: 1Q
      isRolling: false
      calendar: {startTime: 2026-01-01 12:00:00, timeZone: America/New_York}
  budgetingMethod: Timeslices
  objectives:
    - displayName: Good
      op: lte
      value: 200
      targetPercent: 99.9
      timeSliceTarget: 0.95
      timeSliceWindow: 5m
  alertPolicies:
    - alertPolicyRef: page-us
"""
POLICY = """
apiVersion: openslo/v1
kind: AlertPolicy
metadata: {name: page-us}
spec:
  alertWhenBreaching: true
  conditions:
    - kind: AlertCondition
      metadata: {name: fast-burn}
      spec:
        severity: page
        condition: {kind: burnrate, op: gte, threshold: 14.4, lookbackWindow: 1h}
  notificationTargets:
    - targetRef: on-call
    - kind: AlertNotificationTarget
      metadata: {name: chat-room}
      spec: {target: slack}
"""
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
PYRRA = """
apiVersion: pyrra.dev/v1alpha1
kind: ServiceLevelObjective
metadata:
  name: shop-errors
  namespace: monitoring
  labels: {pyrra.dev/service: shop, role: alert-rules}
spec:
  target: "99.9"
  window: 4w
  description: Orders are taken.
  indicator:
    ratio:
      errors: {metric: 'requests_total{code=~"5.."}'}
      total: {metric: requests_total}
      grouping: [handler]
"""


def changed(document: dict[str, Any], *path: Any, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(document)
    where: Any = document
    for name in path[:-1]:
        where = where[name]
    where[path[-1]] = value
    return document


def slo(*path: Any, value: Any) -> dict[str, Any]:
    return changed(yaml.safe_load(SLO), *path, value=value)


def refused(read: Callable[[str], object], text: str) -> list[Problem]:
    with pytest.raises(OpenSloError) as error:
        read(text)
    return list(error.value.problems)


def only(text: str) -> SloDocument:
    (document,) = read_documents(text)
    assert isinstance(document, SloDocument)
    return document


# -- what the project's own cases say ----------------------------------------------------------------------------------


@needs_cases
@pytest.mark.parametrize("case", DOCUMENTS, ids=lambda case: case["name"])
def test_documents_are_taken_or_refused_as_the_go_sdk_does_by_the_same_rules(case: dict[str, Any]) -> None:
    found = {(problem.path, problem.rule) for problem in problems_of(case["doc"])}
    wanted = {(error["path"], error["code"]) for error in case["errors"]}
    assert wanted <= found
    assert bool(found) is not case["valid"]


@needs_cases
@pytest.mark.parametrize("case", DOCUMENTS, ids=lambda case: case["name"])
def test_a_refused_document_is_refused_as_text_too_and_a_good_one_becomes_a_noun(case: dict[str, Any]) -> None:
    if case["valid"]:
        (document,) = read_documents(json.dumps(case["doc"]))
        assert document.name == case["doc"]["metadata"]["name"]
        assert read_documents(yaml.safe_dump(case["doc"])) == [document] == [document_from(case["doc"])]
    else:
        assert refused(read_documents, json.dumps(case["doc"])) == problems_of(case["doc"])


@needs_cases
def test_the_examples_of_the_specification_are_taken_but_for_operators_beside_ratios() -> None:
    files = sorted((CASES / "openslo-spec" / "examples").rglob("*.y*ml"))
    taken, rules = [], set()
    for file in files:
        try:
            taken.append(read_documents(file.read_text()))
        except OpenSloError as error:
            rules |= {(problem.path.rpartition(".")[2], problem.rule) for problem in error.problems}
    # Three of the examples carry an operator beside a ratio metric, which the SDK of the same project refuses.
    assert (len(files), len(taken), rules) == (4, 1, {("op", "forbidden")})


@needs_cases
@pytest.mark.parametrize("kind", ["services", "data_sources", "alert_conditions", "alert_notification_targets", "slis"])
def test_the_examples_of_the_go_sdk_are_taken(kind: str) -> None:
    text = (SDK / "openslo" / "v1" / "examples" / f"{kind}.yaml").read_text()
    assert len(read_documents(text)) == len(yaml.safe_load(text))


@needs_cases
@pytest.mark.parametrize("name", ["alert_policies_keep_refs", "alert_policies_remove_refs", "slo"])
def test_documents_with_others_written_out_in_them_are_taken(name: str) -> None:
    text = (SDK / "openslosdk" / "test_data" / "inline" / "inputs" / f"v1_{name}.yaml").read_text()
    assert len(read_documents(text)) == len(yaml.safe_load(text))


@needs_cases
def test_one_object_a_list_and_several_documents_are_read_as_yaml_and_as_json() -> None:
    folder = SDK / "openslosdk" / "test_data" / "decode"
    counts = {
        name: len(read_documents((folder / name).read_text()))
        for name in ("single_object.yaml", "single_object.json", "sequence_of_objects.yaml", "sequence_of_objects.json")
    }
    assert list(counts.values()) == [1, 1, 2, 2]


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


# -- nouns -------------------------------------------------------------------------------------------------------------


def test_an_slo_is_read_with_all_that_it_says() -> None:
    source = MetricSource("Prometheus", {"query": "p99"}, "our-prometheus")
    start = datetime(2026, 1, 1, 12)  # noqa: DTZ001  # its zone stands beside it
    assert only(SLO) == SloDocument(
        name="web-latency",
        display_name="Web latency",
        description="Pages come quickly.",
        annotations={MORE_WINDOWS: "7d rolling, 1M calendar Europe/Berlin"},
        labels={"team": ("a", "b"), "env": ("prod",)},
        service="web",
        indicator=ThresholdMetric(source),
        budgeting_method="Timeslices",
        objectives=(SloObjective(0.999, "lte", 200.0, 0.95, Duration(5, "m"), "Good"),),
        time_windows=(
            CalendarWindow(Duration(1, "Q"), start, "America/New_York"),
            RollingWindow(Duration(7, "d")),
            CalendarWindow(Duration(1, "M"), datetime(2001, 1, 1), "Europe/Berlin"),  # noqa: DTZ001  # the same
        ),
        alert_policies=("page-us",),
    )


def test_a_policy_is_read_with_what_is_written_out_in_it_and_with_the_names_of_others() -> None:
    (policy,) = read_documents(POLICY)
    nothing: dict[str, Any] = {"annotations": {}, "labels": {}}
    condition = AlertConditionDocument(
        name="fast-burn",
        severity="page",
        op="gte",
        threshold=14.4,
        lookback_window=Duration(1, "h"),
        alert_after=Duration(0, "m"),
        **nothing,
    )
    assert policy == AlertPolicyDocument(
        name="page-us",
        alert_when_no_data=False,
        alert_when_resolved=False,
        alert_when_breaching=True,
        condition=condition,
        notification_targets=("on-call", AlertNotificationTargetDocument(name="chat-room", target="slack", **nothing)),
        **nothing,
    )


def test_the_small_kinds_are_read_in_the_order_they_stand_in() -> None:
    source = {"metricSource": {"type": "Prometheus", "spec": {"query": "q"}}}
    specs = {
        "Service": {"description": "A shop."},
        "SLI": {"ratioMetric": {"raw": source, "rawType": "failure"}},
        "DataSource": {"type": "Prometheus", "connectionDetails": [{"url": "http://prometheus"}]},
        "AlertNotificationTarget": {"target": "slack"},
    }
    documents = [
        {"apiVersion": "openslo/v1", "kind": kind, "metadata": {"name": "it"}, "spec": spec}
        for kind, spec in specs.items()
    ]
    service, sli, data_source, target = read_documents(yaml.safe_dump_all(documents))
    assert isinstance(service, ServiceDocument)
    assert service.description == "A shop."
    assert isinstance(sli, SliDocument)
    assert sli.metric == RatioMetric(raw=MetricSource("Prometheus", {"query": "q"}), raw_type="failure")
    assert isinstance(data_source, DataSourceDocument)
    assert (data_source.type, data_source.connection_details) == ("Prometheus", [{"url": "http://prometheus"}])
    assert isinstance(target, AlertNotificationTargetDocument)
    assert target.target == "slack"


def test_each_part_of_a_composite_keeps_its_own_indicator_and_weight() -> None:
    document = slo("spec", "indicator", value=None)
    part = document["spec"]["objectives"][0]
    document["spec"]["objectives"] = [
        {**part, "indicatorRef": "first", "compositeWeight": 2},
        {**part, "indicatorRef": "second"},
    ]
    read = only(yaml.safe_dump(document))
    assert read.indicator is None
    assert [(one.indicator, one.composite_weight) for one in read.objectives] == [("first", 2.0), ("second", 1.0)]


def test_a_part_of_a_composite_without_an_indicator_is_refused() -> None:
    document = slo("spec", "indicator", value=None)
    part = document["spec"]["objectives"][0]
    document["spec"]["objectives"] = [{**part, "indicatorRef": "first"}, part]
    assert [problem.path for problem in problems_of(document)] == ["spec.objectives[1]"]


def test_json_indented_by_tabs_is_read_as_well() -> None:
    document = document_of(OBJECTIVES[0])
    assert read_documents(json.dumps(document, indent="\t")) == read_documents(yaml.safe_dump(document))


@pytest.mark.parametrize(("written", "days"), [("2w", 14), ("1M", 30), ("1Q", 90), ("1Y", 365), ("36h", 1.5)])
def test_a_duration_has_the_length_that_the_go_sdk_gives_it(written: str, days: float) -> None:
    window = only(yaml.safe_dump(slo("spec", "timeWindow", value=[{"duration": written, "isRolling": True}])))
    assert isinstance(window.time_windows[0], RollingWindow)
    assert window.time_windows[0].duration.length_s == days * 86_400
    assert str(window.time_windows[0].duration) == written


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_every_problem_of_a_document_is_told_at_once() -> None:
    document = slo("spec", "objectives", 0, "target", value=1.5)
    document["spec"]["budgetingMethod"] = "Timeslice"
    document["metadata"]["name"] = "Web Latency"
    problems = refused(read_documents, yaml.safe_dump(document))
    assert [(one.path, one.rule) for one in problems] == [
        ("metadata.name", "string_dns_label"),
        ("spec.budgetingMethod", "one_of"),
        ("spec.objectives[0]", "mutually_exclusive"),
        ("spec.objectives[0].target", "less_than"),
    ]
    assert problems[1].message == (
        "is 'Timeslice' (did you mean Timeslices?); valid are Occurrences, Timeslices, RatioTimeslices"
    )
    assert problems[3].message == "is 1.5; it must be less than 1.0"


def test_an_unknown_field_names_the_nearest_valid_one_and_all_others() -> None:
    (problem,) = problems_of(slo("spec", "alertPolicy", value=[]))
    assert (problem.path, problem.rule) == ("spec.alertPolicy", "unknown_field")
    assert problem.message.startswith("is not known (did you mean alertPolicies?); valid are description, service, ")


def test_a_document_of_another_kind_than_it_says_is_told_so() -> None:
    (problem,) = problems_of(slo("kind", value="Service"))
    assert str(problem) == "kind: is 'Service', but the fields of spec are those of SLO"


def test_of_several_documents_each_problem_says_where() -> None:
    text = yaml.safe_dump_all([document_of(OBJECTIVES[0]), slo("spec", "service", value="")])
    with pytest.raises(OpenSloError, match=r"\[1\]\.spec\.service: is missing"):
        read_documents(text)


@pytest.mark.parametrize("text", ["", "- a", "a: [", "kind: SLO", "[]", "apiVersion: openslo/v1alpha", "{a: {b: c}}"])
@pytest.mark.parametrize("read", [read_documents, read_sloth, read_pyrra], ids=lambda read: read.__name__)
def test_what_is_no_document_is_refused(read: Callable[[str], object], text: str) -> None:
    assert refused(read, text)


@pytest.mark.parametrize(
    "start", ["2026-01-01", "2026-01-01 12:00:00+01:00", "2026-01-01T12:00:00", "2026-13-01 12:00:00"]
)
def test_a_calendar_starts_at_a_time_without_a_zone(start: str) -> None:
    problems = refused(read_documents, SLO.replace("2026-01-01 12:00:00", start))
    assert [one.path for one in problems] == ["spec.timeWindow[0].calendar.startTime"]


@pytest.mark.parametrize("zone", ["Europe", "Berlin", "../zone"])
def test_a_calendar_has_a_zone_of_the_database(zone: str) -> None:
    problems = refused(read_documents, SLO.replace("America/New_York", zone))
    assert [one.path for one in problems] == ["spec.timeWindow[0].calendar.timeZone"]


@pytest.mark.parametrize(
    "target", [float("nan"), float("inf"), 10**400, True, "0.9"], ids=lambda target: repr(target)[:8]
)
def test_a_target_is_a_finite_number(target: object) -> None:
    document = slo("spec", "objectives", 0, "targetPercent", value=target)
    assert [one.path for one in problems_of(document)] == ["spec.objectives[0].targetPercent"]


@pytest.mark.parametrize(
    "path",
    [
        ("metadata",),
        ("metadata", "labels"),
        ("metadata", "annotations"),
        ("spec",),
        ("spec", "indicator"),
        ("spec", "indicator", "spec"),
        ("spec", "indicator", "spec", "thresholdMetric"),
        ("spec", "indicator", "spec", "thresholdMetric", "metricSource"),
        ("spec", "timeWindow"),
        ("spec", "timeWindow", 0),
        ("spec", "timeWindow", 0, "calendar"),
        ("spec", "timeWindow", 0, "duration"),
        ("spec", "objectives"),
        ("spec", "objectives", 0),
        ("spec", "objectives", 0, "value"),
        ("spec", "alertPolicies"),
        ("spec", "alertPolicies", 0),
        ("spec", "service"),
        ("spec", "budgetingMethod"),
        ("kind",),
    ],
    ids=lambda path: ".".join(map(str, path)),
)
@pytest.mark.parametrize("value", [0, "text", [1], {"a": 1}], ids=repr)
def test_a_value_of_another_type_is_a_problem_and_never_a_crash(path: tuple[Any, ...], value: object) -> None:
    is_fine = (path, value) in [(("spec", "service"), "text"), (("spec", "objectives", 0, "value"), 0)]
    assert bool(problems_of(slo(*path, value=value))) is not is_fine


@pytest.mark.parametrize("field", ["conditions", "notificationTargets"])
def test_what_is_written_out_in_a_policy_must_have_a_spec(field: str) -> None:
    policy = changed(yaml.safe_load(POLICY), "spec", field, -1, "spec", value=0)
    number = len(policy["spec"][field]) - 1
    assert (f"spec.{field}[{number}].spec", "type") in [(one.path, one.rule) for one in problems_of(policy)]


def test_a_condition_is_either_written_out_or_named() -> None:
    policy = changed(yaml.safe_load(POLICY), "spec", "conditions", 0, "conditionRef", value="fast-burn")
    (problem,) = problems_of(policy)
    assert (problem.path, problem.rule) == ("spec.conditions[0]", "mutually_exclusive")


def test_only_the_wait_before_an_alert_may_be_nothing() -> None:
    condition = ("spec", "conditions", 0, "spec", "condition")
    policy = changed(yaml.safe_load(POLICY), *condition, "alertAfter", value="0m")
    assert problems_of(policy) == []
    (problem,) = problems_of(changed(policy, *condition, "lookbackWindow", value="0m"))
    assert problem.message == "is '0m'; write a whole number, 1 or more, and one of m h d w M Q Y, as in 30d"


def test_a_time_that_another_reader_of_yaml_made_is_taken_unless_it_has_a_zone() -> None:
    start = datetime(2026, 1, 1, 12, tzinfo=UTC)
    place = ("spec", "timeWindow", 0, "calendar", "startTime")
    assert problems_of(slo(*place, value=start.replace(tzinfo=None))) == []
    assert [one.rule for one in problems_of(slo(*place, value=start))] == ["string_date_time"]


def test_the_domain_of_an_annotation_has_at_most_253_characters() -> None:
    for length, found in ((252, []), (254, ["string_match_regexp"])):
        key = "a." * (length // 2 - 1) + "bc/key"
        assert [one.rule for one in problems_of(slo("metadata", "annotations", value={key: "x"}))] == found


def test_a_number_without_end_is_refused_and_not_read() -> None:
    (problem,) = refused(read_documents, "a: " + "1" * 5000)
    assert problem.rule == "document"


# -- further windows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written", ["7d", "7 rolling", "0d rolling", "1M calendar", "1M calendar Mars/Olympus", "7d rolling,", "rolling 7d"]
)
def test_a_further_window_that_is_none_is_refused(written: str) -> None:
    (problem,) = problems_of(slo("metadata", "annotations", MORE_WINDOWS, value=written))
    assert (problem.path, problem.rule) == (f"metadata.annotations.{MORE_WINDOWS}", "time_window")


def test_two_windows_in_the_document_itself_are_refused_and_the_annotation_is_named() -> None:
    window = {"duration": "7d", "isRolling": True}
    (problem,) = problems_of(slo("spec", "timeWindow", value=[window, window]))
    assert (problem.path, problem.rule) == ("spec.timeWindow", "slice_length")
    assert MORE_WINDOWS in problem.message


# -- Sloth -------------------------------------------------------------------------------------------------------------


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


# -- Pyrra -------------------------------------------------------------------------------------------------------------


def pyrra(indicator: dict[str, Any]) -> str:
    return yaml.safe_dump(changed(yaml.safe_load(PYRRA), "spec", "indicator", value=indicator))


def test_pyrras_ratio_is_read_with_its_target_window_and_labels() -> None:
    (document,) = read_pyrra(PYRRA)
    assert document == SloDocument(
        name="shop-errors",
        description="Orders are taken.",
        annotations={},
        labels={"pyrra.dev/service": ("shop",), "role": ("alert-rules",)},
        service="shop",
        indicator=RatioMetric(
            bad=MetricSource("Prometheus", {"query": 'requests_total{code=~"5.."}', "grouping": ["handler"]}),
            total=MetricSource("Prometheus", {"query": "requests_total", "grouping": ["handler"]}),
            is_counter=True,
        ),
        budgeting_method="Occurrences",
        objectives=(SloObjective(0.999),),
        time_windows=(RollingWindow(Duration(4, "w")),),
    )


def test_pyrras_latency_counts_a_bucket_as_good() -> None:
    success = 'duration_bucket{job="shop",le="0.5"}'
    (document,) = read_pyrra(
        pyrra({"latency": {"success": {"metric": success}, "total": {"metric": "duration_count"}}})
    )
    assert document.indicator == RatioMetric(
        good=MetricSource("Prometheus", {"query": success}),
        total=MetricSource("Prometheus", {"query": "duration_count"}),
        is_counter=True,
    )


def test_pyrras_native_latency_keeps_its_limit() -> None:
    (document,) = read_pyrra(pyrra({"latencyNative": {"total": {"metric": "duration"}, "latency": "200ms"}}))
    assert document.indicator == RatioMetric(
        good=MetricSource("Prometheus", {"query": "duration", "latency": "200ms"}),
        total=MetricSource("Prometheus", {"query": "duration"}),
        is_counter=True,
    )


def test_pyrras_gauge_is_a_ready_ratio_of_success() -> None:
    (document,) = read_pyrra(pyrra({"bool_gauge": {"metric": "up"}}))
    assert document.indicator == RatioMetric(raw=MetricSource("Prometheus", {"query": "up"}), raw_type="success")


@pytest.mark.parametrize(
    ("written", "duration"),
    [
        ("28d", Duration(28, "d")),
        ("1y", Duration(1, "Y")),
        ("1d12h", Duration(2160, "m")),
        ("3600s", Duration(60, "m")),
    ],
)
def test_pyrras_window_is_a_duration_of_prometheus(written: str, duration: Duration) -> None:
    (document,) = read_pyrra(PYRRA.replace("window: 4w", f"window: {written}"))
    assert document.time_windows == (RollingWindow(duration),)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("v1alpha1", "v2", ("apiVersion", "equal_to")),
        ("kind: ServiceLevelObjective", "kind: SLO", ("kind", "equal_to")),
        ("name: shop-errors", "name: ''", ("metadata.name", "required")),
        ('target: "99.9"', "target: ''", ("spec.target", "required")),
        ('target: "99.9"', "target: most", ("spec.target", "type")),
        ('target: "99.9"', 'target: "101"', ("spec.target", "less_than_or_equal_to")),
        ("window: 4w", "window: 1M", ("spec.window", "duration")),
        ("window: 4w", "window: 0d", ("spec.window", "duration")),
        ("window: 4w", "window: 90s", ("spec.window", "duration")),
        ("total: {metric: requests_total}", "total: {}", ("spec.indicator.ratio.total.metric", "required")),
        ("    ratio:", "    ration:", ("spec.indicator", "mutually_exclusive")),
    ],
    ids=str,
)
def test_what_pyrra_would_refuse_is_refused_with_a_reason(old: str, new: str, problem: tuple[str, str]) -> None:
    assert [(one.path, one.rule) for one in refused(read_pyrra, PYRRA.replace(old, new, 1))] == [problem]


@pytest.mark.parametrize("success", ["duration_bucket", 'duration_bucket{le="quick"}', 'duration_bucket{angle="1"}'])
def test_pyrras_latency_without_a_bucket_is_refused(success: str) -> None:
    text = pyrra({"latency": {"success": {"metric": success}, "total": {"metric": "duration_count"}}})
    assert [(one.path, one.rule) for one in refused(read_pyrra, text)] == [
        ("spec.indicator.latency.success.metric", "query")
    ]


# -- between a document and an objective -------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda one: one.name)
def test_what_is_written_is_valid_and_read_again(objective: Objective) -> None:
    document = document_of(objective)
    assert problems_of(document) == []
    assert only(yaml.safe_dump(document)).objectives[0].target_ratio == objective.target_ratio
    assert objective_of(document) == objective


def measured(objective: Objective) -> dict[str, Any]:
    """What our metric source says of all events."""
    ratio = document_of(objective)["spec"]["indicator"]["spec"]["ratioMetric"]
    found: dict[str, Any] = ratio["total"]["metricSource"]["spec"]
    return found


def test_a_metric_source_says_of_whom_and_how_much() -> None:
    goodput = Objective(
        "g", "chat", Indicator.GOODPUT, 0.95, 30, 800.0, tpot_threshold_ms=60.0, selection=Selection(tenant="acme")
    )
    assert measured(goodput) == {
        "requests": "all",
        "indicator": "goodput",
        "threshold_ms": 800.0,
        "tpot_threshold_ms": 60.0,
        "tenant": "acme",
    }


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("chat-ttft", {"threshold_ms": None}, ("threshold_ms", "type")),
        ("chat-ttft", {"tennant": "acme"}, ("tennant", "unknown_field")),
        ("chat-ttft", {"node": "n1"}, ("node", "unknown_field")),
        ("chat-ttft", {"tenant": ""}, ("tenant", "type")),
        ("chat-ttft", {"indicator": ["ttft"]}, ("indicator", "one_of")),
        ("goodput", {"tpot_threshold_ms": None}, ("tpot_threshold_ms", "type")),
        ("throughput", {"floor_per_s": "5"}, ("floor_per_s", "type")),
        ("gpus", {"tenant": "acme"}, ("tenant", "unknown_field")),
        ("samples-are-fresh", {"tenant": "acme"}, ("tenant", "unknown_field")),
        ("requests-are-fresh", {"data": "logs"}, ("data", "one_of")),
    ],
    ids=str,
)
def test_what_a_metric_source_must_not_say_is_refused(
    name: str, change: dict[str, Any], problem: tuple[str, str]
) -> None:
    document = document_of(next(one for one in OBJECTIVES if one.name == name))
    document["spec"]["indicator"]["spec"]["ratioMetric"]["total"]["metricSource"]["spec"] |= change
    with pytest.raises(OpenSloError) as error:
        objective_of(document)
    field, rule = problem
    path = f"spec.indicator.spec.ratioMetric.total.metricSource.spec.{field}"
    assert [(one.path, one.rule) for one in error.value.problems] == [(path, rule)]


@pytest.mark.parametrize(
    ("written", "tiers"),
    [
        ("12000 usd monthly; below 99.9%: 10%; below 99%: 25%", ((0.999, 0.1), (0.99, 0.25))),
        ("12000.00 usd monthly;below 0.999: 0.1", ((0.999, 0.1),)),
    ],
)
def test_an_sla_is_an_annotation(written: str, tiers: tuple[tuple[float, float], ...]) -> None:
    document = document_of(OBJECTIVES[0])
    document["metadata"]["annotations"] = {SLA: written}
    assert problems_of(document) == []
    assert objective_of(document).sla == Sla(12_000.0, tuple(CreditTier(*one) for one in tiers))


@pytest.mark.parametrize(
    "written",
    [
        "",
        "12000 usd",
        "12000 usd monthly",
        "12000 eur monthly; below 99.9%: 10%",
        "12000 usd monthly; below 99.9%: 10",
        "12000 usd monthly; below 99.9: 10%",
        "12000 usd monthly; below 99%: 25%; below 99.9%: 10%",
        "12000 usd monthly; below 99.9%: 25%; below 99%: 10%",
    ],
)
def test_an_sla_that_cannot_be_meant_is_refused(written: str) -> None:
    document = document_of(OBJECTIVES[0])
    document["metadata"]["annotations"] = {SLA: written}
    assert [(one.path, one.rule) for one in problems_of(document)] == [(f"metadata.annotations.{SLA}", "sla")]


def test_a_further_window_of_hours_cannot_be_judged() -> None:
    document = document_of(OBJECTIVES[0])
    document["metadata"]["annotations"] = {MORE_WINDOWS: "7d rolling, 6h rolling"}
    with pytest.raises(OpenSloError) as error:
        objective_of(document)
    assert [(one.path, one.rule) for one in error.value.problems] == [
        (f"metadata.annotations.{MORE_WINDOWS}", "unsupported")
    ]


def test_an_indicator_may_stand_in_a_document_of_its_own() -> None:
    objective = OBJECTIVES[0]
    document = document_of(objective)
    indicator = document["spec"].pop("indicator")
    sli = {"apiVersion": "openslo/v1", "kind": "SLI", "metadata": {"name": "quick"}, "spec": indicator["spec"]}
    service = {"apiVersion": "openslo/v1", "kind": "Service", "metadata": {"name": "chat"}, "spec": {}}
    document["spec"]["indicatorRef"] = "quick"
    assert objectives_in(yaml.safe_dump_all([service, document, sli])) == [objective]
    with pytest.raises(OpenSloError, match=r"spec\.indicatorRef: is 'quick'; no document of kind SLI beside it"):
        objectives_in(yaml.safe_dump_all([service, document]))


def test_the_example_of_the_documentation_can_be_judged() -> None:
    (block,) = yaml_blocks("slos.md")
    (objective,) = objectives_in(block)
    assert objective.selection == Selection(tenant="acme")
    assert (len(objective.more_periods), objective.sla and objective.sla.time_zone) == (2, "Europe/Berlin")


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("timeWindow", 0, "duration"), "6h", "spec.timeWindow[0].duration"),
        (
            ("indicator", "spec", "ratioMetric", "total", "metricSource", "type"),
            "Prometheus",
            "spec.indicator.spec.ratioMetric.total.metricSource",
        ),
    ],
)
def test_what_cannot_be_judged_yet_is_refused_by_name(path: tuple[Any, ...], value: object, problem: str) -> None:
    with pytest.raises(OpenSloError) as error:
        objective_of(changed(document_of(OBJECTIVES[0]), "spec", *path, value=value))
    assert problem in {one.path for one in error.value.problems}


@needs_cases
def test_slos_of_sloth_become_documents_of_ours_that_are_valid() -> None:
    text = (CASES / "sloth" / "examples" / "getting-started.yml").read_text()
    (document, *_) = imported_documents(text)
    assert problems_of(document) == []
    assert objective_of(document).target_ratio == 0.999
    assert "query" in document["metadata"]["annotations"]["tailsight.io/imported-queries"]


V1ALPHA = """
apiVersion: openslo/v1alpha
kind: SLO
metadata: {name: slo1, displayName: One}
spec:
  service: svc01
  description: this is one
  budgetingMethod: Occurrences
  objectives:
  - ratioMetrics:
      incremental: true
      good: {source: prometheus, queryType: promql, query: good}
      total: {source: prometheus, queryType: promql, query: total}
    target: 0.999
  timeWindows: [{count: 30, unit: Day}]
"""


def test_v1alpha_becomes_the_same_nouns() -> None:
    (document,) = read_v1alpha(V1ALPHA)
    assert (document.name, document.service, document.objectives) == ("slo1", "svc01", (SloObjective(0.999),))
    assert document.time_windows == (RollingWindow(Duration(30, "d")),)
    sources = [MetricSource("prometheus", {"queryType": "promql", "query": name}) for name in ("good", "total")]
    assert document.indicator == RatioMetric(good=sources[0], total=sources[1], is_counter=True)


def test_v1alpha_is_imported_with_its_calendar() -> None:
    calendar = "{count: 1, unit: Month, isRolling: false, calendar: {startTime: 2022-01-01 12:00:00, timeZone: UTC}}"
    (document,) = imported_documents(V1ALPHA.replace("{count: 30, unit: Day}", calendar))
    assert problems_of(document) == []
    objective = objective_of(document)
    assert objective.calendar == Calendar(1, "M", "UTC", datetime.fromisoformat("2022-01-01 12:00:00"))
    assert "total" in document["metadata"]["annotations"]["tailsight.io/imported-queries"]


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


@needs_cases
def test_v1alpha_as_sloth_and_the_sdk_have_it_can_be_imported() -> None:
    files = [
        *(CASES / "sloth" / "examples").glob("openslo-*.yml"),
        SLOTH / "in-openslo.yaml",
        SLOTH / "validate" / "good" / "good-openslo.yaml",
        SDK / "openslo" / "v1alpha" / "examples" / "slos.yaml",
    ]
    for file in files:
        for document in imported_documents(file.read_text()):
            assert problems_of(document) == [], file
            assert objective_of(document).indicator is Indicator.ERRORS
