"""What the commands of ``antiphon seal`` share: options, a sealed client, a chat's request."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from antiphon.cli.errors import CommandLineError, DataError
from antiphon.cli.options import Decorated

if TYPE_CHECKING:
    from antiphon.seal import Client

__all__ = [
    "chat_body",
    "clear_errors",
    "first_contact",
    "first_model",
    "inner_options",
    "key_headers",
    "known_option",
    "pin_options",
    "say_first_use",
    "sealed_client",
    "text_of",
    "via_option",
]

KEY_VARIABLE: Final = "ANTIPHON_API_KEY"


def known_option(help: str) -> Callable[[Decorated], Decorated]:
    """``--known FILE``, as ``known: Path | None``."""
    return click.option(
        "--known",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help=help,
    )


def via_option() -> Callable[[Decorated], Decorated]:
    """``--via URL``."""
    return click.option("--via", metavar="URL", help="A relay to send through; needs --seal-key.")


def pin_options(command: Decorated) -> Decorated:
    """Which key is believed."""
    key = click.option(
        "--seal-key",
        "pins",
        metavar="PIN",
        multiple=True,
        help="The gateway's key: its SHA-256 fingerprint, its configuration in base64 or"
        " hexadecimal, or a file with either. Repeatable: any of them will do.",
    )
    known = known_option(
        "Where keys that were trusted on first use are remembered; default: a file of yours."
    )
    return key(known(command))


def inner_options(command: Callable[..., None]) -> Callable[..., None]:
    """What goes into the sealed request."""
    api_key = click.option(
        "--api-key-env",
        metavar="NAME",
        default=KEY_VARIABLE,
        show_default=True,
        help="The environment variable that holds the API key, which is sealed too.",
    )
    model = click.option(
        "--model", metavar="NAME", help="Default: the gateway's first, which it is asked for."
    )
    system = click.option("--system", metavar="TEXT", help="Instructions before the question.")
    effort = click.option(
        "--effort", type=click.Choice(["none", "minimal", "low", "medium", "high"])
    )
    padding = click.option(
        "--padding",
        metavar="POLICY",
        default="none",
        show_default=True,
        help="Hide the request's length: multiple:N or buckets:N,N,…",
    )
    return api_key(model(system(effort(padding(command)))))


@contextlib.contextmanager
def clear_errors(where: str = "") -> Iterator[None]:
    """What goes wrong with the seal or the network, in one line with what to do about it."""
    import httpx2

    from antiphon.seal import SealError

    try:
        yield
    except SealError as error:
        said = str(error).rstrip(".")
        known = not error.advice or error.advice.rstrip(".") in said
        raise DataError(said if known else f"{said}. {error.advice}") from error
    except httpx2.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"no answer from {where}: {reason}") from error


@contextlib.contextmanager
def sealed_client(
    url: str, pins: tuple[str, ...], known: Path | None, via: str | None, padding: str
) -> Iterator[Client]:
    """A client that believes these pins. Raises CommandLineError, DataError."""
    from antiphon.seal import Client, KnownGateways, Padding

    try:
        Padding.parse(padding)
    except ValueError as error:
        raise CommandLineError(f"--padding: {error}") from error
    with clear_errors(via or url):
        remembered = KnownGateways(known)
        with Client(url, key=pins or None, via=via, known=remembered, padding=padding) as client:
            yield client


def say_first_use(client: Client, url: str, pins: tuple[str, ...], known: Path | None) -> None:
    """That a key is trusted because it is the first, once."""
    if pins:
        return
    from antiphon.seal import KnownGateways
    from antiphon.sealed.target import Target

    gateway = Target.parse(url).url
    if KnownGateways(known).get(gateway) is None:
        click.echo(first_contact(gateway, client.fingerprint()), err=True)


def first_contact(gateway: str, fingerprint: str) -> str:
    """What a person is told of a key that is trusted because it is the first."""
    return (
        f"first contact with {gateway}: its key {fingerprint} is remembered;"
        " compare it with what 'antiphon serve --seal' prints there"
    )


def first_model(client: Client, headers: dict[str, str]) -> str:
    """The name of the gateway's first model. Raises DataError."""
    from antiphon.sealed.chat import error_message

    answer = client.get("/v1/models", headers=headers)
    if answer.status_code != 200:
        said = error_message(answer.content) or f"status {answer.status_code}"
        raise DataError(f"the gateway says: {said}")
    try:
        return str(answer.json()["data"][0]["id"])
    except (ValueError, LookupError, TypeError):
        raise DataError("the gateway has no models; name one with --model") from None


def chat_body(
    text: str, system: str | None, model: str, effort: str | None, *, stream: bool
) -> dict[str, Any]:
    """A chat completion's request."""
    messages = [{"role": "user", "content": text}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    body: dict[str, Any] = {"model": model, "messages": messages, "stream": stream}
    if effort is not None:
        body["reasoning_effort"] = effort
    return body


def text_of(given: str) -> str:
    """What was given, or standard input for ``-``."""
    if given != "-":
        return given
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"<stdin>: byte {error.start}: not UTF-8") from error


def key_headers(variable: str) -> dict[str, str]:
    """The API key in this environment variable as a header; none without one."""
    key = os.environ.get(variable)
    if not key:
        return {}
    if not key.isascii() or not key.isprintable():
        raise CommandLineError(f"--api-key-env: {variable} holds characters no key can have")
    return {"authorization": f"Bearer {key}"}
