"""``antiphon chat --seal`` and ``antiphon run --seal``: a gateway on a socket, in this process,
spoken to under seal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.cli.chatting import Chat, given
from tests.cli.own_home import own_home
from tests.gateway.governing import add_key, with_keys
from tests.gateway.serving import Gate, Gateway, StepEngine, final
from tests.relay.relaying import Relay
from tests.sealed.front import Front

from antiphon.cli.chat.app import ChatApp
from antiphon.cli.chat.history import History
from antiphon.cli.chat.talk import open_talk
from antiphon.cli.errors import CommandLineError
from antiphon.errors import EngineError
from antiphon.seal import KnownGateways, SealKey
from antiphon.settings.model import SealSettings, Settings
from antiphon.vocab.control import CHANNEL, END, MESSAGE, RETURN, START
from antiphon.vocab.tokenizer import default_tokenizer

ENCODE = default_tokenizer().encode
THINKING = [CHANNEL, *ENCODE("analysis"), MESSAGE, *ENCODE("Let me think."), END]
ANSWER = [START, *ENCODE("assistant"), CHANNEL, *ENCODE("final"), MESSAGE, *ENCODE("Forty")]

Scenario = Callable[[Chat], Awaitable[None]]


class Notes:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def progress(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own_home(monkeypatch, tmp_path)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with sealed_gateway(tmp_path, StepEngine(final("Forty-two."))) as running:
        yield running


@pytest.fixture
def known(tmp_path: Path) -> Path:
    return tmp_path / "known.json"


def sealed_gateway(folder: Path, engine: StepEngine, settings: Settings | None = None) -> Gateway:
    seal = SealSettings(required=True, keys_file=str(folder / "ohttp-keys.json"))
    return Gateway(engine, settings or Settings(seal=seal))


def url_of(gateway: Gateway) -> str:
    return f"http://127.0.0.1:{gateway.port}"


def fingerprint_of(gateway: Gateway) -> str:
    assert gateway.services.sealed is not None
    return gateway.services.sealed.ring.current.config.fingerprint


def conversed(
    url: str, scenario: Scenario, *, pins: tuple[str, ...] = (), known: Path | None = None
) -> list[str]:
    """Open a chat as the command does, play the scenario; what was told at the opening."""
    told = Notes()

    async def play() -> None:
        read = given(seal=url, pins=pins, known=known, tools="none")
        async with open_talk(read, told) as talk:
            app = ChatApp(talk, History(None), clock=lambda: 0.0)
            async with app.run_test(size=(100, 24)) as pilot:
                chat = Chat(app, pilot)
                await chat.until(lambda: app.prompt.has_focus)
                await scenario(chat)
            assert app.fault is None

    asyncio.run(play())
    return told.notes


async def ask(chat: Chat) -> None:
    await chat.ask("Why?")
    assert "Forty-two." in chat.plain


async def nothing(chat: Chat) -> None:
    raise AssertionError("it should not have been opened")


def test_a_gateway_that_takes_nothing_else_is_asked_and_answers(
    gateway: Gateway, known: Path
) -> None:
    async def scenario(chat: Chat) -> None:
        assert "m, the gateway at" in chat.plain
        assert "sealed" in chat.plain
        await chat.ask("Why?")
        assert "Forty-two." in chat.plain
        await chat.ask("And why that?")
        await chat.send("/model")
        await chat.until("* m")

    conversed(url_of(gateway), scenario, known=known)
    entries = gateway.services.catalog.find("m").engine.requests  # type: ignore[attr-defined]
    assert len(entries) == 2
    assert len(entries[1].prompt) > len(entries[0].prompt)


def test_an_answer_is_seen_while_it_is_written(tmp_path: Path, known: Path) -> None:
    thought, half = Gate(), Gate()
    engine = StepEngine(THINKING, thought, ANSWER, half, [*ENCODE("-two."), RETURN])

    async def scenario(chat: Chat) -> None:
        await chat.send("Why?")
        await chat.until("Let me think.")
        thought.open()
        await chat.until("Forty")
        assert chat.app.busy
        assert "Forty-two." not in chat.plain
        half.open()
        await chat.until("Forty-two.")
        await chat.until(lambda: not chat.app.busy)

    with sealed_gateway(tmp_path, engine) as gateway:
        conversed(url_of(gateway), scenario, known=known)


def test_stopping_a_turn_stops_the_engine_behind_the_seal(tmp_path: Path, known: Path) -> None:
    engine = StepEngine(THINKING, ANSWER, Gate())

    async def scenario(chat: Chat) -> None:
        await chat.send("Why?")
        await chat.until("Forty")
        await chat.press("ctrl+c")
        await chat.until("stopped")
        await chat.until(lambda: engine.running == 0)

    with sealed_gateway(tmp_path, engine) as gateway:
        conversed(url_of(gateway), scenario, known=known)


def test_a_pinned_key_is_believed_and_nothing_remembered(gateway: Gateway, known: Path) -> None:
    pins = ("0" * 64, fingerprint_of(gateway))
    assert conversed(url_of(gateway), ask, pins=pins, known=known) == []
    assert not known.exists()


def test_another_key_than_the_pinned_one_is_refused(gateway: Gateway, known: Path) -> None:
    with pytest.raises(EngineError, match=r"is the key that is trusted|pinned"):
        conversed(url_of(gateway), nothing, pins=("0" * 64,), known=known)


def test_a_pin_that_is_none_is_refused_in_one_line(gateway: Gateway) -> None:
    with pytest.raises(EngineError, match="the pin is neither") as refused:
        conversed(url_of(gateway), nothing, pins=("no key",))
    assert "\n" not in str(refused.value)


def test_the_first_key_is_told_of_and_remembered(gateway: Gateway, known: Path) -> None:
    url = url_of(gateway)
    (note,) = conversed(url, ask, known=known)
    assert note.startswith(
        f"first contact with {url}: its key {fingerprint_of(gateway)} is remembered"
    )
    remembered = KnownGateways(known).get(url)
    assert remembered is not None
    assert remembered.config.fingerprint == fingerprint_of(gateway)
    assert conversed(url, ask, known=known) == []


def test_a_changed_key_is_refused_at_the_opening(gateway: Gateway, known: Path) -> None:
    url = url_of(gateway)
    KnownGateways(known).add(url, SealKey.generate(9, created=0).config, 0)
    with pytest.raises(EngineError, match=f"antiphon seal forget {url}"):
        conversed(url, nothing, known=known)


def test_a_key_that_changes_during_a_chat_ends_the_turn_only(known: Path) -> None:
    with Gateway(StepEngine(final("Forty-two."))) as plain, Front(plain.port) as front:
        original = front.ring

        async def scenario(chat: Chat) -> None:
            await ask(chat)
            front.ring = type(original)([SealKey.generate(2, created=0)])
            await chat.ask("Again?")
            await chat.until("antiphon seal forget")
            front.ring = original
            await chat.ask("And now?")
            assert chat.plain.count("Forty-two.") == 2

        conversed(front.url, scenario, known=known)


def test_an_api_key_goes_under_seal_and_a_wrong_one_is_refused(
    tmp_path: Path, known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys.toml"
    secret = add_key(keys)
    seal = SealSettings(required=True, keys_file=str(tmp_path / "ohttp-keys.json"))
    engine = StepEngine(final("Forty-two."))
    with sealed_gateway(tmp_path, engine, with_keys(keys, seal=seal)) as gateway:
        for wrong in (None, "ak-wrong"):
            if wrong is not None:
                monkeypatch.setenv("ANTIPHON_API_KEY", wrong)
            with pytest.raises(EngineError, match=r"status 401 \(is the API key right\?\)"):
                conversed(url_of(gateway), nothing, known=known)
        monkeypatch.setenv("ANTIPHON_API_KEY", "snow\N{SNOWMAN}\n")
        with pytest.raises(CommandLineError, match="ANTIPHON_API_KEY") as refused:
            conversed(url_of(gateway), nothing, known=known)
        assert "\N{SNOWMAN}" not in str(refused.value)
        monkeypatch.setenv("ANTIPHON_API_KEY", secret)
        conversed(url_of(gateway), ask, known=known)


def test_a_gateway_that_is_gone_is_told_of_and_the_chat_goes_on(
    tmp_path: Path, known: Path
) -> None:
    async def scenario(chat: Chat) -> None:
        await ask(chat)
        await asyncio.to_thread(running.__exit__)
        await chat.ask("And now?")
        await chat.until("no answer from")

    running = sealed_gateway(tmp_path, StepEngine(final("Forty-two.")))
    running.__enter__()
    conversed(url_of(running), scenario, known=known)


def test_a_server_without_a_seal_is_refused(known: Path) -> None:
    with (
        Gateway(StepEngine(final("x"))) as plain,
        pytest.raises(EngineError, match=r"sealed|keys"),
    ):
        conversed(url_of(plain), nothing, known=known)
    with pytest.raises(EngineError, match="no answer from"):
        conversed("http://127.0.0.1:9", nothing, known=known)


def test_run_asks_under_seal(antiphon, gateway: Gateway, known: Path) -> None:
    seal = ("--seal", url_of(gateway), "--tools", "none")
    done = antiphon("run", *seal, "--known", str(known), "Why?")
    assert (done.code, done.out) == (0, "Forty-two.\n")
    assert "sealed" in done.err.splitlines()[1]
    assert f"its key {fingerprint_of(gateway)} is remembered" in done.err
    assert len(gateway.services.catalog.find("m").engine.requests) == 1  # type: ignore[attr-defined]
    with Relay(url_of(gateway)) as relay:
        via = ("--via", f"http://127.0.0.1:{relay.port}")
        through = antiphon("run", *seal, *via, "--seal-key", fingerprint_of(gateway), "Why?")
        assert (through.code, through.out) == (0, "Forty-two.\n")
        trusting = antiphon("run", *seal, *via, "--known", str(known), "Why?")
    assert trusting.code == 1
    assert "must be pinned" in trusting.err
    refused = antiphon("run", *seal, "--seal-key", "0" * 64, "Why?")
    assert (refused.code, refused.out) == (1, "")
    assert len(refused.err.splitlines()) == 1


@pytest.mark.parametrize("command", ["run", "chat"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--seal", "http://x", "--api", "http://y"), "--seal names the gateway"),
        (("--seal", "http://x", "--engine", "tiny"), "--seal names the gateway"),
        (("--seal-key", "0" * 64), "belong to --seal"),
        (("--known", "file"), "belong to --seal"),
        (("--via", "http://x"), "belong to --seal"),
    ],
)
def test_options_that_contradict_one_another_are_told(antiphon, command, options, said) -> None:
    done = antiphon(command, *options, *(["Why?"] if command == "run" else []))
    assert done.code == 2
    assert said in done.err
