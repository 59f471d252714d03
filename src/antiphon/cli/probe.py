"""``antiphon probe``: what runs at a URL, and whether it can be used."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

import click

from antiphon.cli.errors import CommandLineError
from antiphon.cli.terminal import Terminal

if TYPE_CHECKING:
    from antiphon.engines.detect import Kind, ProbeReport

__all__ = ["probe"]

_KINDS: Final = (
    "llama.cpp vllm sglang ollama ollama-template ollama-chat lmstudio lemonade mlx-lm"
    " transformers openai"
).split()


@click.command()
@click.argument("url", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each engine.")
@click.option(
    "--kind",
    type=click.Choice(_KINDS),
    help="Which engine it is, if detection should not be relied on.",
)
@click.option(
    "--api-key-env",
    metavar="NAME",
    help="The environment variable that holds the engine's API key.",
)
@click.option(
    "--model",
    "models",
    metavar="NAME",
    multiple=True,
    help="Look at this model only, and try it even if the engine must load it first. Repeatable.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1, max=3600),
    default=60.0,
    show_default=True,
    help="Seconds for the whole probe.",
)
@click.pass_context
def probe(
    context: click.Context,
    url: str | None,
    as_json: bool,
    kind: Kind | None,
    api_key_env: str | None,
    models: tuple[str, ...],
    timeout: float,
) -> None:
    """Find out what an engine is and how it can be used.

    Asks the engine at URL what it is and which models it has. Has each gpt-oss that is loaded
    generate a few tokens, raw, to see whether it speaks ids, marked or stripped text, and whether a
    grammar takes hold. Says of every finding how it is known. Without URL, the usual ports of this
    computer are searched.

    The exit code is 0 if a gpt-oss can be used there, else 1.

    \b
    Examples:
      antiphon probe http://127.0.0.1:8080
      antiphon probe
      antiphon probe --json --api-key-env ENGINE_KEY https://engine.example/v1
    """
    if url is None and (kind or api_key_env or models):
        raise CommandLineError("--kind, --api-key-env and --model need a URL")
    key = _key(api_key_env)
    reports = asyncio.run(_reports(url, kind, key, models, timeout))
    terminal = Terminal()
    if as_json:
        import msgspec

        for report in reports:
            terminal.write(msgspec.json.encode(report).decode() + "\n")
    else:
        from antiphon.cli.probe_view import show

        show(reports, terminal)
    if not any(report.usable for report in reports):
        terminal.flush()
        context.exit(1)


def _key(name: str | None) -> str | None:
    if name is None:
        return None
    key = os.environ.get(name)
    if not key:
        raise CommandLineError(f"--api-key-env: {name} is not set, or empty")
    if not key.isascii() or not key.isprintable():
        raise CommandLineError(f"--api-key-env: {name} holds characters no key can have")
    return key


async def _reports(
    url: str | None,
    kind: Kind | None,
    key: str | None,
    models: tuple[str, ...],
    timeout: float,  # noqa: ASYNC109 - handed on
) -> list[ProbeReport]:
    from antiphon.engines.detect import discover
    from antiphon.engines.detect import probe as look

    if url is None:
        return await discover(timeout=timeout)
    return [await look(url, api_key=key, kind=kind, models=models, timeout=timeout)]
