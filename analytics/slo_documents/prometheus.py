"""What documents of Sloth and Pyrra share: resources of Kubernetes, and queries that are PromQL and stay text."""

from collections.abc import Mapping
from typing import Any

from analytics.slo_documents.annotations import MORE_WINDOWS, check_more_windows
from analytics.slo_documents.checks import Check
from analytics.slo_documents.documents import MetricSource
from analytics.slo_documents.windows import Duration

DEFAULT_PERIOD = Duration(30, "d")
"""The period of an SLO whose document says none, as Sloth has it."""


def check_resource_windows(document: Mapping[str, Any], check: Check) -> None:
    """The annotation of further windows, of a resource of Kubernetes."""
    metadata = check.mapping(document, "", "metadata")
    annotations = check.mapping(metadata, "metadata", "annotations")
    check.texts(annotations, "metadata.annotations", MORE_WINDOWS)
    check_more_windows(annotations, check, "metadata.annotations")


def prometheus_source(query: str, **others: Any) -> MetricSource:
    """A query as text, with what else is known of it."""
    return MetricSource("Prometheus", {"query": query, **{name: value for name, value in others.items() if value}})


def resource_texts(document: Mapping[str, Any], name: str) -> dict[str, str]:
    """Labels or annotations of a resource of Kubernetes."""
    return texts_of((document.get("metadata") or {}).get(name))


def texts_of(found: Any) -> dict[str, str]:
    """A mapping of texts; whatever else a value is becomes text, as Go's reader of YAML makes it."""
    values: Mapping[Any, Any] = found or {}
    return {str(key): str(value).lower() if isinstance(value, bool) else str(value) for key, value in values.items()}
