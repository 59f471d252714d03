"""``antiphon serve``: the gateway, from settings to the last stream."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from antiphon.cli.options import assigned, config_option, engine_option, set_option
from antiphon.cli.serve_view import ServeView
from antiphon.settings.load import describe, load
from antiphon.settings.model import Settings
from antiphon.settings.options import Option, options

if TYPE_CHECKING:
    from antiphon.gateway.services import Services

__all__ = ["serve"]

_SHOWN: Final = {
    "engine",
    "log.trace",
    "mode",
    "model",
    "responses.reasoning_events",
    "seal.required",
    "server.host",
    "server.port",
    "server.workers",
}
"""Settings with an option of their own in the help; the others are hidden there."""


def _flags(command: Callable[..., None]) -> Callable[..., None]:
    """One hidden option for each setting that has none yet."""
    for option in reversed(options()):
        if option.path not in _SHOWN and _is_plain(option):
            command = click.option(
                option.flag, _parameter(option.path), metavar="VALUE", hidden=True
            )(command)
    return command


def _is_plain(option: Option) -> bool:
    """Whether a command line can say it: tables can only be in the file."""
    return "table" not in option.expected


def _parameter(path: str) -> str:
    return "setting_" + path.replace(".", "__")


@click.command(
    epilog="Every setting of docs/settings.md is a flag too, for example --turn-seconds 600."
)
@engine_option()
@click.option("--model", metavar="GGUF", help="Start llama.cpp with this model.")
@click.option("--host", metavar="ADDRESS", help="Default: 127.0.0.1.")
@click.option("--port", metavar="NUMBER", help="Default: 8000; 0 takes any free port.")
@click.option("--workers", metavar="NUMBER", help="Processes that serve the port. Default: 1.")
@click.option("--mode", type=click.Choice(["auto", "harmony", "standard"]), help="Default: auto.")
@config_option()
@set_option("turn.seconds=600")
@click.option(
    "--trace", metavar="FILE", help="Write every prompt and raw output, for 'antiphon inspect'."
)
@click.option(
    "--reasoning-events",
    type=click.Choice(["reasoning_text", "reasoning"]),
    help="How Responses streams name reasoning: OpenAI's way (default), or Open Responses'.",
)
@click.option(
    "--seal",
    "seal",
    flag_value="true",
    default=None,
    help="Take sealed requests too, and say which key they are for (docs/seal.md).",
)
@click.option("--seal-required", flag_value="true", default=None, help="Take sealed requests only.")
@click.option("--check", is_flag=True, help="Check the settings, say what they are, and end.")
@_flags
def serve(
    config: Path | None, assignments: tuple[str, ...], check: bool, **given: str | None
) -> None:
    """Serve Chat Completions and Responses over any engine.

    \b
    Examples:
      antiphon serve
      antiphon serve --engine http://127.0.0.1:8080
      antiphon serve --model gpt-oss-20b.gguf --port 9000
      antiphon serve --engine scripted --set turn.seconds=60
      antiphon serve --seal
      antiphon serve --workers 4
      antiphon serve --check
    """
    flags = _named(given) | assigned(assignments)

    def read() -> Settings:
        return load(config, None, flags)

    settings = read()
    view = ServeView(sys.stderr)
    if check:
        from antiphon.engines.check import check_engines

        facts = [*_check(settings), *_check_tools(settings)]
        view.checked(describe(settings), [*facts, *check_engines(settings, os.environ)])
        return
    _serve(settings, view, read, config=config, flags=flags)


def _named(given: Mapping[str, str | None]) -> dict[str, str]:
    """Flags or setting paths → values, from click's parameters."""
    return {
        name.removeprefix("setting_").replace("__", "."): value
        for name, value in given.items()
        if value is not None
    }


def _check(settings: Settings) -> list[str]:
    """What else must be right before a server can start. Raises for what is wrong."""
    from antiphon.gateway.auth import check_bind
    from antiphon.gateway.keyfile import KeyFile, key_file_path
    from antiphon.gateway.workers.place import check_workers

    check_workers(settings, sys.platform)
    path = key_file_path(settings.keys.file, os.environ)
    ring = KeyFile(path).load()
    check_bind(settings, ring)
    count = "1 key" if len(ring.keys) == 1 else f"{len(ring.keys)} keys"
    keys = f"{count} in {path}" if ring else "no API keys: this machine only"
    return [keys, *_check_seal(settings)]


def _check_tools(settings: Settings) -> list[str]:
    """The tools that the server runs for models, made and tried once."""
    if not settings.server_tools.offered:
        return []
    import asyncio

    from antiphon.gateway.app import create_app

    async def opened() -> str:
        services: Services = create_app(settings).state.services
        made = await services.tools.prepare(settings)
        await made.aclose()
        return ", ".join(sorted(made.kinds))

    return [f"server tools: {asyncio.run(opened())}"]


def _check_seal(settings: Settings) -> list[str]:
    """The sealing keys as they are; nothing is made yet."""
    if not (settings.seal.enabled or settings.seal.required):
        return []
    from antiphon.gateway.sealed.keyfile import SealKeyFile, seal_key_path
    from antiphon.gateway.sealed.transport import padding_of

    padding_of(settings)
    file = SealKeyFile(seal_key_path(settings.seal.keys_file, os.environ))
    keys = file.load()
    if not keys:
        return [f"a sealing key will be made in {file.path}"]
    count = "1 sealing key" if len(keys) == 1 else f"{len(keys)} sealing keys"
    return [f"{count} in {file.path}, the current one {keys[0].config.fingerprint}"]


def _serve(
    settings: Settings,
    view: ServeView,
    read: Callable[[], Settings],
    *,
    config: Path | None,
    flags: Mapping[str, str],
) -> None:
    try:
        import aiohttp  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401 - the extra as a whole is there, or is not
    except ModuleNotFoundError as missing:
        from antiphon.errors import MissingExtraError

        raise MissingExtraError(missing.name or "uvicorn", "gateway") from missing
    from antiphon.gateway.server import bind

    keys, *_ = _check(settings)
    listener = bind(settings.server.host, settings.server.port)
    with listener:
        if settings.server.workers > 1:
            from antiphon.cli.supervise import supervise

            supervise(settings, listener, view, config=config, flags=flags, keys=keys)
            return
        from antiphon.cli.serving import loop_runner, run_gateway

        with loop_runner() as runner:
            runner.run(run_gateway(settings, listener, view, read, keys))
