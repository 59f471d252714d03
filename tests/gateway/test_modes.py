"""Harmony or standard: who decides, and that a conversation stays where it is."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from tests.gateway.governing import (
    LogLines,
    Model,
    add_key,
    bearer,
    chat,
    with_keys,
)
from tests.gateway.serving import Gateway, StepEngine, final

from antiphon.api.errors import ApiError
from antiphon.gateway.keys import ApiKey, new_key, new_secret
from antiphon.gateway.modes import decide, share
from antiphon.settings.model import ModelSettings


def a_key(**settings: Any) -> ApiKey:
    return msgspec.structs.replace(new_key(new_secret(), dt.date(2026, 1, 1)), **settings)


def mode(**how: Any) -> str:
    return decide(**{"model": "m", "gpt_oss": True, **how}).mode


def test_auto_is_harmony_for_gpt_oss_and_standard_for_others() -> None:
    assert mode() == "harmony"
    assert mode(gpt_oss=False) == "standard"


def test_the_nearest_level_decides() -> None:
    model = ModelSettings(mode="harmony")
    assert mode(server="standard") == "standard"
    assert mode(server="standard", settings=model) == "harmony"
    assert mode(server="standard", settings=model, key=a_key(mode="standard")) == "standard"
    assert mode(key=a_key(mode="standard"), header="harmony") == "harmony"
    assert mode(header="standard") == "standard"


def test_auto_leaves_it_to_the_next_level() -> None:
    auto = ModelSettings(mode="auto")
    assert mode(header="auto", key=a_key(mode="auto"), settings=auto, server="standard") == (
        "standard"
    )


def test_a_mode_is_stronger_than_a_percentage_beside_it() -> None:
    model = ModelSettings(mode="standard", harmony_percent=100)
    assert mode(settings=model) == "standard"
    assert mode(settings=ModelSettings(harmony_percent=0)) == "standard"
    assert mode(settings=ModelSettings(harmony_percent=100), server="standard") == "harmony"


def test_an_ordinary_model_is_harmony_only_if_somebody_says_so_of_it() -> None:
    assert mode(gpt_oss=False, server="harmony") == "standard"
    assert mode(gpt_oss=False, key=a_key(mode="harmony")) == "standard"
    assert mode(gpt_oss=False, key=a_key(harmony_percent=100)) == "standard"
    assert mode(gpt_oss=False, settings=ModelSettings(harmony_percent=100)) == "standard"
    assert mode(gpt_oss=False, settings=ModelSettings(mode="harmony")) == "harmony"
    assert mode(gpt_oss=False, header="harmony") == "harmony"


def test_an_engine_with_one_way_is_used_in_that_way() -> None:
    assert mode(has_standard=False, server="standard") == "harmony"
    assert mode(has_harmony=False, server="harmony") == "standard"


@pytest.mark.parametrize(
    "how",
    [
        {"header": "standard", "has_standard": False},
        {"header": "harmony", "has_harmony": False},
        {"header": "quick"},
        {"header": ""},
    ],
)
def test_a_header_that_cannot_be_followed_is_an_error(how: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refused:
        mode(**how)
    assert (refused.value.status, refused.value.code) == (400, "mode_not_possible")
    assert refused.value.param == "antiphon-mode"


def test_every_decision_says_why() -> None:
    reasons = {
        decide(model="m", gpt_oss=True, **how).reason
        for how in (
            {},
            {"server": "standard"},
            {"header": "standard"},
            {"key": a_key(mode="standard")},
            {"settings": ModelSettings(harmony_percent=10)},
            {"has_standard": False},
            {"has_harmony": False},
        )
    }
    assert len(reasons) == 7
    assert any("the model's harmony_percent is 10" in reason for reason in reasons)


def test_a_share_of_conversations_is_a_share() -> None:
    model = ModelSettings(harmony_percent=20)
    arms = [mode(settings=model, conversation=f"c{n}") for n in range(5000)]
    assert 0.17 < arms.count("harmony") / 5000 < 0.23


def test_raising_the_share_moves_conversations_one_way_only() -> None:
    conversations = [f"c{n}" for n in range(300)]
    before: set[str] = set()
    for percent in (0, 5, 10, 50, 99, 100):
        settings = ModelSettings(harmony_percent=percent)
        now = {c for c in conversations if mode(settings=settings, conversation=c) == "harmony"}
        assert before <= now
        before = now
    assert before == set(conversations)


def test_where_a_conversation_falls_is_pinned() -> None:
    # Another value would move every conversation to another arm at an upgrade.
    assert share("gpt-oss-20b", "key_1", "abc") == pytest.approx(36.5656, abs=1e-3)


def test_models_and_keys_are_drawn_independently() -> None:
    at = {share(model, key, "c") for model in ("a", "b") for key in ("", "k1", "k2")}
    assert len(at) == 6


class Route:
    """An engine's own chat route that always answers the same."""

    BODY = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Cooked."}}]}'

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    @asynccontextmanager
    async def open(
        self, path: str, body: bytes, *, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Any, None]:
        self.bodies.append(body)

        async def pieces() -> AsyncGenerator[bytes, None]:
            yield self.BODY

        yield SimpleNamespace(
            status=200, headers={"content-type": "application/json"}, pieces=pieces
        )


