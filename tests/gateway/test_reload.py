"""Reloading: what changes at once, what only a restart changes, what a mistake does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.gateway.governing import Clock, LogLines, add_key, answering, bearer, chat, with_keys
from tests.gateway.serving import Gateway

from antiphon.errors import SettingsError
from antiphon.gateway.reload import Reloadable
from antiphon.settings.model import (
    CorsSettings,
    KeySettings,
    LimitSettings,
    LogSettings,
    PromptSettings,
    ServerSettings,
    Settings,
    VisibilitySettings,
)


class Source:
    """Settings that a test changes under a running server."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.error: SettingsError | None = None

    def __call__(self) -> Settings:
        if self.error is not None:
            raise self.error
        return self.settings

    def change(self, **settings: Any) -> None:
        self.settings = msgspec.structs.replace(self.settings, **settings)


def reload(gateway: Gateway) -> bool:
    future = asyncio.run_coroutine_threadsafe(gateway.services.reload(), gateway.loop)
    return future.result(20)


def test_settings_hold_from_the_next_request_on() -> None:
    source, lines = Source(Settings()), LogLines()
    with answering(settings=source.settings, read=source, log=lines.log) as gateway:
        assert chat(gateway).status == 200
        source.change(
            limits=LimitSettings(requests_per_minute=2),
            cors=CorsSettings(origins=("https://a.example",)),
            prompt=PromptSettings(effort="high"),
            visibility=VisibilitySettings(raw=True),
        )
        assert reload(gateway)
        answer = chat(gateway, {"origin": "https://a.example", "antiphon-raw": "1"})
        assert answer.status == 200
        assert answer.headers["x-ratelimit-limit-requests"] == "2"
        assert "Reasoning: high" in answer.json["antiphon_raw"][0]["completions"][0]["prompt"]
    (line,) = lines.lines("reload")
    assert (line["level"], line["why"]) == ("info", "settings and keys were read again")


def test_a_mistake_changes_nothing_and_is_logged() -> None:
    source, lines = Source(Settings()), LogLines()
    with answering(settings=source.settings, read=source, log=lines.log) as gateway:
        source.change(limits=LimitSettings(requests_per_minute=1))
        source.error = SettingsError("antiphon.toml: no such setting")
        assert not reload(gateway)
        assert "x-ratelimit-limit-requests" not in chat(gateway).headers
        metrics = gateway.send("GET", "/metrics").body.decode()
    (line,) = lines.lines("reload")
    assert line["level"] == "error"
    assert "no such setting" in line["why"]
    assert 'antiphon_reloads_total{result="failed"} 1.0' in metrics


def test_a_damaged_key_file_stops_the_whole_reload(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    secret = add_key(path)
    source = Source(with_keys(path))
    with answering(settings=source.settings, read=source, clock=Clock()) as gateway:
        path.write_text("[[keys", "utf-8")
        source.change(limits=LimitSettings(requests_per_minute=1))
        assert not reload(gateway)
        answer = chat(gateway, bearer(secret))
        assert answer.status == 200
        assert "x-ratelimit-limit-requests" not in answer.headers


def test_keys_are_read_again_at_once(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    add_key(path)
    with answering(settings=with_keys(path), clock=Clock()) as gateway:
        second = add_key(path, "second")
        assert chat(gateway, bearer(second)).status == 401
        assert reload(gateway)
        assert chat(gateway, bearer(second)).status == 200


def test_what_only_a_restart_changes_is_kept_and_named(tmp_path: Path) -> None:
    source, lines = Source(Settings()), LogLines()
    with answering(settings=source.settings, read=source, log=lines.log) as gateway:
        source.change(
            server=ServerSettings(port=1, host="::1", body_bytes=10),
            keys=KeySettings(file=str(tmp_path / "other.toml")),
            log=LogSettings(trace=str(tmp_path / "t"), format="json"),
        )
        assert reload(gateway)
        now = gateway.services.settings
        assert (now.server.port, now.server.host, now.server.body_bytes) == (8000, "127.0.0.1", 10)
        assert now.keys.file is None
        assert now.log.trace is None
        assert chat(gateway).status == 413
    (line,) = lines.lines("reload")
    for name in ("server.host", "server.port", "keys.file", "log.trace"):
        assert name in line["why"]
    assert not (tmp_path / "t").exists()


def test_a_catalog_that_refuses_the_settings_stops_the_reload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = Source(Settings())
    with answering(settings=source.settings, read=source) as gateway:

        async def refuse(settings: Settings) -> None:
            raise SettingsError("engines: no such engine")

        monkeypatch.setattr(gateway.catalog, "reload", refuse)
        source.change(limits=LimitSettings(requests_per_minute=1))
        assert not reload(gateway)
        assert "x-ratelimit-limit-requests" not in chat(gateway).headers


def test_a_raised_limit_lets_waiting_turns_in() -> None:
    live = Reloadable(Settings(limits=LimitSettings(concurrent=1)), read=Settings)
    seen: list[Settings] = []
    live.on_change(seen.append)

    async def apply(settings: Settings) -> None:
        assert live.settings.limits.concurrent == 1

    assert asyncio.run(live.reload(apply))
    assert seen == [Settings()]
    assert live.settings is seen[0]
