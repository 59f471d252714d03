"""What the tests of the server's own tools share: a gateway that offers them, and turns of ids."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from tests.gateway.governing import add_key, bearer
from tests.gateway.responding import PATH, checked, checked_events
from tests.gateway.serving import Answer, Gateway

from antiphon.engines.protocol import (
    Capabilities,
    Chunk,
    CompletionRequest,
    Finish,
    FinishReason,
    Usage,
)
from antiphon.settings.model import KeySettings, Settings
from antiphon.settings.tools import BrowserSettings, ServerToolSettings
from antiphon.vocab.control import CALL, CHANNEL, END, MESSAGE, RETURN, START
from antiphon.vocab.table import token_bytes
from antiphon.vocab.tokenizer import default_tokenizer

SEARCH = {"type": "web_search"}
CODE = {"type": "code_interpreter", "container": {"type": "auto"}}

Turn = list[int] | Callable[[], None] | Exception


def encode(text: str) -> list[int]:
    return default_tokenizer().encode(text)


def thinks(text: str, then: list[int]) -> list[int]:
    start = [CHANNEL, *encode("analysis"), MESSAGE, *encode(text), END, START]
    return [*start, *encode("assistant"), *then]


def browses(function: str, arguments: str) -> list[int]:
    header = encode(f"analysis to=browser.{function} code")
    return [CHANNEL, *header, MESSAGE, *encode(arguments), CALL]


def runs(code: str) -> list[int]:
    return [CHANNEL, *encode("analysis to=python code"), MESSAGE, *encode(code), CALL]


def answers(text: str) -> list[int]:
    return [CHANNEL, *encode("final"), MESSAGE, *encode(text), RETURN]


class TurnEngine:
    """Plays a list of completions, one after the other; the last again and again."""

    name = "turn engine"

    def __init__(self, *turns: list[int]) -> None:
        self.turns = list(turns)
        self.requests: list[CompletionRequest] = []
        self.outputs: list[list[int]] = []
        self.running = 0

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            reading="ids",
            prompt_ids=True,
            sampling=frozenset(CompletionRequest.__struct_fields__),
            context_length=131_072,
        )

    def text(self, number: int) -> str:
        """A prompt as text."""
        ids = self.requests[number].prompt
        return b"".join([token_bytes(token) or b"" for token in ids]).decode("utf-8", "replace")

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Sequence[Chunk], None]:
        at = min(len(self.requests), len(self.turns) - 1)
        ids = self.turns[at][: request.max_tokens]
        self.requests.append(request)
        self.outputs.append(ids)
        self.running += 1
        try:
            for token in ids:
                text = (token_bytes(token) or b"").decode("utf-8", "replace")
                yield (Chunk((token,), text),)
            whole = len(ids) == len(self.turns[at])
            usage = Usage(prompt_tokens=len(request.prompt), completion_tokens=len(ids))
            reason = FinishReason.STOP if whole else FinishReason.LENGTH
            yield (Chunk(finish=Finish(reason, ids[-1] if ids else None, usage)),)
        finally:
            self.running -= 1

    async def aclose(self) -> None:
        pass


class Site:
    """A gateway that offers tools, and one who has a key."""

    def __init__(
        self,
        folder: Path,
        *turns: list[int],
        offered: tuple[str, ...] = ("web_search",),
        pages: dict[str, str] | None = None,
        settings: Settings | None = None,
        **tools: Any,
    ) -> None:
        self.keys = folder / "keys.toml"
        self.bearer = bearer(add_key(self.keys))
        corpus = folder / "pages"
        corpus.mkdir()
        for name, text in (pages or CATS).items():
            (corpus / name).write_text(text)
        self.engine = TurnEngine(*turns)
        self.settings = msgspec.structs.replace(
            settings or Settings(),
            keys=KeySettings(file=str(self.keys)),
            server_tools=ServerToolSettings(offered=offered, **tools),  # type: ignore[arg-type]
            browser=BrowserSettings(folder=str(corpus), url="https://docs.example/"),
        )

    def another_key(self) -> dict[str, str]:
        """The header of another client."""
        return bearer(add_key(self.keys, "other"))

    def gateway(self, **how: Any) -> Gateway:
        return Gateway(self.engine, self.settings, **how)

    def send(self, gateway: Gateway, text: Any = "Hi", **parameters: Any) -> Answer:
        body = {"model": "m", "input": text, **parameters}
        return gateway.send("POST", PATH, body, self.bearer)

    def created(self, gateway: Gateway, text: Any = "Hi", **parameters: Any) -> dict[str, Any]:
        got = self.send(gateway, text, **parameters)
        assert got.status == 200, got.body
        return checked(got.json)

    def streamed(
        self, gateway: Gateway, text: Any = "Hi", **parameters: Any
    ) -> list[dict[str, Any]]:
        got = self.send(gateway, text, stream=True, **parameters)
        assert got.status == 200, got.body
        return checked_events(got)

    def kept(self, gateway: Gateway, path: str) -> Answer:
        return gateway.send("GET", path, headers=self.bearer)

    def prefixes_hold(self) -> None:
        """Each prompt begins with the one before and what was said to it."""
        for at in range(1, len(self.engine.requests)):
            before = [*self.engine.requests[at - 1].prompt, *self.engine.outputs[at - 1]]
            now = list(self.engine.requests[at].prompt)
            assert now[: len(before)] == before


CATS = {
    "cats.md": "# Keeping cats\n\nCats purr when they are content.\n",
    "dogs.md": "# Keeping dogs\n\nDogs bark at the moon.\n",
}


def types(response: dict[str, Any]) -> list[str]:
    return [item["type"] for item in response["output"]]
