"""`antiphon seal`: asking, sealing for curl, opening, and what is known of keys."""

from __future__ import annotations

import json
import os
import pty
import shlex
import shutil
import stat
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import COMMAND, environment
from tests.gateway.serving import WAIT, Gate, Gateway, StepEngine
from tests.sealed.front import Clear, Front

from antiphon.seal import SealKey, encode_keys
from antiphon.settings.model import SealSettings, Settings
from antiphon.vocab.control import CHANNEL, END, MESSAGE, RETURN, START
from antiphon.vocab.tokenizer import default_tokenizer

pytestmark = pytest.mark.slow

ENCODE = default_tokenizer().encode
THINKING = [CHANNEL, *ENCODE("analysis"), MESSAGE, *ENCODE("Let me think."), END]
ANSWER = [START, *ENCODE("assistant"), CHANNEL, *ENCODE("final"), MESSAGE, *ENCODE("Forty-two.")]
SEND = (
    'curl -sSN {url}/.well-known/ohttp-gateway --data-binary @- -H "Incremental: ?1"'
    ' -H "Content-Type: message/ohttp-chunked-req"'
)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    keys = str(tmp_path / "keys.json")
    settings = Settings(seal=SealSettings(required=True, keys_file=keys))
    with Gateway(StepEngine(THINKING, ANSWER, [RETURN]), settings) as running:
        yield running


@pytest.fixture
def url(gateway: Gateway) -> str:
    return f"http://127.0.0.1:{gateway.port}"


@pytest.fixture
def fingerprint(gateway: Gateway) -> str:
    assert gateway.services.sealed is not None
    return gateway.services.sealed.ring.current.config.fingerprint


@pytest.fixture
def known(tmp_path: Path) -> Path:
    return tmp_path / "known.json"


@pytest.fixture
def shell(tmp_path: Path):
    """Run a pipeline with bash, as the documentation has it, and curl."""
    if shutil.which("curl") is None:
        assert not os.environ.get("ANTIPHON_TEST_EVERYTHING"), "curl is not installed"
        pytest.skip("curl is not installed")

    def run(script: str) -> subprocess.CompletedProcess[str]:
        start = f'set -o pipefail; antiphon() {{ {shlex.join(COMMAND)} "$@"; }}\n'
        return subprocess.run(
            ["bash", "-c", start + script],
            cwd=tmp_path,
            env=environment(HOME=str(tmp_path), XDG_DATA_HOME=str(tmp_path / "data")),
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )

    return run


# ask


def test_a_pipe_gets_the_answer_alone(antiphon, url: str, known: Path, fingerprint: str) -> None:
    result = antiphon("seal", "ask", "--to", url, "--known", str(known), "Why?")
    assert (result.code, result.out) == (0, "Forty-two.\n")
    assert f"first contact with {url}: its key {fingerprint} is remembered" in result.err
    again = antiphon("seal", "ask", "--to", f"{url}/v1", "--known", str(known), "Why?")
    assert (again.code, again.out, again.err) == (0, "Forty-two.\n", "")


def test_json_has_everything(antiphon, url: str, fingerprint: str) -> None:
    result = antiphon("seal", "ask", "--to", url, "--seal-key", fingerprint, "--json", "Why?")
    assert result.code == 0
    found = json.loads(result.out)
    assert found["answer"] == "Forty-two."
    assert found["thinking"] == "Let me think."
    assert found["finish_reason"] == "stop"
    assert found["model"] == "m"
    assert found["seal_key"] == fingerprint
    assert found["usage"]["completion_tokens"] > 0


def test_a_terminal_shows_the_thinking_apart(url: str, fingerprint: str) -> None:
    ours, theirs = pty.openpty()
    command = [*COMMAND, "seal", "ask", "--to", url, "--seal-key", fingerprint, "Why?"]
    with subprocess.Popen(
        command, stdout=theirs, stderr=theirs, stdin=theirs, env=environment()
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 4096):
                shown += data
        except OSError:
            pass  # Linux says so when the other side is closed
        assert process.wait(WAIT) == 0
    os.close(ours)
    text = shown.decode().replace("\r\n", "\n")
    assert text.endswith("\x1b[0m\n\nForty-two.\n")
    assert "".join(text.split("\x1b[0m\n\n")[0].replace("\x1b[0m", "").split("\x1b[2m")) == (
        "Let me think."
    )


def test_the_question_may_come_from_standard_input(antiphon, gateway, url, fingerprint) -> None:
    result = antiphon(
        "seal", "ask", "--to", url, "--seal-key", fingerprint, "--model", "m", "-", stdin="Wärum?"
    )
    assert result.code == 0
    (request,) = gateway.engine.requests
    assert ENCODE("Wärum?")[0] in request.prompt


