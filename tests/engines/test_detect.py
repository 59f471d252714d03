"""What a probe finds at each engine, told by its own routes and by a few tokens it generates."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

pytest.importorskip("aiohttp")

from aiohttp import web
from tests.engines.detecting import (
    ConstrainedLemonade,
    ConstrainedLlama,
    ConstrainedSglang,
    ConstrainedVllm,
    NamedMlx,
    NamedTransformers,
    handler_server,
    only,
    probed,
)
from tests.fakes.llama_server import FakeLlamaServer
from tests.fakes.ollama import FakeOllama
from tests.fakes.openai import FakeLmStudio, FakeOpenai
from tests.fakes.sglang import FakeSglang
from tests.fakes.vllm import FakeVllm
from tests.fakes.wire import FakeEngine, ids_of

from antiphon.codec.render import Renderer
from antiphon.engines.connect import connect
from antiphon.engines.detect import ProbeReport, base_url, probe
from antiphon.engines.detect.dialects import PROMPT_IDS, PROMPT_TEXT
from antiphon.engines.detect.trial import classify
from antiphon.engines.protocol import Chunk, CompletionRequest, FinishReason
from antiphon.errors import EngineError
from antiphon.model.message import Conversation, Message
from antiphon.vocab.control import CHANNEL

ENGINES: dict[str, tuple[type[FakeEngine], dict[str, Any], dict[str, Any]]] = {
    # name: fake, its options, what has to be found
    "llama.cpp": (
        ConstrainedLlama,
        {},
        {"reading": "hybrid", "prompt_ids": True, "grammar": "gbnf", "logprobs": 20},
    ),
    "vllm": (
        ConstrainedVllm,
        {},
        {"reading": "ids", "prompt_ids": True, "grammar": "structural_tag", "logprobs": 20},
    ),
    "sglang": (
        ConstrainedSglang,
        {},
        {"reading": "ids", "prompt_ids": True, "grammar": "structural_tag", "logprobs": 20},
    ),
    "sglang, old, incremental, without text": (
        ConstrainedSglang,
        {"old_routes": True, "incremental": True, "with_text": False},
        {"reading": "ids", "prompt_ids": True, "grammar": "structural_tag", "logprobs": 20},
    ),
    "ollama": (FakeOllama, {}, {"reading": "stripped"}),
    "lmstudio": (FakeLmStudio, {}, {"reading": "marked"}),
    "lmstudio, stripped": (FakeLmStudio, {"special": False}, {"reading": "stripped"}),
    "lemonade": (
        ConstrainedLemonade,
        {},
        {"reading": "marked", "prompt_ids": True, "grammar": "gbnf"},
    ),
    "mlx-lm": (NamedMlx, {}, {"reading": "marked"}),
    "transformers": (NamedTransformers, {}, {"reading": "stripped"}),
    "openai": (FakeOpenai, {}, {"reading": "marked", "prompt_ids": True}),
    "openai, stripped": (FakeOpenai, {"special": False}, {"reading": "stripped"}),
}


@pytest.mark.parametrize("name", ENGINES)
def test_each_engine_is_told_and_how_it_speaks(name: str) -> None:
    fake, options, expected = ENGINES[name]
    report = probed(fake(**options))
    assert report.kind.value == name.partition(",")[0]
    model = only(report)
    assert model.gpt_oss.value
    found = {
        "reading": model.reading.value,
        "prompt_ids": model.prompt_ids.value,
        "grammar": model.grammar.value,
        "logprobs": model.logprobs.value,
    }
    usual = {"prompt_ids": "ids" in expected["reading"], "grammar": None, "logprobs": None}
    if name == "openai, stripped":
        usual["prompt_ids"] = True
    assert found == {**usual, **expected}
    assert report.usable


@pytest.mark.parametrize("name", ENGINES)
def test_every_finding_has_its_reason_and_the_report_is_json(name: str) -> None:
    fake, options, _ = ENGINES[name]
    report = probed(fake(**options))
    model = only(report)
    for finding in (
        report.kind,
        model.gpt_oss,
        model.reading,
        model.prompt_ids,
        model.grammar,
        model.logprobs,
        model.context_length,
    ):
        assert finding.reason
    assert msgspec.json.decode(msgspec.json.encode(report), type=ProbeReport) == report


@pytest.mark.parametrize("name", ENGINES)
def test_what_a_probe_found_can_be_connected_to_and_answers(name: str) -> None:
    fake, options, _ = ENGINES[name]

    async def run() -> list[Chunk]:
        async with fake(**options) as engine:
            report = await probe(engine.url)
            model = only(report)
            # The trial of a grammar has changed what the fake says.
            engine.script = ids_of("<|channel|>final<|message|>Hi<|return|>")
            connected = connect(report, model.id)
            try:
                assert connected.capabilities.reading == model.reading.value
                assert connected.capabilities.prompt_ids == model.prompt_ids.value
                assert connected.capabilities.grammar == model.grammar.value
                assert connected.capabilities.context_length == model.context_length.value
                request = CompletionRequest(prompt=PROMPT_IDS, max_tokens=50)
                return [c async for chunks in connected.complete(request) for c in chunks]
            finally:
                await connected.aclose()

    chunks = asyncio.run(run())
    tokens = [token for chunk in chunks for token in chunk.tokens]
    assert 12194 in tokens or "Hi" in "".join([chunk.text for chunk in chunks])
    assert chunks[-1].finish is not None
    assert chunks[-1].finish.reason is FinishReason.STOP


@pytest.mark.parametrize(
    "fake", [FakeLlamaServer, FakeVllm, FakeSglang, FakeOllama, FakeLmStudio, FakeOpenai]
)
def test_another_model_is_not_taken_for_a_gpt_oss_and_not_made_to_generate(
    fake: type[FakeEngine],
) -> None:
    engine = fake(gpt_oss=False)
    report = probed(engine)
    model = only(report)
    assert not model.gpt_oss.value
    assert not report.usable
    assert model.reading.value is None
    assert engine.completions == []


@pytest.mark.parametrize("fake", [FakeLlamaServer, FakeVllm, FakeSglang])
def test_a_constraint_that_is_accepted_and_ignored_is_found_out(fake: type[FakeEngine]) -> None:
    model = only(probed(fake()))
    assert model.grammar.value is None
    assert "accepted and ignored" in model.grammar.reason


def test_the_tokenizer_overrules_the_name() -> None:
    model = only(probed(FakeLlamaServer(model_name="gpt-oss-lookalike.gguf", gpt_oss=False)))
    assert not model.gpt_oss.value
    assert [(e.sign, e.gpt_oss) for e in model.evidence] == [("tokenizer", False), ("name", True)]


def test_a_model_with_a_name_that_says_nothing_is_known_by_its_tokenizer() -> None:
    model = only(probed(FakeVllm(model_name="default")))
    assert model.gpt_oss.value
    assert model.evidence[0].sign == "tokenizer"


def test_a_model_with_a_name_that_says_nothing_is_known_by_its_architecture() -> None:
    model = only(probed(FakeOllama(model_name="mine:latest")))
    assert model.gpt_oss.value
    assert [e.sign for e in model.evidence] == ["architecture", "template"]
    assert model.aliases == ("mine",)


def test_a_chat_template_alone_tells_a_gpt_oss() -> None:
    class Mute(FakeLlamaServer):
        async def tokenize(self, request: web.Request) -> web.Response:
            raise web.HTTPNotFound

    model = only(probed(Mute(model_name="weights.gguf")))
    assert model.gpt_oss.value
    assert [e.sign for e in model.evidence] == ["template"]


def test_the_prompt_of_the_trial_is_a_conversation_rendered() -> None:
    hello = Conversation.from_messages([Message.user("Hi")])
    assert list(PROMPT_IDS) == Renderer().for_completion(hello)
    assert ids_of(PROMPT_TEXT) == list(PROMPT_IDS)


def test_the_trials_ask_for_four_tokens_at_most() -> None:
    limits = {"max_tokens", "n_predict", "num_predict", "max_new_tokens"}
    for fake, options, _ in ENGINES.values():
        engine = fake(**options)
        probed(engine)
        assert engine.completions
        for request in engine.completions:
            body = request.body
            options_ = body.get("options") or body.get("sampling_params") or {}
            given = [v for k, v in {**body, **options_}.items() if k in limits]
            assert given == [4]


@pytest.mark.parametrize(
    ("said", "ids", "reading"),
    [
        ("analysisThe user", [], "stripped"),
        ("  final Hello", [], "stripped"),
        ("<|channel|>analysis<|message|>", [], "marked"),
        ("<|message|>Hello", [], "marked"),
        ("", [200005, 35644], "ids"),
        ("Hello there", [], None),
        ("", [], None),
        ("Hello", [13225], None),
    ],
)
def test_answers_are_classified(said: str, ids: list[int], reading: str | None) -> None:
    assert classify(said, ids).value == reading


# Ollama's other ways.


@pytest.mark.parametrize(
    ("kind", "route"), [("ollama-template", "/api/generate"), ("ollama-chat", "/api/chat")]
)
def test_ollamas_own_parser_is_used_where_it_is_asked_for(kind: Any, route: str) -> None:
    async def run() -> tuple[ProbeReport, FakeOllama, list[Chunk]]:
        async with FakeOllama() as fake:
            report = await probe(fake.url, kind=kind)
            engine = connect(report, only(report))
            prompt = Renderer().for_completion(Conversation.from_messages([Message.user("Hi")]))
            request = CompletionRequest(prompt=prompt, max_tokens=100)
            chunks = [c async for some in engine.complete(request) for c in some]
            await engine.aclose()
            return report, fake, chunks

    report, fake, chunks = asyncio.run(run())
    assert (report.kind.value, report.version) == (kind, "0.30.4")
    assert (only(report).reading.value, only(report).dialect) == ("hybrid", kind)
    assert {request.path for request in fake.completions} == {route}
    assert CHANNEL in [token for chunk in chunks for token in chunk.tokens]


def test_ollamas_own_parser_is_the_last_resort() -> None:
    class NoRaw(FakeOllama):
        async def generate(self, request: web.Request) -> web.StreamResponse:
            raise web.HTTPNotFound

    assert only(probed(NoRaw())).dialect == "ollama-chat"


# Names of engines, keys, kinds.


def test_a_kind_that_is_none_is_the_callers_mistake() -> None:
    kind: Any = "llama"
    with pytest.raises(EngineError, match=r"'llama' is no kind of engine; there are llama\.cpp, "):
        asyncio.run(probe("http://127.0.0.1:1", kind=kind))


@pytest.mark.parametrize(
    ("given", "root"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("127.0.0.1:8080/v1", "http://127.0.0.1:8080"),
        ("localhost:11434", "http://localhost:11434"),
        ("https://e.example/api/v1/", "https://e.example/api"),
        ("https://e.example/v1/chat/completions", "https://e.example"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
    ],
)
def test_whatever_users_call_a_url_leads_to_its_root(given: str, root: str) -> None:
    assert base_url(given) == root


@pytest.mark.parametrize(
    "given",
    ["", "ftp://host", "http://", "http://user:secret@host/", "http://host:99999", "http://["],
)
def test_what_is_no_url_is_the_callers_mistake(given: str) -> None:
    with pytest.raises(EngineError) as refused:
        base_url(given)
    assert refused.value.status_hint == 400
    assert "secret" not in str(refused.value)


def test_the_key_is_sent_and_its_want_is_told() -> None:
    without = probed(FakeVllm(api_key="k"))
    assert without.needs_key
    assert not without.usable
    assert without.error is not None
    assert "API key" in without.error
    assert probed(FakeVllm(api_key="k"), api_key="k").usable


def test_a_kind_that_is_told_is_believed() -> None:
    report = probed(FakeVllm(), kind="openai")
    assert (report.kind.value, report.kind.reason) == ("openai", "as was said")
    assert only(report).dialect == "vllm"


def test_a_server_that_loads_its_model_is_told_from_one_that_is_not_there() -> None:
    report = probed(FakeLlamaServer(loading=True))
    assert report.kind.value is None
    assert report.error == "llama.cpp's server is still loading its model"


def test_vllm_behind_a_proxy_that_hides_it_is_spoken_to_as_vllm() -> None:
    class Proxied(ConstrainedVllm):
        async def models(self, request: web.Request) -> web.Response:
            model = {"id": self.model_name, "object": "model", "owned_by": "proxy"}
            return web.json_response({"object": "list", "data": [model]})

    model = only(probed(Proxied()))
    assert (model.dialect, model.reading.value) == ("vllm", "ids")
    assert model.grammar.value == "structural_tag"


def test_a_gateway_of_ours_is_known_and_not_asked_further() -> None:
    asked: list[str] = []

    async def run() -> ProbeReport:
        async def ours(request: web.Request) -> web.Response:
            asked.append(request.path)
            return web.json_response({"status": "ok"}, headers={"antiphon": "0.3"})

        async with handler_server(ours) as url:
            return await probe(url)

    report = asyncio.run(run())
    assert (report.kind.value, report.version) == ("antiphon", "0.3")
    assert asked == ["/health"]
    with pytest.raises(EngineError, match="has no model"):
        connect(report, "gpt-oss")


def test_a_model_that_is_not_there_cannot_be_connected_to() -> None:
    report = probed(FakeVllm())
    with pytest.raises(EngineError, match="has no model 'other'"):
        connect(report, "other")
