"""``antiphon seal``: talk to a gateway sealed, and know its key."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from antiphon.cli.errors import CommandLineError, DataError
from antiphon.cli.seal_client import (
    chat_body,
    clear_errors,
    first_model,
    inner_options,
    key_headers,
    known_option,
    pin_options,
    say_first_use,
    sealed_client,
    text_of,
    via_option,
)
from antiphon.cli.terminal import Terminal, printable

__all__ = ["seal"]

CHAT_PATH: Final = "/v1/chat/completions"
MAX_STATE_BYTES: Final = 64 * 1024
READ_BYTES: Final = 64 * 1024


@click.group()
def seal() -> None:
    """Talk to a gateway sealed, and know its key.

    Whatever is between here and the gateway sees neither API key, prompt, thinking nor answer. The
    key is pinned with --seal-key. Without a pin it is trusted on first use and remembered; if it
    changes, that is an error.

    \b
    Examples:
      antiphon seal ask --to https://gpt.example "Why is the sky blue?"
      antiphon seal fingerprint https://gpt.example
      antiphon seal forget https://gpt.example
    """


@seal.command()
@click.option("--to", "url", metavar="URL", required=True, help="The gateway.")
@click.argument("text")
@via_option()
@pin_options
@inner_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object when all is there.")
def ask(
    url: str,
    text: str,
    via: str | None,
    pins: tuple[str, ...],
    known: Path | None,
    api_key_env: str,
    model: str | None,
    system: str | None,
    effort: str | None,
    padding: str,
    as_json: bool,
) -> None:
    """Ask something, sealed; the answer is shown as it comes. TEXT "-" is read from standard input.

    On a terminal the thinking is shown as well, dimmed. In a pipe there is the answer alone. An
    answer that was cut off is an error, with exit code 1.

    \b
    Examples:
      antiphon seal ask --to https://gpt.example "Why is the sky blue?"
      antiphon seal ask --to https://gpt.example --seal-key sha256:9c1f… --json - < question.txt
    """
    from antiphon.cli.seal_view import AnswerView
    from antiphon.seal import ResponseHead
    from antiphon.sealed.chat import ChatReader

    text = text_of(text)
    view = AnswerView(Terminal(), as_json=as_json)
    with sealed_client(url, pins, known, via, padding) as client:
        headers = key_headers(api_key_env)
        say_first_use(client, url, pins, known)
        chosen = model or first_model(client, headers)
        body = chat_body(text, system, chosen, effort, stream=True)
        body["stream_options"] = {"include_usage": True}
        with client.stream("POST", CHAT_PATH, json=body, headers=headers) as answer:
            head = ResponseHead(
                status=answer.status_code,
                fields=tuple((k.lower(), v) for k, v in answer.headers.raw),
            )
            reader = ChatReader(head)
            for data in answer.iter_bytes():
                view.pieces(reader.feed(data))
            view.pieces(reader.eof())
        if reader.error is not None:
            view.broken()
            raise DataError(f"the gateway says: {reader.error}")
        view.end(reader, client.fingerprint())


@seal.command()
@click.argument("url")
@click.option("--chat", metavar="TEXT", help="A question, as a chat completion.")
@click.option(
    "--body",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help='The content of the request; "-" for standard input.',
)
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    required=True,
    help="Where to write what 'antiphon seal open' needs. As secret as the answer.",
)
@click.option("--path", default=CHAT_PATH, show_default=True, help="Where it is sent, inside.")
@click.option("--method", metavar="NAME", help="Default: POST, or GET without content.")
@click.option("--header", "extra", metavar="NAME:VALUE", multiple=True, help="Repeatable.")
@click.option("--stream/--no-stream", default=True, help="Whether a --chat streams.")
@pin_options
@inner_options
def request(
    url: str,
    chat: str | None,
    body: Path | None,
    state: Path,
    path: str,
    method: str | None,
    extra: tuple[str, ...],
    stream: bool,
    pins: tuple[str, ...],
    known: Path | None,
    api_key_env: str,
    model: str | None,
    system: str | None,
    effort: str | None,
    padding: str,
) -> None:
    """Seal a request and write it to standard output, for a program that sends it.

    It is sent to URL/.well-known/ohttp-gateway, or to a relay, as message/ohttp-chunked-req. What
    comes back is opened with "antiphon seal open". A request is good for a few minutes and once.

    \b
    Example:
      antiphon seal request https://gpt.example --chat "Hi" --state s \\
        | curl -sSN https://gpt.example/.well-known/ohttp-gateway --data-binary @- \\
          -H "Content-Type: message/ohttp-chunked-req" -H "Incremental: ?1" \\
        | antiphon seal open --state s --stream --text
    """
    import msgspec

    from antiphon.settings.private_file import replace

    if chat is not None and body is not None:
        raise CommandLineError("--chat and --body are two requests; give one")
    if sys.stdout.isatty():
        raise CommandLineError("a sealed request is not for a terminal: pipe it to what sends it")
    headers = {**key_headers(api_key_env), **_given(extra)}
    with sealed_client(url, pins, known, None, padding) as client:
        say_first_use(client, url, pins, known)
        content = b""
        if chat is not None:
            chosen = model or first_model(client, key_headers(api_key_env))
            content = msgspec.json.encode(
                chat_body(text_of(chat), system, chosen, effort, stream=stream)
            )
        elif body is not None:
            content = sys.stdin.buffer.read() if str(body) == "-" else body.read_bytes()
        if content:
            headers.setdefault("content-type", "application/json")
        chosen_method = method or ("POST" if content else "GET")
        sealed = client.seal(chosen_method, path, content=content, headers=headers.items())
    replace(state, sealed.secret.encode())
    sys.stdout.buffer.write(sealed.body)
    sys.stdout.buffer.flush()


@seal.command("open")
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    required=True,
    help="What 'antiphon seal request' wrote.",
)
@click.option("--stream", is_flag=True, help="Show what has come, before it is all there.")
@click.option("--text", "as_text", is_flag=True, help="Show the text of a chat completion alone.")
@click.option("--include", is_flag=True, help="Show status and headers, too.")
def open_(state: Path, stream: bool, as_text: bool, include: bool) -> None:
    """Open a sealed answer from standard input.

    Nothing is shown of an answer that is not whole, unless --stream asks for it: then what was
    shown is the gateway's, but exit code 1 says that the end is missing. So it does for an answer
    whose status is 400 or more.

    \b
    Example:
      curl … | antiphon seal open --state s --stream --text
    """
    from antiphon.cli.seal_view import open_answer

    source = sys.stdin.buffer.fileno()
    # In a pipeline the state is there, and not one of before, once there is something to open.
    first = os.read(source, READ_BYTES)

    def pieces() -> Iterator[bytes]:
        data = first
        while data:
            yield data
            data = os.read(source, READ_BYTES)

    with clear_errors():
        open_answer(
            pieces(),
            _secret(state),
            Terminal(),
            stream=stream,
            as_text=as_text,
            include=include,
        )


@seal.command()
@click.argument("url")
@click.option("--config", "whole", is_flag=True, help="Print whole configurations, in base64.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@known_option("Where keys that were trusted on first use are remembered.")
def fingerprint(url: str, whole: bool, as_json: bool, known: Path | None) -> None:
    """Show the keys that a gateway offers, the one in use first. Nothing is remembered.

    They are asked for in the clear: compare them with what "antiphon serve --seal" prints before
    you pin one.

    \b
    Example:
      antiphon seal fingerprint https://gpt.example
    """
    from base64 import b64encode

    import msgspec

    from antiphon.seal import KnownGateways
    from antiphon.sealed.client import offered_keys
    from antiphon.sealed.target import Target

    with clear_errors(url):
        target = Target.parse(url)
        remembered = KnownGateways(known).get(target.url)
        configs = offered_keys(url)
    rows: list[dict[str, Any]] = [
        {
            "fingerprint": config.fingerprint,
            "key_id": config.key_id,
            "kem": str(config.suites[0]).partition(",")[0],
            "config": b64encode(config.encode()).decode(),
            "trusted": remembered is not None and remembered.config == config,
        }
        for config in configs
    ]
    terminal = Terminal()
    if as_json:
        terminal.write(msgspec.json.encode(rows).decode() + "\n")
        return
    for row in rows:
        note = " trusted" if row["trusted"] else ""
        shown = row["config"] if whole else f"{row['fingerprint']} {row['kem']}{note}"
        terminal.write(f"{shown}\n")
    if remembered is not None and not any(row["trusted"] for row in rows):
        raise DataError(
            f"none of them is the key that is trusted for {target.url}:"
            f" {remembered.config.fingerprint}"
        )


@seal.command()
@click.argument("url")
@known_option("Where keys that were trusted on first use are remembered.")
def forget(url: str, known: Path | None) -> None:
    """Forget the key of a gateway that was trusted on first use; the next one is trusted then.

    Do so after its operator has told you that the key was changed, and which it is now.
    """
    from antiphon.seal import KnownGateways
    from antiphon.sealed.target import Target

    with clear_errors():
        gateway = Target.parse(url).url
        if not KnownGateways(known).forget(gateway):
            raise DataError(f"no key is remembered for {gateway}")
    click.echo(f"the key of {gateway} is forgotten", err=True)


def _given(headers: tuple[str, ...]) -> dict[str, str]:
    given = {}
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip() or not header.isascii():
            raise CommandLineError(f"--header {printable(header)}: expected NAME:VALUE")
        given[name.strip().lower()] = value.strip()
    return given


def _secret(path: Path) -> Any:
    from antiphon.seal import ResponseSecret, SealError

    with path.open("rb") as file:
        data = file.read(MAX_STATE_BYTES + 1)
    try:
        return ResponseSecret.decode(data)
    except SealError as error:
        raise DataError(f"{path}: {error}") from error
