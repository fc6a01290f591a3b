import json
from dataclasses import replace

import pytest

from domain.cause import CauseKind, Evidence, Explanation, Step
from domain.entity import Entity, EntityKind, GpuPlace
from domain.incident import Incident, from_document, to_document
from tests.domain.examples import BAD_LINK, PAGING, UNEXPLAINED

# As promised to the outside, in this order; then what we tell beyond that.
INCIDENT_KEYS = [
    *("id", "service", "model", "indicator", "status", "severity", "started_at", "detected_at", "ended_at"),
    *("baseline_ms_p99", "peak_ms_p99", "slow_requests_count", "slow_requests_ratio", "budget_spent_ratio"),
    *("cost_usd", "tenants_affected_count", "causes", "ruled_out", "exemplar_trace_ids"),
    *("scope", "services_affected"),
]
CAUSE_KEYS = ["rank", "kind", "entity", "confidence", "lead_s", "summary", "evidence", "next_steps"]
CAUSE_KEYS += ["explained_ratio", "chain", "gpu", "gpus"]
EVIDENCE_KEYS = ["signal", "entity", "before", "during", "unit", "score", "lead_s"]


@pytest.mark.parametrize("incident", [PAGING, UNEXPLAINED], ids=["full", "bare"])
def test_an_incident_survives_being_written_as_json_and_read(incident: Incident) -> None:
    assert from_document(json.loads(json.dumps(to_document(incident), allow_nan=False))) == incident


@pytest.mark.parametrize("place", [GpuPlace("gpu-07-03", 2), GpuPlace("gpu-07-03"), GpuPlace()])
def test_where_a_gpu_is_survives_it_too_and_is_unknown_in_a_document_of_before(place: GpuPlace) -> None:
    incident = replace(PAGING, explanation=Explanation((replace(BAD_LINK, gpu=place),), ()))
    document = json.loads(json.dumps(to_document(incident)))
    assert from_document(document) == incident
    del document["causes"][0]["gpu"]
    assert from_document(document).cause.gpu is None


def test_where_the_gpus_of_evidence_and_chain_are_survives_it_and_is_unknown_in_a_document_of_before() -> None:
    gpu, place = Entity(EntityKind.GPU, "GPU-7c"), GpuPlace("gpu-07-03", 2, "chat-3")
    evidence = Evidence("gpu_memory_free", gpu, 7_567.0, 60.0, "MiB", 0.9, 50.0, place)
    cause = replace(
        BAD_LINK, evidence=(evidence,), chain=(Step(gpu, "GPU memory free 7.39 GiB → 60 MiB", 50.0, place),)
    )
    document = json.loads(json.dumps(to_document(replace(PAGING, explanation=Explanation((cause,), ())))))
    assert from_document(document).cause == cause
    assert evidence.whose == cause.chain[0].whose == "GPU 2 of gpu-07-03 (chat-3)"
    del document["causes"][0]["gpus"]
    assert from_document(document).cause.evidence[0].whose == "GPU-7c"


def test_the_document_has_the_promised_keys_and_no_others() -> None:
    document = to_document(PAGING)
    assert list(document) == INCIDENT_KEYS
    assert list(document["causes"][0]) == CAUSE_KEYS
    assert list(document["causes"][0]["evidence"][0]) == EVIDENCE_KEYS
    assert document["causes"][0]["entity"] == {"kind": "port", "name": "gpu-07-03/mlx5_2/1"}
    assert document["ruled_out"] == [{"kind": "traffic_surge", "why": "request rate within 3 % of usual"}]


def test_times_are_rfc_3339_and_what_is_not_known_is_null() -> None:
    document = to_document(UNEXPLAINED)
    assert document["started_at"] == "2026-11-23T02:41:00Z"
    assert document["ended_at"] == "2026-11-23T02:55:00Z"
    assert to_document(PAGING)["ended_at"] is None
    unknown = ("model", "budget_spent_ratio", "cost_usd", "tenants_affected_count")
    assert {name: document[name] for name in unknown} == dict.fromkeys(unknown)


def test_the_cause_of_an_incident_is_the_likeliest_one() -> None:
    assert PAGING.cause is BAD_LINK
    assert UNEXPLAINED.cause.kind is CauseKind.UNKNOWN


@pytest.mark.parametrize(("key", "value"), [("severity", "loud"), ("started_at", "soon"), ("indicator", "mood")])
def test_a_document_that_we_did_not_write_is_refused(key: str, value: str) -> None:
    with pytest.raises(ValueError, match=value):
        from_document(to_document(PAGING) | {key: value})
