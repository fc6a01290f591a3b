"""YAML that people write. A key that stands twice in one mapping is a fault, or the last one would win unseen."""

from typing import Any

import yaml


class RepeatedKeyError(yaml.MarkedYAMLError):
    """A mapping holds a key twice."""

    def __init__(self, key: Any, first: yaml.Mark, second: yaml.Mark) -> None:
        super().__init__(f"the key {key!r} stands here", first, "and here again", second)
        self.told = f"holds the key {key!r} twice in one mapping, at lines {first.line + 1} and {second.line + 1}"


class UniqueKeyLoader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it safely, in which keys are unique (YAML 1.2.2, section 3.2.1.1)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        """As of `SafeLoader`; keys that a merge (`<<`) brings may be written anew."""
        seen: dict[tuple[str, str], yaml.Mark] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                first = seen.setdefault((key.tag, key.value), key.start_mark)
                if first is not key.start_mark:
                    raise RepeatedKeyError(key.value, first, key.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(text: str) -> Any:
    """The one document of a text.

    Raises:
        yaml.YAMLError: when it is no YAML, or holds a key twice (`RepeatedKeyError`).
    """
    return yaml.load(text, UniqueKeyLoader)  # noqa: S506 - a SafeLoader


def told_without_values(error: yaml.YAMLError) -> str:
    """`is no YAML at line 3, column 7`: what is wrong, without quoting a value, for a secret may stand there."""
    if isinstance(error, RepeatedKeyError):
        return error.told
    mark = getattr(error, "problem_mark", None)
    return "is no YAML" if mark is None else f"is no YAML at line {mark.line + 1}, column {mark.column + 1}"
