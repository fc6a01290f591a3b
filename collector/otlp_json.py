"""OTLP/JSON export requests: checked to the last field that a table has a place for.

The engine reads JSON without a word about wrong types, so all of them are found here. The rules are those of
https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: lowerCamelCase, ids in hex, enumerations as integers,
64-bit integers and doubles as numbers or texts, unknown fields ignored, null the same as absent.

Requests are decoded into structs that are made from the official descriptors. There are two kinds of them. Plain ones
serve nearly all requests, which go to the log as they came. Writable ones hold all that the engine reads, so that a
request can be written anew: without some of its items, or with JSON text in place of arrays and maps.
"""

import math
import re
from functools import cache
from typing import Annotated, Any

import msgspec
import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from msgspec import Meta, Struct, defstruct
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from collector.composites import json_text, number_text, values_of
from collector.errors import UndecodableError
from storage.otlp import REQUESTS, read_fields


class _Rewritten:
    """A value that the engine cannot take as it is written: an array, a map, or bytes."""


class _MustBeRewrittenError(Exception):
    """A plain struct met a `_Rewritten`."""


class _Double:
    """A double that can be written again: JSON has no number for one that is not finite."""

    def __init__(self, number: float) -> None:
        self.number = number


_Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
# Protobuf's integers. Over 2^63 - 1 nothing is counted; a time over it is a reason to reject the item, not the request.
_SCALARS: dict[int, Any] = {
    FieldDescriptor.TYPE_STRING: str,
    FieldDescriptor.TYPE_BOOL: bool,
    FieldDescriptor.TYPE_ENUM: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)],
    FieldDescriptor.TYPE_INT32: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)],
    FieldDescriptor.TYPE_SINT32: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)],
    FieldDescriptor.TYPE_UINT32: Annotated[int, Meta(ge=0, le=2**32 - 1)],
    FieldDescriptor.TYPE_FIXED32: Annotated[int, Meta(ge=0, le=2**32 - 1)],
    FieldDescriptor.TYPE_INT64: _Int64,
    FieldDescriptor.TYPE_SFIXED64: _Int64,
    FieldDescriptor.TYPE_UINT64: Annotated[int, Meta(ge=0, le=2**63 - 1)],
    FieldDescriptor.TYPE_FIXED64: Annotated[int, Meta(ge=0, le=2**63 - 1)],
}
_TIME = Annotated[int, Meta(ge=0)]
_IDS = {
    "trace_id": Annotated[str, Meta(pattern="^([0-9a-fA-F]{32})?$")],
    "span_id": Annotated[str, Meta(pattern="^([0-9a-fA-F]{16})?$")],
    "parent_span_id": Annotated[str, Meta(pattern="^([0-9a-fA-F]{16})?$")],
}


class _PlainValue(Struct, rename="camel", gc=False):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: _Int64 | None = None
    double_value: float | None = None
    bytes_value: _Rewritten | None = None
    array_value: _Rewritten | None = None
    kvlist_value: _Rewritten | None = None


class _Value(Struct, rename="camel", gc=False, omit_defaults=True):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: _Int64 | None = None
    double_value: float | None = None
    bytes_value: bytes | None = None
    array_value: "_Array | None" = None
    kvlist_value: "_Map | None" = None


class _Array(Struct, gc=False):
    values: list[_Value] | None = None


class _KeyValue(Struct, gc=False, omit_defaults=True):
    key: str | None = None
    value: _Value | None = None


class _Map(Struct, gc=False):
    values: list[_KeyValue] | None = None


class JsonRequest:
    """A decoded request. Its messages have the fields of protobuf's; what is absent or null is None.

    Args:
        signal: whose export request.
        payload: the body.

    Raises:
        UndecodableError: when the payload is no such request; says where, and what was found there.
    """

    def __init__(self, signal: str, payload: bytes) -> None:
        self._signal = signal
        self._payload = payload
        self._is_writable = False
        if not payload.isascii():
            _check_utf_8(payload)
        try:
            self.message = _decoded(_decoder(signal, writable=False), payload, signal)
        except _MustBeRewrittenError:
            self.writable()

    @staticmethod
    def size_bytes(message: Any) -> int:
        """How much a part of it takes."""
        return len(msgspec.json.encode(message, enc_hook=_written))

    def writable(self) -> Any:
        """The message as one that may be changed; from then on `payload` writes it anew."""
        if not self._is_writable:
            self.message = _decoded(_decoder(self._signal, writable=True), self._payload, self._signal)
            try:
                for value in values_of(self.message):
                    if value is not None:
                        _make_writable(value)
            except (DecodeError, RecursionError):  # the library's own limit of depth
                raise UndecodableError(
                    "an array or a map among the values is nested too deep: at most 100 levels"
                ) from None
            self._is_writable = True
        return self.message

    def payload(self) -> bytes:
        """The request on one line."""
        if self._is_writable:
            return msgspec.json.encode(self.message, enc_hook=_written) + b"\n"
        return self._payload.replace(b"\n", b" ") + b"\n"


