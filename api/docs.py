"""The API's description for people: a page made from the OpenAPI document, with no script and nothing from outside."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from api.problems import KINDS

router = APIRouter(prefix="/api", include_in_schema=False)

_HERE = Path(__file__).parent
_POLICY = "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"


def prose(text: str) -> Markup:
    """Text with `code` in it, as HTML."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  # escaped just here


_TEMPLATES = Environment(
    loader=FileSystemLoader(_HERE / "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters["prose"] = prose


@router.get("/docs")
def get_docs(request: Request) -> HTMLResponse:
    """The description of every endpoint."""
    document = request.app.openapi()
    page = _TEMPLATES.get_template("docs.html").render(
        info=document["info"],
        tags=grouped_operations(document, str(request.base_url).rstrip("/")),
        problems=KINDS,
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


@router.get("/docs.css")
def get_style() -> FileResponse:
    """The look of the description."""
    return FileResponse(_HERE / "pages" / "docs.css", media_type="text/css")


def grouped_operations(document: Mapping[str, Any], origin: str) -> dict[str, list[dict[str, Any]]]:
    """The operations of an OpenAPI document by their first tag, each with what the page shows of it."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            shown = {
                "id": operation["operationId"],
                "method": method.upper(),
                "path": path,
                "summary": operation["summary"],
                "description": operation.get("description", ""),
                "parameters": operation.get("parameters", []),
                "command": example_command(document, path, method, origin),
                "answers": list(_examples(operation["responses"])),
            }
            groups.setdefault(operation["tags"][0], []).append(shown)
    return groups


def example_command(document: Mapping[str, Any], path: str, method: str, origin: str) -> str:
    """A curl command that asks an operation with the examples of its description."""
    operation = document["paths"][path][method]
    query = {}
    for parameter in operation.get("parameters", []):
        examples = parameter.get("schema", {}).get("examples", [])
        if not examples:
            continue
        if parameter["in"] == "path":
            path = path.replace("{" + parameter["name"] + "}", quote(examples[0], safe=""))
        else:
            query[parameter["name"]] = examples[0]
    address = f"{origin}{path}" + (f"?{urlencode(query, safe=':,')}" if query else "")
    words = ["curl", *([] if method == "get" else ["-X", method.upper()]), f"'{address}'"]
    content = operation.get("requestBody", {}).get("content", {})
    if content:
        media_type, described = next(iter(content.items()))
        words += ["-H", f"'Content-Type: {media_type}'", "--data-binary", f"'{_text(_example(document, described))}'"]
    return " ".join(words)


def _examples(responses: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for status, response in responses.items():
        for media_type, content in response.get("content", {}).items():
            if "example" in content:
                yield {"status": status, "media_type": media_type, "text": _text(content["example"])}


def _example(document: Mapping[str, Any], content: Mapping[str, Any]) -> Any:
    """The example of a body: its own, or that of the schema it names."""
    if "example" in content:
        return content["example"]
    name = content["schema"]["$ref"].rpartition("/")[2]
    return document["components"]["schemas"][name]["example"]


def _text(example: Any) -> str:
    return example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
