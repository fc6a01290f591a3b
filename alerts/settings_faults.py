"""What is wrong with settings, in words: where, what was found, and what is valid."""

import difflib
from collections.abc import Collection
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError

Place = tuple[int | str, ...]


def explained(
    error: ValidationError,
    model: type[BaseModel],
    *,
    within: str = "",
    noun: str = "setting",
    untold: Collection[Place] = (),
) -> list[str]:
    """All faults that pydantic found, one a line.

    Args:
        error: what it found.
        model: what was checked, for the names that are valid.
        within: the place of the whole, as in `receivers[0] (oncall).webhook_configs[1]`.
        noun: what an entry is called where it is written.
        untold: places whose value is not repeated; that of a secret never is.
    """
    return [_line(fault, model, within, noun, untold) for fault in error.errors()]


def _line(fault: Any, model: type[BaseModel], within: str, noun: str, untold: Collection[Place]) -> str:
    path = [str(part) for part in fault["loc"]]
    place = ".".join([within, *path] if within else path)
    if fault["type"] == "extra_forbidden":
        known = _names_at(model, path[:-1])
        near = difflib.get_close_matches(path[-1], known, n=1)
        parent = "".join(f"{part}." for part in path[:-1])
        hint = f"did you mean {parent}{near[0]}?" if near else f"valid are {', '.join(known)}"
        return f"{place}: unknown {noun}; {hint}"
    found = fault["input"] if isinstance(fault["input"], str | int | float | bool) else None
    if fault["loc"] in untold or _is_secret(model, path):
        found = None
    message: str = fault["msg"].removeprefix("Value error, ")
    said = found is None or str(found) in message
    return (f"{place}: " if place else "") + message + ("" if said else f" (found {found!r})")


def _names_at(model: type[BaseModel], path: list[str]) -> list[str]:
    inner: type[BaseModel] | None = model
    for name in path:
        if (field := _fields(inner).get(name)) is not None:  # None: an index into a list
            inner = next((one for one in _kinds(field) if issubclass(one, BaseModel)), None)
    return sorted(_fields(inner))


def _is_secret(model: type[BaseModel], path: list[str]) -> bool:
    kinds: list[type] = [model]
    for name in path:
        inner = next((one for one in kinds if issubclass(one, BaseModel)), None)
        if (field := _fields(inner).get(name)) is not None:
            kinds = _kinds(field)
    return SecretStr in kinds


def _fields(model: type[BaseModel] | None) -> dict[str, Any]:
    """The fields by the names that they are written by."""
    return {} if model is None else {field.alias or name: field for name, field in model.model_fields.items()}


def _kinds(field: Any) -> list[type]:
    return [one for one in (field.annotation, *get_args(field.annotation)) if isinstance(one, type)]
