"""``antiphon models``: what is known by name, and a running gateway's models."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

UNIT: dict[str, Any] = {
    "name": "mine",
    "state": "up",
    "pid": 7,
    "url": "http://127.0.0.1:1",
    "group": "gpu",
    "busy": 1,
    "waiting": 2,
    "idle_seconds": None,
    "ttl": 60.0,
    "restarts": 3,
    "detail": "",
}
OVERVIEW = {
    "units": [UNIT, {**UNIT, "name": "idle", "state": "idle", "pid": None, "busy": 0}],
    "models": [],
    "engines": [
        {"name": "llama.cpp with mine", "state": "up", "models": ["mine"], "detail": ""},
        {"name": "vllm at http://h:1", "state": "up", "models": ["far"], "detail": ""},
        {"name": "engine at http://h:2", "state": "down", "models": [], "detail": "refused"},
    ],
}


class Gateway:
    """Answers as a gateway's operator routes do; remembers what it was asked."""

    def __init__(self) -> None:
        gateway = self
        self.asked: list[tuple[str, str, Any, str | None]] = []
        self.status = 200
        self.answer: Any = OVERVIEW

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer("GET", None)

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                self._answer("POST", json.loads(self.rfile.read(length)))

            def _answer(self, method: str, body: Any) -> None:
                gateway.asked.append((method, self.path, body, self.headers["Authorization"]))
                answer = gateway.answer
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(gateway.status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway()
    thread = threading.Thread(target=gateway.server.serve_forever, args=(0.01,))
    thread.start()
    yield gateway
    gateway.server.shutdown()
    gateway.server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def nobody_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("HF_HOME", "HF_HUB_CACHE", "LLAMA_CACHE", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_list_shows_what_is_known_and_how_to_get_it(antiphon) -> None:
    shown = antiphon("models", "list")
    assert shown.code == 0
    assert shown.out.startswith("MODEL")
    assert 'not here: hf download ggml-org/gpt-oss-20b-GGUF --include "*mxfp4*.gguf"' in shown.out


def test_list_shows_where_a_model_is(antiphon, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.touch()
    (tmp_path / "models.toml").write_text(
        f'[mine]\ncheckpoint = "{path}"\n[far]\ncheckpoint = "x"\nengine = "http://h:1"\n'
    )
    (tmp_path / "antiphon.toml").write_text('models_file = "models.toml"\n')
    found = {m["name"]: m for m in json.loads(antiphon("models", "list", "--json").out)}
    assert found["mine"]["path"] == str(path)
    assert found["mine"]["yours"] is True
    assert found["far"]["problem"] is None
    assert found["gpt-oss-20b"]["yours"] is False
    assert "hf download" in found["gpt-oss-20b"]["problem"]
    assert f"{path}\n" in antiphon("models", "list").out


def test_a_mistake_in_the_registry_is_one_line(antiphon, tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text("[mine]\ncheckpiont = 'x'\n")
    (tmp_path / "antiphon.toml").write_text('models_file = "models.toml"\n')
    shown = antiphon("models", "list")
    assert shown.code == 1
    assert "did you mean checkpoint?" in shown.err
    assert shown.err.count("\n") == 1


def test_ps_shows_every_model_and_how_it_is(antiphon, gateway: Gateway) -> None:
    shown = antiphon("models", "ps", "--url", gateway.url)
    assert shown.code == 0
    lines = [line.split() for line in shown.out.splitlines()]
    assert lines[0] == ["MODEL", "STATE", "PID", "BUSY", "NOTE"]
    assert lines[1][:4] == ["mine", "up", "7", "1"]
    assert "2 waiting, group gpu, restarted 3 times" in shown.out
    assert ["far", "up", "vllm", "at", "http://h:1"] in lines
    assert "engine at http://h:2: refused" in shown.out
    assert gateway.asked[0][:2] == ("GET", "/antiphon/models")
    as_json = antiphon("models", "ps", "--json", "--url", gateway.url)
    assert json.loads(as_json.out) == OVERVIEW


@pytest.mark.parametrize("what", ["load", "unload"])
def test_load_and_unload_name_the_model(antiphon, gateway: Gateway, what: str) -> None:
    gateway.answer = UNIT
    shown = antiphon("models", what, "mine", "--url", f"{gateway.url}/v1")
    assert (shown.code, shown.out) == (0, "mine is up\n")
    assert gateway.asked == [("POST", f"/antiphon/models/{what}", {"model": "mine"}, None)]


def test_the_gateway_of_the_settings_is_asked(antiphon, gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "antiphon.toml").write_text(f"[server]\nhost = '0.0.0.0'\nport = {gateway.port}\n")
    assert antiphon("models", "ps").code == 0
    assert len(gateway.asked) == 1


def test_the_key_comes_from_the_environment(antiphon, gateway: Gateway, monkeypatch) -> None:
    monkeypatch.setenv("ANTIPHON_API_KEY", "sk-1")
    monkeypatch.setenv("OTHER", "sk-2")
    antiphon("models", "ps", "--url", gateway.url)
    antiphon("models", "ps", "--url", gateway.url, "--api-key-env", "OTHER")
    assert [asked[3] for asked in gateway.asked] == ["Bearer sk-1", "Bearer sk-2"]


@pytest.mark.parametrize(
    ("status", "answer", "message"),
    [
        (404, {"error": {"message": "there is no model 'x'"}}, "there is no model 'x'"),
        (
            401,
            {"error": {"message": "No key."}},
            "No key; an operator's key is read from ANTIPHON_API_KEY",
        ),
        (500, {"detail": "?"}, "answers with status 500"),
        (200, b"<html>", "is no antiphon gateway: status 200"),
    ],
)
def test_what_the_gateway_says_is_wrong_is_one_line(
    antiphon, gateway: Gateway, status: int, answer: Any, message: str
) -> None:
    gateway.status, gateway.answer = status, answer
    shown = antiphon("models", "load", "x", "--url", gateway.url)
    assert shown.code == 1
    assert message in shown.err
    assert shown.err.count("\n") == 1


def test_a_gateway_that_is_not_there_is_said(antiphon) -> None:
    shown = antiphon("models", "ps", "--url", "http://127.0.0.1:9")
    assert shown.code == 1
    assert "cannot reach a gateway at http://127.0.0.1:9: Connection refused; 'antiphon serve'" in (
        shown.err
    )


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:99999"])
def test_what_is_no_url_is_a_mistake_of_the_command_line(antiphon, url: str) -> None:
    shown = antiphon("models", "ps", "--url", url)
    assert shown.code in (1, 2)
    assert shown.err.count("\n") == 1
    assert "internal error" not in shown.err


def test_a_models_name_cannot_drive_the_terminal(antiphon, gateway: Gateway) -> None:
    gateway.answer = {**UNIT, "name": "\x1b[2Jmine"}
    shown = antiphon("models", "load", "mine", "--url", gateway.url)
    assert "\x1b" not in shown.out
