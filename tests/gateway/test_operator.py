"""``/antiphon/models``: looking after models that the server starts itself."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.engines.test_registry import model
from tests.gateway.governing import LogLines, add_key, bearer

from antiphon.engines.catalog import Catalog
from antiphon.gateway.app import create_app
from antiphon.settings.model import KeySettings, LaunchSettings, Settings

FAKE = Path(__file__).parents[1] / "engines" / "fake_llama_server.py"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Two models of one group, served by a program that only pretends."""
    program = tmp_path / "llama-server"
    program.write_text(f"#!{sys.executable} -S\nexec(open({os.fspath(FAKE)!r}).read())\n")
    program.chmod(0o755)
    gguf = tmp_path / "m.gguf"
    gguf.write_bytes(model())
    registry = tmp_path / "models.toml"
    lines = [f'[{name}]\ncheckpoint = "{gguf}"\ngroup = "gpu"\n' for name in ("one", "two")]
    registry.write_text("".join(lines))
    return Settings(
        models_file=str(registry),
        launch=LaunchSettings(server=str(program)),
        keys=KeySettings(file=str(tmp_path / "keys.toml")),
    )


def use(settings: Settings, body: Callable[[Any], Awaitable[None]], **headers: str) -> None:
    async def run() -> None:
        async with await Catalog.open(settings, discovering=False) as catalog:
            app = create_app(settings, catalog=catalog, log=LogLines().log)
            async with httpx2.AsyncClient(
                transport=httpx2.ASGITransport(app=app),
                base_url="http://127.0.0.1",
                headers=headers,
            ) as client:
                await body(client)

    asyncio.run(run())


async def states(client: Any) -> dict[str, str]:
    answer = await client.get("/antiphon/models")
    assert answer.status_code == 200
    return {unit["name"]: unit["state"] for unit in answer.json()["units"]}


def test_models_are_loaded_and_unloaded_on_demand(settings: Settings) -> None:
    async def body(client: Any) -> None:
        assert await states(client) == {"one": "idle", "two": "idle"}
        loaded = await client.post("/antiphon/models/load", json={"model": "one"})
        assert (loaded.status_code, loaded.json()["state"]) == (200, "up")
        assert loaded.json()["pid"]
        assert await states(client) == {"one": "up", "two": "idle"}
        unloaded = await client.post("/antiphon/models/unload", json={"model": "one"})
        assert unloaded.json()["state"] == "idle"
        assert await states(client) == {"one": "idle", "two": "idle"}

    use(settings, body)


def test_loading_one_of_a_group_unloads_the_other(settings: Settings) -> None:
    async def body(client: Any) -> None:
        for name in ("one", "two"):
            await client.post("/antiphon/models/load", json={"model": name})
        assert await states(client) == {"one": "idle", "two": "up"}

    use(settings, body)


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ({"json": {"model": "three"}}, 404, "there are: one, two"),
        ({"json": {}}, 400, 'expected {"model": NAME}'),
        ({"json": {"model": 1}}, 400, 'expected {"model": NAME}'),
        ({"json": {"model": "one", "force": True}}, 400, "unknown field `force`"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "expected {"),
        ({"content": b"{}", "headers": {"content-type": "text/plain"}}, 415, "application/json"),
    ],
)
def test_a_request_that_is_wrong_is_told_in_openais_shape(
    settings: Settings, request_: dict[str, Any], status: int, message: str
) -> None:
    async def body(client: Any) -> None:
        answer = await client.post("/antiphon/models/load", **request_)
        assert answer.status_code == status
        assert message in answer.json()["error"]["message"]

    use(settings, body)


def test_a_model_that_cannot_start_is_told_with_its_reason(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MODE", "exit")

    async def body(client: Any) -> None:
        answer = await client.post("/antiphon/models/load", json={"model": "one"})
        assert answer.status_code == 502
        assert "tensor 'x' is not there" in answer.json()["error"]["message"]

    use(settings, body)


def test_once_there_are_keys_it_takes_an_operators(settings: Settings, tmp_path: Path) -> None:
    plain = add_key(tmp_path / "keys.toml", "plain")
    operator = add_key(tmp_path / "keys.toml", "boss", operator=True)

    async def body(client: Any) -> None:
        assert (await client.get("/antiphon/models")).status_code == 401
        for method, path in (("GET", ""), ("POST", "/load"), ("POST", "/unload")):
            answer = await client.request(
                method,
                f"/antiphon/models{path}",
                json={"model": "one"} if method == "POST" else None,
                headers=bearer(plain),
            )
            assert answer.status_code == 403
            assert answer.json()["error"]["code"] == "operator_key_required"
        answer = await client.get("/antiphon/models", headers=bearer(operator))
        assert answer.status_code == 200

    use(settings, body)
