"""What is wrong with settings, in words: where, what was found, and what is valid. What is secret is never repeated."""

import difflib
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError

from domain.address import shown


def explained(error: ValidationError, model: type[BaseModel], *, within: str = "", noun: str = "setting") -> list[str]:
    """All faults that pydantic found, one a line.

    Args:
        error: what it found.
        model: what was checked, for the names that are valid.
        within: the place of the whole, as in `receivers[0] (oncall).webhook_configs[1]`.
        noun: what an entry is called where it is written.
    """
    return [_line(fault, model, within, noun) for fault in error.errors()]


def _line(fault: Any, model: type[BaseModel], within: str, noun: str) -> str:
    path = [str(part) for part in fault["loc"]]
    place = ".".join([within, *path] if within else path)
    if fault["type"] == "extra_forbidden":
        known = sorted(name for inner in models_in(type_at(model, path[:-1]))[:1] for name in _fields(inner))
        near = difflib.get_close_matches(path[-1], known, n=1)
        parent = "".join(f"{part}." for part in path[:-1])
        hint = f"did you mean {parent}{near[0]}?" if near else f"valid are {', '.join(known)}"
        return f"{place}: unknown {noun}; {hint}"
    message: str = fault["msg"].removeprefix("Value error, ")
    return (f"{place}: " if place else "") + message + _found(fault["input"], type_at(model, path), message)


def _found(value: Any, kind: Any, message: str) -> str:
    """What was found, unless the message says it already, or a secret is expected there."""
    if not isinstance(value, str | int | float | bool) or _holds_secret(kind):
        return ""
    text = shown(value) if isinstance(value, str) else value
    return "" if str(text) in message else f" (found {text!r})"


def type_at(model: type[BaseModel], path: list[str]) -> Any:
    """The type of the setting, or of the group of settings, at this path; None where there is none."""
    found: Any = model
    for key in path:
        fields = [_fields(inner)[key] for inner in models_in(found) if key in _fields(inner)]
        if fields:
            found = fields[0].annotation
        elif not key.isdecimal():  # an index into a list stays with the type of the list
            return None
    return found


def models_in(kind: Any) -> list[type[BaseModel]]:
    """The groups of settings that a type is made of: itself, or those of its list."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [model for part in get_args(kind) for model in models_in(part)]


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """The fields by the names that they are written by."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _holds_secret(kind: Any) -> bool:
    """Is a setting of this type a secret, or a group that has one."""
    if kind is SecretStr or any(map(_holds_secret, get_args(kind))):
        return True
    return any(_holds_secret(field.annotation) for model in models_in(kind) for field in model.model_fields.values())