def served(model: ModelSettings, **how: Any) -> Gateway:
    engine = StepEngine(final("Raw."))
    catalog = Model(engine, model, passthrough=Route())
    return Gateway(engine, how.pop("settings", None), catalog=catalog, log=LogLines().log, **how)


def content(answer: Any) -> str:
    text: str = answer.json["choices"][0]["message"]["content"]
    return text


def test_the_answer_says_which_mode_it_was() -> None:
    with served(ModelSettings()) as gateway:
        harmony = chat(gateway)
        standard = chat(gateway, {"antiphon-mode": "standard"})
    assert (harmony.headers["antiphon-mode"], content(harmony)) == ("harmony", "Raw.")
    assert (standard.headers["antiphon-mode"], content(standard)) == ("standard", "Cooked.")


def test_a_tool_loop_never_changes_its_arm() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    with served(ModelSettings(harmony_percent=50)) as gateway:
        arms = set()
        for n in range(12):
            first = {"role": "user", "content": f"Question {n}"}
            loop = [first, {"role": "assistant", "tool_calls": [call]}]
            loop.append({"role": "tool", "tool_call_id": "c1", "content": "done"})
            seen = []
            for minute, length in enumerate((1, 3, 3)):
                clock = {"role": "system", "content": f"It is 10:0{minute}."}
                body = {"model": "m", "messages": [clock, *loop[:length]]}
                answer = gateway.send("POST", "/v1/chat/completions", body)
                assert answer.status == 200
                seen.append(answer.headers["antiphon-mode"])
            assert len(set(seen)) == 1
            arms |= set(seen)
    assert arms == {"harmony", "standard"}


def test_a_cache_key_names_the_conversation() -> None:
    with served(ModelSettings(harmony_percent=50)) as gateway:
        arms = []
        for text in ("a", "b", "c", "d", "e", "f"):
            body = {
                "model": "m",
                "prompt_cache_key": "thread-1",
                "messages": [{"role": "user", "content": text}],
            }
            arms.append(gateway.send("POST", "/v1/chat/completions", body).headers["antiphon-mode"])
    assert len(set(arms)) == 1


def test_keys_have_modes_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    one, other = add_key(path, "one", mode="standard"), add_key(path, "other")
    with served(ModelSettings(), settings=with_keys(path)) as gateway:
        assert content(chat(gateway, bearer(one))) == "Cooked."
        assert content(chat(gateway, bearer(other))) == "Raw."


def test_switching_back_is_one_reload() -> None:
    from antiphon.settings.model import Settings

    now = Settings()
    with served(ModelSettings(), read=lambda: now) as gateway:
        assert content(chat(gateway)) == "Raw."
        now = Settings(mode="standard")
        done = asyncio.run_coroutine_threadsafe(gateway.services.reload(), gateway.loop)
        assert done.result(20)
        assert content(chat(gateway)) == "Cooked."
