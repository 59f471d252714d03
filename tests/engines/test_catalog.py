"""The catalog: which engines the settings mean, which models they have, what each is called."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

pytest.importorskip("aiohttp")

from tests.engines.chunks import tokens_of
from tests.fakes.llama_server import FakeLlamaServer
from tests.fakes.vllm import FakeVllm
from tests.fakes.wire import HELLO, Faults

from antiphon.api.errors import ApiError
from antiphon.engines import catalog as module
from antiphon.engines.catalog import Catalog
from antiphon.engines.check import check_engines
from antiphon.engines.protocol import CompletionRequest
from antiphon.engines.served import Served
from antiphon.engines.sources import UnitSource
from antiphon.errors import AntiphonError, EngineError, SettingsError
from antiphon.settings.model import (
    EngineSettings,
    LaunchSettings,
    ModelSettings,
    Settings,
)
from antiphon.vocab.control import RETURN

T = TypeVar("T")
NOBODY = "http://127.0.0.1:9"
"""Nothing listens on the discard port."""
TINY = json.loads(
    (Path(__file__).parents[1] / "golden" / "tiny_model.json").read_text(encoding="utf-8")
)[0]


def use(
    settings: Settings,
    body: Callable[[Catalog], Awaitable[T]],
    *fakes: Any,
    environ: Mapping[str, str] | None = None,
    **how: Any,
) -> T:
    """Run ``body`` with the catalog of ``settings``, while the fakes run."""

    async def run() -> T:
        async with AsyncExitStack() as stack:
            for fake in fakes:
                await stack.enter_async_context(fake.running())
            asked = settings(*fakes) if callable(settings) else settings
            how.setdefault("discovering", False)
            opened = await Catalog.open(asked, environ=environ or {"HOME": "/nowhere"}, **how)
            async with opened:
                return await body(opened)

    return asyncio.run(run())


def engines(*urls: str, **models: ModelSettings) -> Settings:
    return Settings(engines=tuple(EngineSettings(url=url) for url in urls), models=models)


async def said(served: Served, prompt: list[int] | None = None) -> list[int]:
    request = CompletionRequest(prompt=prompt or [1, 2], temperature=0.0, max_tokens=100)
    return tokens_of([c async for chunks in served.engine.complete(request) for c in chunks])


async def names(catalog: Catalog) -> list[str]:
    return [card.id for card in catalog.list()]


# What is meant


def test_the_scripted_engine_answers_to_any_model_name() -> None:
    async def body(catalog: Catalog) -> None:
        for name in ("gpt-5", "any/thing", None):
            served = catalog.find(name)
            assert served.gpt_oss
            assert served.name == (name or "scripted")
            assert (await said(served, TINY["prompt"]))[-1] == RETURN
        assert await names(catalog) == ["scripted"]
        assert [health.state for health in catalog.health()] == ["up"]

    use(Settings(engine="scripted"), body)


def test_a_trace_file_is_played(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text('{"emit": "<|channel|>final<|message|>traced<|return|>"}\n')

    async def body(catalog: Catalog) -> int:
        return len(await said(catalog.find("m"), TINY["prompt"]))

    # Channel, final, message, two tokens of text, return.
    assert use(Settings(engine=f"scripted:{path}"), body) in range(5, 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(engine="tinny"), "engine: expected tiny, .*, got 'tinny'; did you mean tiny"),
        (Settings(engine="gpt-oss-21b"), r"did you mean gpt-oss-(120|20)b"),
        (engines("tiny", "nonsense"), r"engines\[1\]\.url: expected tiny, scripted"),
        (engines("ftp://x"), r"engines\[0\]\.url: .*'ftp://x' is not the URL of an engine"),
        (engines("http://u:p@x"), r"give the key as an API key"),
        (Settings(engine="tiny", model="a.gguf"), "engine and model: give one of them"),
        (
            Settings(engines=(EngineSettings(url="http://x", kind="olama"),)),
            r"engines\[0\]\.kind: expected one of llama.cpp, .*, got 'olama'",
        ),
        (Settings(models_file="/nowhere/m.toml"), r"/nowhere/m.toml: No such file"),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_says_where(settings, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        use(settings, names)


def test_a_trace_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AntiphonError, match=r"nowhere\.jsonl"):
        use(Settings(engine="scripted:/nowhere.jsonl"), names)


def test_a_model_that_is_not_on_this_computer_says_how_to_get_it() -> None:
    with pytest.raises(EngineError, match="hf download ggml-org/gpt-oss-20b-GGUF"):
        use(Settings(engine="gpt-oss-20b"), names)


# Engines at URLs


def test_an_engine_at_a_url_is_asked_for_its_models() -> None:
    async def body(catalog: Catalog) -> None:
        (card,) = catalog.list()
        assert (card.id, card.gpt_oss, card.context_length) == (
            "gpt-oss-20b-mxfp4.gguf", True, 4096,
        )  # fmt: skip
        served = catalog.find(card.id)
        assert served == catalog.find(None)
        assert served.reasons
        assert served.passthrough is not None
        assert await said(served) == HELLO
        (health,) = catalog.health()
        assert (health.state, health.models) == ("up", (card.id,))

    fake = FakeLlamaServer(context_length=4096)
    use(lambda fake: engines(fake.url), body, fake)  # type: ignore[arg-type]


def test_an_unknown_model_is_a_404_that_names_the_nearest() -> None:
    async def body(catalog: Catalog) -> None:
        with pytest.raises(ApiError, match=r"did you mean 'gpt-oss-20b-mxfp4.gguf'") as unknown:
            catalog.find("gpt-oss-20b-mxfp4")
        assert (unknown.value.status, unknown.value.code, unknown.value.param) == (
            404, "model_not_found", "model",
        )  # fmt: skip
        with pytest.raises(ApiError) as long:
            catalog.find("x" * 1_000_000)
        assert len(str(long.value)) < 1000

    use(lambda fake: engines(fake.url), body, FakeLlamaServer())  # type: ignore[arg-type]


def test_an_ordinary_model_is_passed_through() -> None:
    async def body(catalog: Catalog) -> None:
        served = catalog.find("qwen3-4b-instruct")
        assert not served.gpt_oss
        assert served.passthrough is not None

    use(lambda fake: engines(fake.url), body, FakeVllm(gpt_oss=False))  # type: ignore[arg-type]


def test_models_of_several_engines_stand_side_by_side() -> None:
    async def body(catalog: Catalog) -> None:
        assert await names(catalog) == ["gpt-oss-20b-mxfp4.gguf", "qwen3-4b-instruct"]
        assert catalog.find("gpt-oss-20b-mxfp4.gguf").gpt_oss
        with pytest.raises(ApiError):
            catalog.find(None)

    both = (FakeLlamaServer(), FakeVllm(gpt_oss=False))
    use(lambda a, b: engines(a.url, b.url), body, *both)  # type: ignore[arg-type]


def test_one_model_of_several_engines_is_balanced_over_them() -> None:
    a, b = FakeVllm(model_name="m"), FakeVllm(model_name="m")

    async def body(catalog: Catalog) -> None:
        assert await names(catalog) == ["m"]
        asked = len(a.completions), len(b.completions)
        for _ in range(4):
            await said(catalog.find("m"))
        assert len(a.completions) > asked[0]
        assert len(b.completions) > asked[1]

    use(lambda a, b: engines(a.url, b.url), body, a, b)  # type: ignore[arg-type]


def test_an_ordinary_model_of_several_engines_is_balanced_and_outlives_one_of_them() -> None:
    a, b = (FakeVllm(model_name="m", gpt_oss=False) for _ in range(2))
    path = "/v1/chat/completions"

    def chats(fake: FakeVllm) -> int:
        return sum(recorded.path == path for recorded in fake.requests)

    async def body(catalog: Catalog) -> None:
        async def ask() -> int:
            routes = catalog.find("m").passthrough
            async with routes.open(path, b'{"model":"m","messages":[]}') as answer:
                assert [piece async for piece in answer.pieces()]
                return int(answer.status)

        asked = chats(a), chats(b)
        for _ in range(4):
            assert await ask() == 200
        assert (chats(a) - asked[0], chats(b) - asked[1]) == (2, 2)
        await catalog.refresh()
        assert catalog.find("m").passthrough is catalog.find("m").passthrough
        a.faults = Faults(status=503)
        asked = chats(a), chats(b)
        for _ in range(8):
            assert await ask() == 200
        assert (chats(a) - asked[0], chats(b) - asked[1]) == (3, 8)

    use(lambda a, b: engines(a.url, b.url), body, a, b)  # type: ignore[arg-type]


def test_an_ordinary_model_whose_engine_keeps_failing_is_told_to_be_down(monkeypatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    fake = FakeVllm(model_name="m", gpt_oss=False)

    async def body(catalog: Catalog) -> None:
        async def ask() -> int:
            routes = catalog.find("m").passthrough
            async with routes.open("/v1/chat/completions", b'{"model":"m"}') as answer:
                return int(answer.status)

        assert await ask() == 200
        fake.faults = Faults(status=503)
        assert [await ask() for _ in range(3)] == [503] * 3
        (health,) = catalog.health()
        assert (health.state, health.detail) == ("down", "it answered with status 503")
        with pytest.raises(EngineError, match="next trial"):
            await ask()
        fake.faults = Faults()
        async with asyncio.timeout(20):
            while catalog.health()[0].state != "up":  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        assert await ask() == 200

    use(lambda fake: engines(fake.url), body, fake)  # type: ignore[arg-type]


def test_only_the_models_an_engine_is_listed_for_are_used() -> None:
    async def body(catalog: Catalog) -> list[str]:
        return await names(catalog)

    def settings(fake: Any) -> Settings:
        return Settings(engines=(EngineSettings(url=fake.url, models=("other",)),))

    assert use(settings, body, FakeVllm(model_name="m")) == []  # type: ignore[arg-type]


def test_a_model_has_the_names_and_limits_its_settings_give_it() -> None:
    models = {
        "ours": ModelSettings(
            engine="openai/gpt-oss-20b", aliases=("o", "gpt-4o"), effort="high", context_length=100
        )
    }

    async def body(catalog: Catalog) -> None:
        assert await names(catalog) == ["openai/gpt-oss-20b", "ours"]
        for name in ("ours", "o", "gpt-4o"):
            served = catalog.find(name)
            assert (served.name, served.context_length) == ("ours", 100)
            assert served.settings.effort == "high"
        assert catalog.list()[1].aliases == ("o", "gpt-4o")
        assert catalog.find("openai/gpt-oss-20b").settings.effort is None
        assert await said(catalog.find("o")) == HELLO

    def settings(fake: Any) -> Settings:
        return engines(fake.url, **models)

    use(settings, body, FakeVllm())  # type: ignore[arg-type]


def test_an_engine_that_is_down_is_asked_again_until_it_is_up(monkeypatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    fake = FakeLlamaServer(loading=True)
    told: list[str] = []
    up = asyncio.Event()

    def tell(line: str) -> None:
        told.append(line)
        if line.endswith(" is up"):
            up.set()

    async def body(catalog: Catalog) -> None:
        assert [health.state for health in catalog.health()] == ["down"]
        assert told
        with pytest.raises(ApiError, match="1 of 1 engines cannot be reached"):
            catalog.find("m")
        fake.loading = False
        async with asyncio.timeout(20):
            await up.wait()
        await catalog.refresh()
        assert await said(catalog.find(None)) == HELLO

    use(lambda fake: engines(fake.url), body, fake, progress=tell)  # type: ignore[arg-type]


def test_a_model_stays_known_while_its_engine_is_down() -> None:
    fake = FakeLlamaServer()

    async def body(catalog: Catalog) -> None:
        fake.loading = True
        await catalog.refresh()
        assert catalog.health()[0].state == "down"
        assert catalog.find(None).gpt_oss

    use(lambda fake: engines(fake.url), body, fake)  # type: ignore[arg-type]


def test_an_engine_is_kept_when_nothing_about_it_has_changed() -> None:
    async def body(catalog: Catalog) -> None:
        before = catalog.find(None).engine
        await catalog.refresh()
        assert catalog.find(None).engine is before

    use(lambda fake: engines(fake.url), body, FakeLlamaServer())  # type: ignore[arg-type]


def test_with_nothing_configured_a_running_engine_is_found(monkeypatch) -> None:
    fake = FakeLlamaServer()

    async def body() -> None:
        from antiphon.engines.detect import discovery

        async with fake.running():
            here = partial(discovery.discover, ports=(int(fake.url.rpartition(":")[2]),))
            monkeypatch.setattr(discovery, "discover", here)
            async with await Catalog.open(Settings(), environ={"HOME": "/nowhere"}) as catalog:
                assert await said(catalog.find(None)) == HELLO

    asyncio.run(body())


# Other settings


def test_other_settings_for_a_model_hold_at_once_and_its_engine_goes_on() -> None:
    async def body(catalog: Catalog) -> None:
        before = catalog.find(None)
        url = catalog.settings.engines[0].url
        await catalog.reload(engines(url, **{before.name: ModelSettings(mode="standard")}))
        after = catalog.find(before.name)
        assert after.settings.mode == "standard"
        assert after.engine is before.engine

    use(lambda fake: engines(fake.url), body, FakeLlamaServer())  # type: ignore[arg-type]


def test_engines_come_and_go_with_the_settings() -> None:
    async def body(catalog: Catalog) -> None:
        await catalog.reload(engines("scripted"))
        assert await names(catalog) == ["scripted"]
        with pytest.raises(SettingsError):
            await catalog.reload(Settings(engine="nonsense"))
        assert await names(catalog) == ["scripted"]

    use(lambda fake: engines(fake.url), body, FakeLlamaServer())  # type: ignore[arg-type]


# Engines that we start


@pytest.mark.slow
def test_a_model_that_the_settings_drop_is_unloaded(tiny_model_path: Path, tmp_path: Path) -> None:
    settings = registry(tmp_path, mine=f'checkpoint = "{tiny_model_path}"')

    async def body(catalog: Catalog) -> None:
        (source,) = catalog._sources
        assert isinstance(source, UnitSource)
        assert (await catalog.load("mine")).state == "up"
        unit = source.unit
        assert unit is not None
        gone = asyncio.Event()
        unit.changed = gone.set
        same = msgspec.structs.replace(settings, mode="harmony")
        await catalog.reload(same)
        assert catalog._sources == [source]
        await catalog.reload(Settings(engine="scripted"))
        assert catalog.units() == ()
        async with asyncio.timeout(20):
            await gone.wait()
        assert unit.state == "idle"

    use(settings, body)


def registry(tmp_path: Path, **entries: str) -> Settings:
    path = tmp_path / "models.toml"
    path.write_text("".join([f"[{name}]\n{lines}\n" for name, lines in entries.items()]))
    return Settings(
        models_file=str(path), launch=LaunchSettings(context=4096, parallel=1, threads=1)
    )


def test_a_model_of_the_registry_starts_with_its_first_request(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    settings = registry(
        tmp_path,
        mine=f'checkpoint = "{tiny_model_path}"\naliases = ["m"]\nlabels = ["small"]\n'
        'effort = "low"\ncontext = 2048',
    )

    async def body(catalog: Catalog) -> None:
        (unit,) = catalog.units()
        assert (unit.name, unit.state) == ("mine", "idle")
        (card,) = catalog.list()
        assert (card.id, card.labels, card.context_length) == ("mine", ("small",), 2048)
        served = catalog.find("m")
        assert (served.name, served.settings.effort, served.gpt_oss) == ("mine", "low", True)
        assert "architecture is gpt-oss" in served.reasons[0]
        assert await said(served, TINY["prompt"]) == TINY["completion"]
        assert catalog.units()[0].state == "up"
        assert (await catalog.unload("m")).state == "idle"
        with pytest.raises(ApiError, match="there are: mine"):
            await catalog.load("other")

    use(settings, body)


@pytest.mark.slow
def test_a_gguf_is_served_under_its_files_name(tiny_model_path: Path) -> None:
    lines: list[str] = []

    async def body(catalog: Catalog) -> None:
        name = tiny_model_path.name.removesuffix(".gguf")
        assert [unit.state for unit in catalog.units()] == ["up"]
        assert catalog.find(None).name == name
        async with catalog.find(name).passthrough.open(
            "/v1/completions", b'{"prompt": "hi", "max_tokens": 1}'
        ) as answer:
            assert answer.status == 200
            assert [piece async for piece in answer.pieces()]

    launch = LaunchSettings(context=2048, parallel=1, threads=1)
    use(Settings(model=str(tiny_model_path), launch=launch), body, progress=lines.append)
    assert any(str(tiny_model_path) in line for line in lines)


def test_a_model_that_does_not_load_is_an_error_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"this is no model")
    with pytest.raises(EngineError, match=r"bad\.gguf is not a GGUF file"):
        use(Settings(model=str(path)), names)


def test_a_registrys_model_that_is_absent_is_told_and_the_rest_is_served(tmp_path: Path) -> None:
    settings = registry(tmp_path, absent='checkpoint = "org/absent:Q8_0"')
    lines: list[str] = []

    async def body(catalog: Catalog) -> None:
        assert await names(catalog) == []
        (health,) = catalog.health()
        assert health.state == "down"
        assert "hf download org/absent" in health.detail

    use(settings, body, progress=lines.append)
    assert any("hf download org/absent" in line for line in lines)


def test_an_entry_may_name_an_engine_that_runs(tmp_path: Path) -> None:
    def settings(fake: Any) -> Settings:
        return registry(
            tmp_path,
            ours=f'checkpoint = "openai/gpt-oss-20b"\nengine = "{fake.url}"\nlabels = ["big"]',
        )

    async def body(catalog: Catalog) -> None:
        (card,) = catalog.list()
        assert (card.id, card.labels) == ("ours", ("big",))
        assert await said(catalog.find("ours")) == HELLO

    use(settings, body, FakeVllm())  # type: ignore[arg-type]


# Checking without starting


def test_a_check_says_what_there_will_be(tiny_model_path: Path, tmp_path: Path) -> None:
    def check(settings: Settings) -> str:
        return "\n".join(check_engines(settings, {"HOME": "/nowhere"}))

    assert "usual port" in check(Settings())
    assert check(Settings(engine="tiny")) == "engine: the tiny model, started here"
    assert check(Settings(engine="http://h:1/v1")) == "engine: http://h:1"
    assert "(gpt-oss), 4096 tokens x 2, started here" in check(
        Settings(model=str(tiny_model_path), launch=LaunchSettings(context=4096))
    )
    lazy = registry(tmp_path, absent='checkpoint = "org/absent:Q8_0"')
    assert "absent, once it can be started: the model org/absent:Q8_0 is not" in check(lazy)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(engine="nonsense"), "expected tiny"),
        (Settings(engine="gpt-oss-20b"), "hf download"),
        (Settings(engine="scripted:/nowhere.jsonl"), "nowhere.jsonl"),
        (Settings(model="/nowhere.gguf"), "no model file at /nowhere.gguf"),
    ],
)
def test_a_check_refuses_what_could_not_start(settings: Settings, message: str) -> None:
    with pytest.raises(AntiphonError, match=re.escape(message)):
        check_engines(settings, {"HOME": "/nowhere"})
