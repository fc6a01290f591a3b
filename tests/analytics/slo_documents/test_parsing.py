import json
from collections.abc import Callable

import pytest
import yaml

from analytics.slo_documents.objectives import document_of
from analytics.slo_documents.openslo import read_documents
from analytics.slo_documents.pyrra import read_pyrra
from analytics.slo_documents.sloth import read_sloth
from tests.analytics.slo_documents.samples import OBJECTIVES, SDK, needs_cases, refused


@needs_cases
def test_one_object_a_list_and_several_documents_are_read_as_yaml_and_as_json() -> None:
    folder = SDK / "openslosdk" / "test_data" / "decode"
    counts = {
        name: len(read_documents((folder / name).read_text()))
        for name in ("single_object.yaml", "single_object.json", "sequence_of_objects.yaml", "sequence_of_objects.json")
    }
    assert list(counts.values()) == [1, 1, 2, 2]


def test_json_indented_by_tabs_is_read_as_well() -> None:
    document = document_of(OBJECTIVES[0])
    assert read_documents(json.dumps(document, indent="\t")) == read_documents(yaml.safe_dump(document))


@pytest.mark.parametrize("text", ["", "- a", "a: [", "kind: SLO", "[]", "apiVersion: openslo/v1alpha", "{a: {b: c}}"])
@pytest.mark.parametrize("read", [read_documents, read_sloth, read_pyrra], ids=lambda read: read.__name__)
def test_what_is_no_document_is_refused(read: Callable[[str], object], text: str) -> None:
    assert refused(read, text)


def test_a_number_without_end_is_refused_and_not_read() -> None:
    (problem,) = refused(read_documents, "a: " + "1" * 5000)
    assert problem.rule == "document"