def _make_writable(value: _Value) -> None:
    """Text instead of what JSON or the engine has no number, array or map for."""
    if value.array_value is not None or value.kvlist_value is not None:
        value.string_value = json_text(_any_value(value))
        value.array_value = value.kvlist_value = None
    elif value.double_value is not None and not math.isfinite(value.double_value):
        value.double_value = number_text(value.double_value)  # type: ignore[assignment]  # it is only written from now on


def _any_value(value: _Value | None) -> AnyValue:
    """The same value as protobuf's message."""
    any_value = AnyValue()
    if value is None:
        return any_value
    for name in ("string_value", "bool_value", "int_value", "bytes_value"):
        content = getattr(value, name)
        if content is not None:
            setattr(any_value, name, content)
            return any_value
    if value.double_value is not None:
        any_value.double_value = value.double_value
    elif value.array_value is not None:
        any_value.array_value.values.extend(map(_any_value, value.array_value.values or ()))
    elif value.kvlist_value is not None:
        any_value.kvlist_value.SetInParent()
        for pair in value.kvlist_value.values or ():
            any_value.kvlist_value.values.add(key=pair.key or "", value=_any_value(pair.value))
    return any_value


# -- decoding --------------------------------------------------------------------------------------------------------


def _hook(type_: type, content: Any) -> Any:
    """What the custom types of the structs are made from."""
    if type_ is _Rewritten:
        raise _MustBeRewrittenError
    return _Double(msgspec.convert(content, float, strict=False))


def _written(double: _Double) -> float | str:
    return double.number if math.isfinite(double.number) else number_text(double.number)


@cache
def _decoder(signal: str, *, writable: bool) -> msgspec.json.Decoder[Any]:
    # Not strict: numbers may be texts.
    return msgspec.json.Decoder(_struct(REQUESTS[signal], signal, writable=writable), dec_hook=_hook, strict=False)


def _struct(message: Descriptor, signal: str, *, writable: bool) -> type[Any]:
    if message.name == "AnyValue":
        return _Value if writable else _PlainValue
    fields = [
        (field.name, _type(field, signal, writable=writable) | None, None) for field in read_fields(message, signal)
    ]
    return defstruct(message.name, fields, rename="camel", gc=False, omit_defaults=writable)


def _type(field: FieldDescriptor, signal: str, *, writable: bool) -> Any:
    element: Any
    if field.message_type is not None:
        element = _struct(field.message_type, signal, writable=writable)
    elif field.type == FieldDescriptor.TYPE_DOUBLE:
        element = _Double if writable else float
    elif field.name in _IDS:
        element = _IDS[field.name]
    elif field.name.endswith("time_unix_nano"):
        element = _TIME
    else:
        element = _SCALARS[field.type]
    return list[element] if field.is_repeated else element


def _decoded(decoder: msgspec.json.Decoder[Any], payload: bytes, signal: str) -> Any:
    try:
        return decoder.decode(payload) if payload.strip() else decoder.decode(b"{}")
    except msgspec.ValidationError as error:
        name = REQUESTS[signal].name
        raise UndecodableError(f"the body is no {name} in OTLP/JSON: {error}{_found(payload, error)}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise UndecodableError(f"the body is no JSON ({error}): {len(payload)} bytes, {payload[:20]!r}…") from None


def _check_utf_8(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise UndecodableError(f"the body is no JSON, which is UTF-8: {error}") from None


def _found(payload: bytes, error: msgspec.ValidationError) -> str:
    """What is at the place that an error names; empty when the rest of the body is no JSON either, or too deep."""
    place = re.search(r"at `\$(.*)`$", str(error))
    try:
        found = orjson.loads(payload)
        for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", place[1] if place else ""):
            found = found[name] if name else found[int(index)]
        text = orjson.dumps(found).decode()
    except (
        orjson.JSONDecodeError,
        orjson.JSONEncodeError,
        LookupError,
        TypeError,
    ):  # a key twice: the last one is here
        return ""
    hint = ". Ids are written in hex" if "regex" in str(error) else ""
    return f"; found {text[:60]}{'…' * (len(text) > 60)}{hint}"
