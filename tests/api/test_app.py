"""The API describes itself, truly, and no input breaks it."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.openapi.models import OpenAPI
from jsonschema import Draft202012Validator

from api.docs import prose
from api.problems import KINDS

ODD_VALUES = [
    "",
    " ",
    "\x00",
    "💥",
    "-1",
    "1e999",
    "NaN",
    "9" * 30,
    "null",
    "' OR 1=1 --",
    "{a:String}",
    "%s",
    "../../etc",
    "a/b",
    "x" * 3000,
    "0001-01-01T00:00:00+14:00",
    "2026-11-23T02:00:00Z",
    "2105-12-31T23:59:59Z",
]


@pytest.fixture(scope="module")
def document(ask: Any) -> dict[str, Any]:
    """The OpenAPI document, as served."""
    described: dict[str, Any] = ask.get("/api/openapi.json").json()
    return described


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from operation.get("requestBody", {}).get("content", {}).items()
    for response in operation["responses"].values():
        yield from response.get("content", {}).items()


def test_the_description_is_openapi_3_1(document: dict[str, Any]) -> None:
    OpenAPI.model_validate(document)
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/services",
        "/api/v1/incidents",
        "/api/v1/incidents/{incident_id}",
        "/api/v1/incidents/{incident_id}/report",
        "/api/v1/incidents/{incident_id}/postmortem",
        "/api/v1/incidents/{incident_id}/ack",
        "/api/v1/incidents/{incident_id}/notes",
        "/api/v1/hooks/pagerduty",
        "/api/v1/hooks/alertmanager",
        "/api/v1/alerts",
        "/api/v1/silences",
        "/api/v1/silences/{silence_id}",
        "/api/v1/latency",
        "/api/v1/throughput",
        "/api/v1/errors",
        "/api/v1/explain",
        "/api/v1/slos",
        "/api/v1/slos/{name}/status",
        "/api/v1/slos/{name}/backtest",
        "/api/v1/slos/{name}/evidence",
        "/api/v1/slos/{name}/evidence.csv",
        "/api/v1/slos/exclusions",
        "/api/v1/slos/exclusions/{exclusion_id}",
        "/api/v1/slos/{name}",
        "/api/v1/topology",
        "/api/v1/gpus",
        "/api/v1/links",
        "/api/v1/imbalance",
        "/api/v1/releases/compare",
        "/api/v1/scaling/{model}/{pool}",
        "/api/v1/cost",
        "/api/v1/cost/forecast",
        "/api/v1/cost/variance",
        "/api/v1/cost/budgets",
        "/api/v1/cost/recommendations",
        "/api/v1/cost/focus",
        "/api/v1/cost/opencost",
        "/api/v1/reports",
        "/api/v1/reports/weekly",
    }


def test_every_reference_leads_somewhere_and_every_schema_is_used(document: dict[str, Any]) -> None:
    named = set(re.findall(r"#/components/schemas/(\w+)", str(document)))

    assert named == set(document["components"]["schemas"])


def test_every_endpoint_has_a_summary_a_schema_and_an_example_that_fits_it(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        place = f"{method} {path}"
        assert operation["summary"], place
        assert operation["description"], place
        for answer in operation["responses"]["200"]["content"].values():
            assert "example" in answer, place
        for media_type, content in contents(operation):
            schema = {**content["schema"], "components": document["components"]}
            Draft202012Validator.check_schema(schema)
            if "example" in content and media_type != "application/yaml":
                Draft202012Validator(schema).validate(content["example"])


def test_every_endpoint_says_how_its_problems_look(document: dict[str, Any]) -> None:
    for _, _, operation in operations(document):
        assert operation["responses"]["default"]["content"] == {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}
        }


def test_every_parameter_is_described(document: dict[str, Any]) -> None:
    for path, _, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), f"{parameter['name']} of {path}"


def test_pages_added_later_are_not_in_the_description(make_asker: Any, document: dict[str, Any]) -> None:
    asker = make_asker()
    asker.app.add_api_route("/page", lambda: "page")

    assert asker.get("/api/openapi.json").json() == document


def test_the_page_for_people_shows_every_endpoint_and_every_kind_of_problem(ask: Any, document: dict[str, Any]) -> None:
    response = ask.get("/api/docs")

    assert response.headers["content-type"] == "text/html; charset=utf-8"
    for path, _, operation in operations(document):
        assert f'<section id="{operation["operationId"]}"' in response.text
        assert f"<code>{path}</code>" in response.text
    for kind in KINDS:
        assert f'id="problem-{kind}"' in response.text


def test_the_page_for_people_asks_nobody_else_for_anything(ask: Any) -> None:
    response = ask.get("/api/docs")

    assert response.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
    assert "<script" not in response.text
    assert re.findall(r'(?:src|href)="(?!#)([^"]+)"', response.text) == ["docs.css", "/", "openapi.json"]
    assert ask.get("/api/docs.css").headers["content-type"].startswith("text/css")


def test_descriptions_are_escaped_before_their_code_is_marked() -> None:
    assert prose("hand `<b>` back & <i>") == "hand <code>&lt;b&gt;</code> back &amp; &lt;i&gt;"


def test_the_commands_of_the_page_are_accepted(ask: Any, document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        if method != "get":
            continue
        query = {
            parameter["name"]: parameter["schema"]["examples"][0]
            for parameter in operation.get("parameters", [])
            if parameter["in"] == "query" and "examples" in parameter["schema"]
        }
        assert ask("GET", path, params=query).status_code in {200, 404}, path


def test_odd_values_are_answered_and_never_break_anything(ask: Any, document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for parameter in operation.get("parameters", []):
            for value in ODD_VALUES:
                query = {"service": "chat"} if "service" in str(operation.get("parameters")) else {}
                if parameter["in"] == "query":
                    response = ask(method, path, params=query | {parameter["name"]: value})
                else:
                    response = ask(method, path.replace("{" + parameter["name"] + "}", quote(value, safe="")))
                assert response.status_code in {200, 404, 422}, (path, parameter["name"], value, response.text)
                assert response.json() is not None


def test_odd_text_in_a_body_is_answered(ask: Any) -> None:
    for value in ["\x00", "💥", "' OR 1=1 --", "{a:String}", "x" * 3000]:
        body = {"service": value, "from": "2026-11-23T02:41:00Z", "to": "2026-11-23T02:56:00Z"}
        assert ask("POST", "/api/v1/explain", json=body).status_code == 404, value