def test_a_swapped_key_ends_it(antiphon, gateway: Gateway, url: str, fingerprint: str) -> None:
    with Front(gateway.port) as front:
        front.offered = encode_keys([SealKey.generate(1, created=0).config])
        result = antiphon("seal", "ask", "--to", front.url, "--seal-key", fingerprint, "Why?")
    assert result.code == 1
    assert "not the pinned" in result.err
    assert result.err.count("\n") == 1
    assert result.out == ""


def test_an_answer_that_is_cut_off_has_exit_code_1(antiphon, gateway: Gateway) -> None:
    with Gateway(StepEngine(THINKING, ANSWER, [RETURN])) as plain, Front(plain.port) as front:
        pin = front.key.config.fingerprint
        front.cut_after = 1
        ask = ["seal", "ask", "--to", front.url, "--seal-key", pin, "--model", "m"]
        for options in ([], ["--json"]):
            result = antiphon(*ask, *options, "Why?")
            assert result.code == 1
            assert "cut the answer off" in result.err
            assert "Forty-two" not in result.out


def test_errors_of_each_layer_are_one_line(antiphon, url: str, fingerprint: str, known) -> None:
    pinned = ("--seal-key", fingerprint)
    cases: list[tuple[tuple[str, ...], int, str]] = [
        (("ask", "--to", url, *pinned, "--model", "nope", "x"), 1, "does not exist"),
        (("ask", "--to", "http://127.0.0.1:9", *pinned, "x"), 1, "no answer from"),
        (("ask", "--to", "nonsense", *pinned, "x"), 1, "not the URL of a gateway"),
        (("ask", "--to", url, "--seal-key", "z!", "x"), 1, "neither a SHA-256 fingerprint"),
        (("ask", "--to", url, *pinned, "--padding", "some", "x"), 2, "padding is"),
        (("ask", "--to", url, "--via", url, "x"), 1, "must be pinned"),
        (("ask", "x"), 2, "--to"),
        (("request", url, *pinned, "--state", "s", "--chat", "a", "--body", "-"), 2, "give one"),
        (("request", url, *pinned, "--state", "s", "--header", "x"), 2, "NAME:VALUE"),
        (("open",), 2, "--state"),
        (("fingerprint", "http://127.0.0.1:9"), 1, "no answer from"),
        (("forget", url, "--known", str(known)), 1, "no key is remembered"),
    ]
    for arguments, code, said in cases:
        result = antiphon("seal", *arguments)
        assert (result.code, result.out) == (code, ""), arguments
        assert said in result.err, arguments
        assert result.err.count("\n") == 1, result.err


# request, curl, open


def test_a_sealed_request_goes_through_curl(shell, url: str, fingerprint: str, tmp_path) -> None:
    done = shell(
        f'antiphon seal request {url} --seal-key {fingerprint} --chat "Why?" --state s | '
        f"{SEND.format(url=url)} | antiphon seal open --state s --stream --text"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Forty-two.\n", "")
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600


def test_the_sealed_stream_is_shown_token_by_token(tmp_path: Path) -> None:
    gate = Gate()
    keys = str(tmp_path / "keys.json")
    settings = Settings(seal=SealSettings(enabled=True, keys_file=keys))
    with Gateway(StepEngine(THINKING, ANSWER[:-2], gate, ANSWER[-2:], [RETURN]), settings) as one:
        url = f"http://127.0.0.1:{one.port}"
        script = (
            f'antiphon() {{ {shlex.join(COMMAND)} "$@"; }}\n'
            f"antiphon seal request {url} --model m --chat Why --state s --known k | "
            f"{SEND.format(url=url)} | antiphon seal open --state s --stream --text"
        )
        with subprocess.Popen(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            first = os.read(process.stdout.fileno(), 100)
            assert first  # the engine still waits at its gate
            gate.open()
            assert first + process.stdout.read() == b"Forty-two.\n"
            assert process.wait(WAIT) == 0


def test_what_came_may_be_seen_as_it_is(shell, url: str, fingerprint: str) -> None:
    seal = f"antiphon seal request {url} --seal-key {fingerprint} --state s --model m"
    send = SEND.format(url=url)
    stream = shell(f"{seal} --chat Why | {send} | antiphon seal open --state s --stream --include")
    assert stream.returncode == 0
    assert stream.stdout.startswith("200 OK\n")
    assert "\n\ndata: {" in stream.stdout
    assert stream.stdout.endswith("data: [DONE]\n\n")
    whole = shell(f"{seal} --no-stream --chat Why | {send} | antiphon seal open --state s")
    assert json.loads(whole.stdout)["choices"][0]["message"]["content"] == "Forty-two."
    models = shell(f"{seal} --path /v1/models | {send} | antiphon seal open --state s")
    assert json.loads(models.stdout)["data"][0]["id"] == "m"
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Why?"}]})
    given = shell(
        f"echo '{body}' | {seal} --body - --header 'X-Request-Id: mine' | {send} | "
        "antiphon seal open --state s --include"
    )
    assert "x-request-id: mine" in given.stdout


def test_the_gateways_error_is_shown_and_has_exit_code_1(shell, url, fingerprint: str) -> None:
    seal = f"antiphon seal request {url} --seal-key {fingerprint} --state s --model nope --chat W"
    for options in ("", "--stream", "--text", "--stream --text"):
        done = shell(f"{seal} | {SEND.format(url=url)} | antiphon seal open --state s {options}")
        assert done.returncode == 1
        assert "does not exist" in done.stderr
        assert "status 404" in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        "",
        *[
            pytest.param(o, marks=pytest.mark.slow)
            for o in ("--stream", "--text", "--stream --text")
        ],
    ],
)
def test_what_does_not_open_is_never_a_short_answer(
    shell, url: str, fingerprint: str, options: str
) -> None:
    seal = f"antiphon seal request {url} --seal-key {fingerprint} --state s --model m --chat Why"
    send = SEND.format(url=url)
    cut = shell(f"{seal} | {send} | head -c -20 | antiphon seal open --state s {options}")
    assert cut.returncode == 1
    assert "seal open: " in cut.stderr or "cut" in cut.stderr
    if "--stream" not in options:
        assert cut.stdout == ""
    other = shell(
        f"{seal} | {send} > answer; {seal} > /dev/null; "
        f"antiphon seal open --state s {options} < answer"
    )
    assert (other.returncode, other.stdout) == (1, "")
    copy = shell(
        f"{seal} > r; {send} < r > /dev/null; {send} < r | antiphon seal open --state s {options}"
    )
    assert (copy.returncode, copy.stdout) == (1, "")
    assert "is not sealed: the sealed request cannot be opened" in copy.stderr
    empty = shell(f"{seal} > /dev/null; antiphon seal open --state s {options} < /dev/null")
    assert (empty.returncode, empty.stdout) == (1, "")


