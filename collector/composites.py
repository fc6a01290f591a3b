"""Arrays and maps among attribute values, as the JSON text that the upstream tables hold.

The engine decodes scalar values only. Composite ones are rare, so they are found by their bytes, and only a request
that holds one is walked in Python.
"""

import base64
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from google.protobuf.message import Message

# KeyValue.value (field 2), its length, then AnyValue.array_value (field 5) or .kvlist_value (field 6). Looking ahead
# leaves no match hidden inside another.
_MAYBE_COMPOSITE = re.compile(rb"\x12(?=[\x80-\xff]{0,9}[\x00-\x7f][\x2a\x32])")
_FIRST_ELEMENT = 0x0A  # ArrayValue.values and KeyValueList.values are both field 1

# Go's encoder writes these two as escapes, since they end a line in JavaScript.
_LINE_ENDS = str.maketrans({"\u2028": "\\u2028", "\u2029": "\\u2029"})


def may_hold_composites(payload: bytes) -> bool:
    """False only when no attribute value of an encoded request is an array or a map.

    True is rarely wrong: a value's length must be exactly that of the array or map inside.
    """
    return any(_lengths_agree(payload, match.end()) for match in _MAYBE_COMPOSITE.finditer(payload))


def rewrite_composites(message: Message, payload: bytes) -> bytes | None:
    """`payload` with each array and map replaced by its JSON text; None when there was none.

    Args:
        message: the parsed request; changed in place.
        payload: the bytes it was parsed from.
    """
    if not may_hold_composites(payload):
        return None
    rewritten = False
    for attribute in _attributes(message):
        value = attribute.value
        if value.WhichOneof("value") in ("array_value", "kvlist_value"):
            value.string_value = json_text(value)
            rewritten = True
    return message.SerializeToString() if rewritten else None


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


def _lengths_agree(payload: bytes, start: int) -> bool:
    """The AnyValue that begins with its length at `start` holds one array or map and nothing else."""
    outer_bytes, tag = _varint(payload, start)
    inner_bytes, content = _varint(payload, tag + 1)
    end = tag + outer_bytes
    if inner_bytes < 0 or content + inner_bytes != end or end > len(payload):
        return False
    return inner_bytes == 0 or payload[content] == _FIRST_ELEMENT


def _varint(payload: bytes, start: int) -> tuple[int, int]:
    """A base-128 number and where it ends; -1 when it is cut off or too long."""
    number = 0
    for shift, byte in enumerate(payload[start : start + 10]):
        number |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return number, start + shift + 1
    return -1, start


def _attributes(message: Any) -> Iterator[Any]:
    """Every attribute of a trace or metrics request that a table has a place for."""
    for resource in getattr(message, "resource_spans", ()):
        yield from resource.resource.attributes
        for scope in resource.scope_spans:
            yield from scope.scope.attributes
            for span in scope.spans:
                yield from span.attributes
                yield from _nested(span.events)
                yield from _nested(span.links)
    for resource in getattr(message, "resource_metrics", ()):
        yield from resource.resource.attributes
        for scope in resource.scope_metrics:
            yield from scope.scope.attributes
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points if kind else ():
                    yield from point.attributes
                    for exemplar in getattr(point, "exemplars", ()):
                        yield from exemplar.filtered_attributes


def _nested(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        yield from item.attributes
