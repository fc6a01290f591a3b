"""A text of YAML or JSON becomes parsed documents, of which nothing is checked yet."""

import json
from typing import Any

import yaml

from analytics.slo_documents.checks import OpenSloError, Problem
from analytics.yaml_text import UniqueKeyLoader


class _Loader(UniqueKeyLoader):
    """YAML in which a time stays the text that was written: its form is for us to check."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parsed_documents(text: str) -> list[Any]:
    """Every document of a text, also those in a list.

    Raises:
        OpenSloError: when it is neither YAML nor JSON, or empty.
    """
    try:
        found = [json.loads(text)]  # may be indented by tabs, which YAML forbids
    except (ValueError, RecursionError):
        found = _parsed_yaml(text)
    documents = [one for each in found for one in (each if isinstance(each, list) else [each]) if one is not None]
    if not documents:
        raise OpenSloError([Problem("document", "document", "is empty")])
    return documents


def _parsed_yaml(text: str) -> list[Any]:
    try:
        return list(yaml.load_all(text, _Loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a ValueError of an endless number
        raise OpenSloError([Problem("document", "document", f"is no YAML: {error}")]) from error
