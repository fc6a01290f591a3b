"""What is said of a value that an option cannot take: what was found, and what is valid."""

from typing import Any

import typer
from typer.core import TyperGroup


class Commands(TyperGroup):
    """All commands. The library that checks values for typer speaks of itself; a person is told what is valid."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = _said(error)
            raise


def _said(error: typer.BadParameter) -> str:
    from pydantic import ValidationError

    cause, info = error.__cause__, getattr(getattr(error.param, "type_descriptor", None), "parameter_info", None)
    if not isinstance(cause, ValidationError):
        return error.message
    fault = cause.errors()[0]
    if fault["type"] == "value_error":
        return fault["msg"].removeprefix("Value error, ")
    numbers = {"int_parsing": "whole number", "float_parsing": "number"}
    lowest, highest = getattr(info, "min", None), getattr(info, "max", None)
    if fault["type"] not in (*numbers, "greater_than_equal", "less_than_equal"):
        return error.message
    found = (
        f"{fault['input']!r} is no {numbers[fault['type']]}"
        if fault["type"] in numbers
        else f"{fault['input']} is out of range"
    )
    bounds = [f"from {lowest:g}"] if lowest is not None else []
    bounds += [f"up to {highest:g}"] if highest is not None else []
    return f"{found}; valid are {numbers.get(fault['type'], 'number')}s {' '.join(bounds)}".rstrip()
