"""Reading what a page would show, from its components or from their JSON."""

from typing import Any


def words(component: Any) -> str:
    """All text of a component, or of its JSON, in reading order, with single plain spaces."""
    return " ".join(" ".join(_texts(_plain(component))).replace("\N{NO-BREAK SPACE}", " ").split())


def classes(component: Any) -> list[str]:
    """Every class name in it."""
    return [name for props in _all_props(_plain(component)) for name in (props.get("className") or "").split()]


def links(component: Any) -> list[str]:
    """Where its links lead."""
    return [props["href"] for props in _all_props(_plain(component)) if "href" in props]


def _plain(component: Any) -> Any:
    if isinstance(component, list | tuple):
        return [_plain(one) for one in component]
    return component.to_plotly_json() if hasattr(component, "to_plotly_json") else component


def _texts(node: Any) -> list[str]:
    node = _plain(node)
    if node is None:
        return []
    if isinstance(node, list):
        return [text for one in node for text in _texts(one)]
    if isinstance(node, dict):
        return _texts(node["props"].get("children"))
    return [str(node)]


def _all_props(node: Any) -> list[dict[str, Any]]:
    node = _plain(node)
    if isinstance(node, list):
        return [props for one in node for props in _all_props(one)]
    if isinstance(node, dict):
        return [node["props"], *_all_props(node["props"].get("children"))]
    return []
