"""Arrays and maps among attribute values and log bodies, as the JSON text that the upstream tables hold.

The engine decodes scalar values only. Composite ones are rare, and only a request that holds one (`survey`) is walked
in Python.
"""

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from google.protobuf.message import Message

from storage.otlp import METRIC_KINDS

COMPOSITES = ("array_value", "kvlist_value")
"""The members of AnyValue that hold other values."""

# Go's encoder writes these two as escapes, since they end a line in JavaScript.
_LINE_ENDS = str.maketrans({"\u2028": "\\u2028", "\u2029": "\\u2029"})


def rewrite_composites(message: Message) -> bool:
    """Replace each array and map of a parsed request by its JSON text; False when there was none."""
    rewritten = False
    for value in values_of(message):
        if value.WhichOneof("value") in COMPOSITES:
            value.string_value = json_text(value)
            rewritten = True
    return rewritten


def values_of(message: Any) -> Iterator[Any]:
    """Every value of a request that a table has a place for.

    Args:
        message: an export request, as protobuf's message or as something with the same fields, where lists may be None.
    """
    for pair in _attributes(message):
        yield pair.value
    for record in _items(message, "resource_logs", "scope_logs", "log_records"):
        yield record.body


def json_text(value: Any) -> str:
    """An AnyValue as compact JSON, as the Collector's `Value.AsString` writes it.

    Keys are sorted, the last of equal keys wins; numbers are as ECMAScript writes them; bytes are base64 text, an
    unset value is null. NaN and the infinities, which JSON has no number for, are texts.
    """
    kind = value.WhichOneof("value")
    return _JSON_TEXTS[kind](getattr(value, kind)) if kind in _JSON_TEXTS else "null"


def number_text(number: float) -> str:
    """A double as ECMAScript's `Number::toString` writes it (ECMA-262, 6.1.6.1.20), but for the sign of -0."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    if number == int(number) and abs(number) < 1e16:  # the same digits, without the fraction
        return repr(number)[:-2]
    shortest = Decimal(repr(number))
    if 1e-6 <= abs(number) < 1e21:
        return f"{shortest:f}".removesuffix(".0")
    mantissa, exponent = f"{shortest.normalize():e}".split("e")
    return f"{mantissa}e{int(exponent):+d}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).translate(_LINE_ENDS)


def _number_json(number: float) -> str:
    return number_text(number) if math.isfinite(number) else _quoted(number_text(number))


def _array_json(array: Any) -> str:
    return f"[{','.join(json_text(value) for value in array.values)}]"


def _map_json(pairs: Any) -> str:
    members = {pair.key: json_text(pair.value) for pair in pairs.values}
    return "{" + ",".join(f"{_quoted(key)}:{text}" for key, text in sorted(members.items())) + "}"


_JSON_TEXTS: Mapping[str, Callable[[Any], str]] = {
    "string_value": _quoted,
    "bool_value": json.dumps,
    "int_value": str,
    "double_value": _number_json,
    "bytes_value": lambda value: _quoted(base64.b64encode(value).decode()),
    "array_value": _array_json,
    "kvlist_value": _map_json,
}


def _attributes(message: Any) -> Iterator[Any]:
    for signal, lists in LISTS.items():
        for resource in getattr(message, lists[0], None) or ():
            if resource.resource is not None:
                yield from resource.resource.attributes or ()
        for scope in _items(message, *lists[:2]):
            if signal != "traces" and scope.scope is not None:
                yield from scope.scope.attributes or ()
        for item in _items(message, *lists):
            yield from _ATTRIBUTES_OF[signal](item)


def _items(message: Any, *lists: str) -> Iterator[Any]:
    """What lies under a message, list by list."""
    if not lists:
        yield message
        return
    for inner in getattr(message, lists[0], None) or ():
        yield from _items(inner, *lists[1:])


def _span_attributes(span: Any) -> Iterator[Any]:
    yield from span.attributes or ()
    for nested in (*(span.events or ()), *(span.links or ())):
        yield from nested.attributes or ()


def _metric_attributes(metric: Any) -> Iterator[Any]:
    for kind in METRIC_KINDS:
        for point in getattr(getattr(metric, kind), "data_points", None) or ():
            yield from point.attributes or ()
            for exemplar in getattr(point, "exemplars", None) or ():
                yield from exemplar.filtered_attributes or ()


LISTS: Mapping[str, tuple[str, str, str]] = {
    "traces": ("resource_spans", "scope_spans", "spans"),
    "metrics": ("resource_metrics", "scope_metrics", "metrics"),
    "logs": ("resource_logs", "scope_logs", "log_records"),
}
"""Request, resource and scope each hold the next as a list of this name."""

_ATTRIBUTES_OF: Mapping[str, Callable[[Any], Iterator[Any]]] = {
    "traces": _span_attributes,
    "metrics": _metric_attributes,
    "logs": lambda record: iter(record.attributes or ()),
}