def test_a_state_file_must_be_one(shell, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("{}")
    done = shell("antiphon seal open --state s < /dev/null")
    assert done.returncode == 1
    assert "not one, or damaged" in done.stderr


# keys


def test_fingerprints_are_shown_and_nothing_is_remembered(
    antiphon, gateway: Gateway, url: str, fingerprint: str, known: Path
) -> None:
    shown = antiphon("seal", "fingerprint", url, "--known", str(known))
    assert (shown.code, shown.out) == (0, f"{fingerprint} x25519\n")
    assert not known.exists()
    assert gateway.services.sealed is not None
    config = gateway.services.sealed.ring.current.config
    whole = antiphon("seal", "fingerprint", url, "--config", "--known", str(known))
    assert whole.out == b64encode(config.encode()).decode() + "\n"
    (row,) = json.loads(antiphon("seal", "fingerprint", url, "--json").out)
    assert row["fingerprint"] == fingerprint


def test_a_changed_key_is_seen_told_and_forgotten(antiphon, gateway: Gateway, known: Path) -> None:
    with Gateway(StepEngine(THINKING, ANSWER, [RETURN])) as plain, Front(plain.port) as front:
        ask = ("seal", "ask", "--to", front.url, "--known", str(known), "Why?")
        assert antiphon(*ask).code == 0
        trusted = antiphon("seal", "fingerprint", front.url, "--known", str(known))
        assert trusted.out.endswith(" trusted\n")
        front.ring = type(front.ring)([SealKey.generate(2, created=0)])
        refused = antiphon(*ask)
        assert refused.code == 1
        assert f"antiphon seal forget {front.url}" in refused.err
        changed = antiphon("seal", "fingerprint", front.url, "--known", str(known))
        assert changed.code == 1
        assert "none of them is the key that is trusted" in changed.err
        assert antiphon("seal", "forget", front.url, "--known", str(known)).code == 0
        assert antiphon(*ask).code == 0


def test_an_answer_in_the_clear_says_what_it_says(antiphon, gateway: Gateway) -> None:
    with Front(gateway.port) as front:
        pin = b64encode(front.key.config.encode()).decode()
        front.clear.append(Clear(429, "application/json", b'{"error":{"message":"slow down"}}'))
        result = antiphon("seal", "ask", "--to", front.url, "--seal-key", pin, "Why?")
    assert result.code == 1
    assert "status 429: slow down" in result.err


def test_the_answer_may_be_a_relays(antiphon, gateway: Gateway, fingerprint: str) -> None:
    """What is at ``--via`` is sent everything; the gateway's URL stays inside."""
    with Gateway(StepEngine(THINKING, ANSWER, [RETURN])) as plain, Front(plain.port) as relay:
        pin = b64encode(relay.key.config.encode()).decode()
        result = antiphon(
            "seal", "ask", "--to", "https://gpt.example", "--via", relay.url, "--seal-key", pin, "x"
        )
        assert (result.code, result.out) == (0, "Forty-two.\n")
        outside: Any = repr(relay.outside)
        assert "gpt.example" not in outside
