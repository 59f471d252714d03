"""``antiphon probe`` over real sockets: what it prints, and its exit codes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

pytest.importorskip("aiohttp")

from tests.engines.detecting import ConstrainedLlama
from tests.fakes.ollama import FakeOllama
from tests.fakes.openai import FakeOpenai
from tests.fakes.vllm import FakeVllm
from tests.ports import closed_port

from antiphon.cli.probe_view import show
from antiphon.cli.terminal import Terminal
from antiphon.engines.detect import Finding, ModelReport, ProbeReport

TABLE = """\
llama.cpp b9001-fake at {url}
  /props is that of llama.cpp's server

gpt-oss-20b-mxfp4.gguf
  gpt-oss      yes                    its tokenizer has <|channel|> as token 200005
                                      its chat template writes Harmony
                                      it is called gpt-oss-20b-mxfp4.gguf
  loaded       yes
  speaks       hybrid (ids and text)  the answer has 200005; ids inside characters never come
  prompts      ids                    /completion took a prompt as ids
  constraints  gbnf                   a tiny gbnf on /completion took hold
  logprobs     20                     /completion sent some when asked
  context      131072                 n_ctx of a slot in /props

Usable: antiphon serve --engine {url}
"""


@pytest.fixture
def nobody() -> Iterator[str]:
    with closed_port() as port:
        yield f"http://127.0.0.1:{port}"


def test_a_usable_engine_is_a_table_with_reasons_and_exit_code_0(antiphon):
    with ConstrainedLlama() as engine:
        result = antiphon("probe", f"{engine.url}/v1")
        assert result == (0, TABLE.format(url=engine.url), "")


def test_another_model_is_listed_with_its_reason_and_exit_code_1(antiphon):
    with FakeOllama(gpt_oss=False) as engine:
        result = antiphon("probe", engine.url)
    assert result.code == 1
    assert "  qwen3-4b-instruct  its architecture is qwen3\n" in result.out
    assert result.out.endswith("\nNot usable: there is no gpt-oss.\n")
    assert result.err == ""


def test_a_server_that_is_not_there_is_said_in_words_and_exit_code_1(antiphon, nobody):
    url = nobody
    result = antiphon("probe", url)
    assert result.code == 1
    assert f"{url} does not answer: Connection refused" in result.out
    assert result.out.endswith("Not usable: there is no engine.\n")


def test_json_is_the_whole_report(antiphon):
    with FakeVllm() as engine:
        result = antiphon("probe", "--json", engine.url)
        report = msgspec.json.decode(result.out, type=ProbeReport)
        assert report.url == engine.url
    assert result.code == 0
    assert report.kind.value == "vllm"
    assert report.models[0].reading.value == "ids"


def test_the_key_comes_from_the_environment(antiphon, monkeypatch):
    monkeypatch.setenv("ENGINE_KEY", "k")
    with FakeVllm(api_key="k") as engine:
        without = antiphon("probe", engine.url)
        with_key = antiphon("probe", "--api-key-env", "ENGINE_KEY", engine.url)
    assert without.code == 1
    assert without.out.endswith("Not usable like this: give its key with --api-key-env.\n")
    assert with_key.code == 0
    assert "k" not in with_key.err


@pytest.mark.parametrize("value", [None, "", "a\nb", "schlüssel"])
def test_a_key_that_cannot_be_one_is_a_usage_error(antiphon, monkeypatch, value):
    monkeypatch.delenv("ENGINE_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("ENGINE_KEY", value)
    result = antiphon("probe", "--api-key-env", "ENGINE_KEY", "http://127.0.0.1:1")
    assert result.code == 2
    assert result.err.startswith("antiphon probe: --api-key-env: ENGINE_KEY ")


@pytest.mark.parametrize("arguments", [["--kind", "vllm"], ["--model", "m"], ["--kind", "x", "u"]])
def test_a_command_line_that_makes_no_sense_is_a_usage_error(antiphon, arguments):
    assert antiphon("probe", *arguments).code == 2


@pytest.mark.parametrize("url", ["ftp://host", "http://user:secret@host", "http://"])
def test_what_is_no_url_is_one_line(antiphon, url):
    result = antiphon("probe", url)
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert "secret" not in result.err


def test_the_kind_can_be_told(antiphon):
    with FakeOpenai() as engine:
        result = antiphon("probe", "--kind", "mlx-lm", engine.url)
    assert result.out.startswith("mlx-lm at ")
    assert "  as was said\n" in result.out


def test_without_a_url_the_usual_ports_are_searched(antiphon, monkeypatch):
    from antiphon.engines.detect import discovery

    with FakeVllm() as engine:
        port = int(engine.url.rpartition(":")[2])
        usual = {**(discovery.discover.__kwdefaults__ or {}), "ports": (port,)}
        monkeypatch.setattr(discovery.discover, "__kwdefaults__", usual)
        found = antiphon("probe")
        assert found.code == 0
        assert found.out.startswith("vllm 0.26.0 at ")
    nothing = antiphon("probe")
    assert nothing.code == 1
    assert nothing.out.startswith("No engine was found on the usual ports (8080, ")
    assert "antiphon serve --model FILE.gguf" in nothing.out


def report_of(**told: Any) -> ProbeReport:
    nothing: Finding[Any] = Finding(None, "\x1b]0;owned\x07 and \u202e back")
    model = ModelReport(
        id="gpt-oss\x1b[2J",
        gpt_oss=Finding(True, "yes\x1b[31m"),
        reading=nothing,
        prompt_ids=Finding(False, "no"),
        grammar=nothing,
        logprobs=nothing,
        context_length=nothing,
        url="http://127.0.0.1:1/\x07",
    )
    return ProbeReport(
        url="http://e", kind=Finding("openai", "x\x1by"), version="\x9b2J", models=(model,), **told
    )


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Tty])
def test_what_an_engine_says_cannot_drive_the_terminal(monkeypatch, stream):
    monkeypatch.setenv("NO_COLOR", "1")
    out = stream()
    show([report_of(error="bad\x1b[2J")], Terminal(out))
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(out.getvalue())
    assert "Not usable: it has a gpt-oss, but gives no raw completion of it." in out.getvalue()


def test_on_a_terminal_the_table_is_coloured_and_as_wide_as_it(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "70")
    out = Tty()
    show([report_of()], Terminal(out))
    assert "\x1b[32myes" in out.getvalue()
    plain = out.getvalue().replace("\x1b[0m", "")
    for code in ("\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m"):
        plain = plain.replace(code, "")
    assert max(map(len, plain.splitlines())) <= 70


def test_of_hundreds_of_other_models_the_first_are_named_and_the_rest_counted():
    ordinary = [
        msgspec.structs.replace(
            report_of().models[0], id=f"m{i}", gpt_oss=Finding(False, "nothing about it says so")
        )
        for i in range(300)
    ]
    out = io.StringIO()
    show([msgspec.structs.replace(report_of(), models=tuple(ordinary))], Terminal(out))
    assert "  m19" in out.getvalue()
    assert "  m20 " not in out.getvalue()
    assert "  and 280 more\n" in out.getvalue()
