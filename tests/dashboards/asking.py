"""Asking the web application as a browser would, over ASGI, without a socket."""

import asyncio
from typing import Any

import httpx
from fastapi import FastAPI

PAGE = {"accept": "text/html,application/xhtml+xml"}


class Asker:
    """Asks one application; an exception that it lets through becomes its 500."""

    def __init__(self, runner: asyncio.Runner, app: FastAPI) -> None:
        self.app = app
        self._runner = runner

    def get(self, path: str, **headers: str) -> httpx.Response:
        """The response to a GET; underscores in the names of headers stand for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("GET", path, headers={"accept-encoding": "identity"} | named)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The response."""
        return self._runner.run(self._ask(method, path, options))

    def callback(self, *outputs: str, changed: tuple[str, ...] = (), **inputs: Any) -> dict[str, Any]:
        """What the callback with these outputs answers to these inputs, as `{id: {property: value}}`.

        Names as in `overview-verdict.children` and `figure:latency.data`; inputs as in `url__search="?range=1h"`. What
        changed are all inputs, unless `changed` names ids. Empty when the callback leaves everything as it is.
        """
        pairs = [(_component_id(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in outputs]
        keys = [f"{_key(component_id)}.{prop}" for component_id, prop in pairs]
        asked = [{"id": name.split("__")[0], "property": name.split("__")[1], "value": inputs[name]} for name in inputs]
        specs = [{"id": component_id, "property": prop} for component_id, prop in pairs]
        body = {
            "output": keys[0] if len(keys) == 1 else f"..{'...'.join(keys)}..",
            "outputs": specs[0] if len(specs) == 1 else specs,
            "inputs": asked,
            "changedPropIds": [
                f"{one['id']}.{one['property']}" for one in asked if not changed or one["id"] in changed
            ],
        }
        response = self.ask("POST", "/_dash-update-component", json=body)
        if response.status_code == 204:
            return {}
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()["response"]
        return found

    async def _ask(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
            return await client.request(method, path, **options)


def _component_id(name: str) -> str | dict[str, str]:
    kind, found, instance = name.partition(":")
    return {"type": kind, "name": instance} if found else name


def _key(component_id: str | dict[str, str]) -> str:
    if isinstance(component_id, str):
        return component_id
    return f'{{"name":"{component_id["name"]}","type":"{component_id["type"]}"}}'
