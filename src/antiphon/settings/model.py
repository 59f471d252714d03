"""Every setting, its default and what it means: the one place that names them.

A setting is named by its path: ``turn.idle_seconds`` here and in ``antiphon.toml``,
``ANTIPHON_TURN_IDLE_SECONDS`` in the environment, ``--turn-idle-seconds`` on the command line.
docs/settings.md is written from this module.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from antiphon.settings.tools import (
    BrowserSettings,
    GuardSettings,
    McpSettings,
    PythonSettings,
    ServerToolSettings,
)

__all__ = [
    "AgentSettings",
    "CorsSettings",
    "EngineSettings",
    "KeySettings",
    "LaunchSettings",
    "LimitSettings",
    "LogSettings",
    "MemorySettings",
    "Mode",
    "ModelSettings",
    "PromptSettings",
    "ResponsesSettings",
    "SealSettings",
    "ServerSettings",
    "Settings",
    "StoreSettings",
    "TurnSettings",
    "VisibilitySettings",
]

Mode = Literal["auto", "harmony", "standard"]
"""``harmony``: we render and parse. ``standard``: the engine's own chat route, passed through.
``auto``: harmony for gpt-oss, standard for other models."""

Effort = Literal["none", "minimal", "low", "medium", "high"]

SealKem = Literal["x25519", "p256", "mlkem768-x25519"]
SealCipher = Literal["aes-128-gcm", "chacha20-poly1305"]

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
Percent = Annotated[float, Meta(ge=0, le=100)]


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where and how the server listens."""

    host: str = "127.0.0.1"
    """The address to listen on."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    """0: any free port, printed at start."""
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    """Processes that serve the port. docs/deployment.md."""
    allowed_hosts: tuple[str, ...] = ()
    """Host headers accepted beside loopback names while no key is configured."""
    operator_key_required: bool = True
    """Metrics, raw transcripts and the mode header need an operator's key once any key exists."""
    body_bytes: Positive = 32 * 1024 * 1024
    """Largest request body."""
    body_seconds: Seconds = 30.0
    """A body must have arrived by then."""
    keepalive_seconds: Seconds = 10.0
    """An SSE comment is sent when a stream was silent for so long."""
    shutdown_seconds: Seconds = 30.0
    """How long streams may go on after the server was told to stop."""


class CorsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which web pages may talk to the server."""

    origins: tuple[str, ...] = ()
    """``*`` is any; with no keys configured, only what is listed is let in."""


class KeySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """API keys: `antiphon keys add`."""

    file: str | None = None
    """Where the hashes are; default: keys.toml in the user's configuration folder. A missing file
    is the same as no keys."""


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Admission and rate limits. Per key; without keys, per client address."""

    concurrent: Positive = 64
    """Turns that run at a time."""
    queued: Annotated[int, Meta(ge=0)] = 256
    """Turns that may wait for a place; more are refused with 503."""
    queue_seconds: Seconds = 60.0
    """Longest wait for a place."""
    per_key_concurrent: Annotated[int, Meta(ge=0)] = 0
    """0: no limit of its own."""
    requests_per_minute: Annotated[int, Meta(ge=0)] = 0
    """0: no limit."""
    tokens_per_minute: Annotated[int, Meta(ge=0)] = 0
    """Prompt and completion; 0: no limit."""


class MemorySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The reasoning memory."""

    enabled: bool = True
    """Whether reasoning that clients drop is put back while the model works with tools."""
    seconds: Seconds = 3600.0
    """How long reasoning waits for its tool result."""
    bytes: Positive = 256 * 1024 * 1024
    """Most bytes remembered, over all keys."""
    entry_bytes: Positive = 1024 * 1024
    """Most bytes remembered for one tool call."""


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where responses, conversations and what workers share are kept. docs/store.md."""

    url: str = "sqlite"
    """``sqlite``: a file in the user's data folder; ``sqlite:FILE``; ``postgresql://…`` (the extra
    ``postgres``); ``memory``: nothing outlives the process."""
    ttl: Annotated[float, Meta(ge=0)] = 30.0
    """Days for which responses, and conversations that get no more items, are kept; 0: for ever."""
    bytes: Positive | None = None
    """So large, the store takes nothing new; in memory, what was not used for longest goes instead.
    Default: 10 GiB; in memory 1 GiB."""
    sync: Literal["normal", "full"] = "normal"
    """What a SQLite file survives: ``normal``, the end of the process at any moment; ``full``, also
    the machine losing power, at the price of a flush of the disk for each write."""
    key_file: str | None = None
    """Encrypt what is kept with the keys in this file, which is made if there is none."""
    seal_file: str | None = None
    """Keys for what clients carry for us (``encrypted_content``); gateways that serve the same
    clients share the file. Default: seal-keys.json in the user's data folder; with the store in
    memory, keys that end with the process."""


class TurnSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits and recovery of one turn."""

    output_tokens: Annotated[int, Meta(ge=0)] = 0
    """Most tokens of one completion, whatever the client asks for; 0: what the context leaves."""
    seconds: Seconds = 1800.0
    """Longest turn."""
    idle_seconds: Seconds = 120.0
    """Longest silence of the engine."""
    prompt_tokens_per_second: Annotated[float, Meta(gt=0)] = 50.0
    """The slowest that an engine may read a prompt: before its first token, it may be silent for as
    much longer as that takes."""
    choices: Positive = 8
    """Largest ``n``."""
    stop_strings: Positive = 16
    """Most stop strings. OpenAI allows 4."""
    continue_silent: bool = True
    """When the model thinks and then ends the turn with neither answer nor call, continue once,
    with the final channel prefilled."""
    structured_retries: Annotated[int, Meta(ge=0, le=3)] = 1
    """How often a structured answer that does not fit is asked for again."""
    repetition_guard: bool = True
    """End a turn that goes on repeating itself."""
    repetition_tokens: Positive = 512
    """So many tokens of nothing but repetition end the turn."""
    adopt_calls: bool = True
    """Take what is unmistakably a call of an offered tool as one, though its header names no
    recipient."""


class PromptSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes into prompts."""

    effort: Effort = "medium"
    """Reasoning effort where neither request, key nor model says one."""
    effort_line: bool = True
    """A lone ``Reasoning: low|medium|high`` line in a system message sets the effort."""
    identity: str | None = None
    """In place of gpt-oss's own first line."""
    knowledge_cutoff: str | None = None
    """What the system message says of it; gpt-oss's own if not set."""
    date: bool = True
    """Whether the system message tells the date."""
    temperature: float = 1.0
    """Where the request is silent; so for the next three."""
    top_p: float = 1.0
    """The share of likely tokens to choose from."""
    top_k: int = 0
    """How many likely tokens to choose from; 0: no limit."""
    min_p: float = 0.0
    """Least probability, as a share of the likeliest token's."""
    on_media: Literal["refuse", "placeholder"] = "refuse"
    """Images, audio and other files that are not text: a 400, or a fixed line in their place."""


class VisibilitySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What clients see of a turn."""

    reasoning: bool = True
    """Whether answers show reasoning, where the request does not say."""
    preambles: Literal["content", "reasoning", "hidden"] = "content"
    """Where text beside tool calls goes in Chat Completions."""
    reasoning_fields: Literal["both", "reasoning", "reasoning_content"] = "both"
    """Under which name reasoning stands in Chat Completions."""
    raw: bool = False
    """Whether an operator's request may ask for the raw transcript (``antiphon-raw: 1``)."""


class ResponsesSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Responses API."""

    reasoning_events: Literal["reasoning_text", "reasoning"] = "reasoning_text"
    """Under which name reasoning is streamed: OpenAI's ``response.reasoning_text.*``, or Open
    Responses' ``response.reasoning.*``. The header ``antiphon-reasoning-events`` says it for one
    request."""
    on_media: Literal["refuse", "placeholder"] = "placeholder"
    """Images, audio and other files that are not text: a 400, or a fixed line in their place."""
    summaries: bool = False
    """Summarise reasoning for requests that ask for it: with sentences of the reasoning itself,
    marked as an extract."""
    background: Positive = 32
    """Background responses that run or wait at a time; more are refused with 503."""
    background_per_key: Annotated[int, Meta(ge=0)] = 8
    """Of these, how many one key may have; 0: no limit of its own."""
    sockets: Positive = 256
    """WebSocket connections at a time."""


class SealSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sealed transport: `antiphon serve --seal`, docs/seal.md."""

    enabled: bool = False
    """Whether sealed requests are taken and key configurations published."""
    required: bool = False
    """Take sealed requests only; turns sealed transport on. ``/health``, ``/ready`` and the key
    configurations stay in the clear."""
    keys_file: str | None = None
    """The private keys, made if there are none; gateways behind one name share the file. Default:
    ohttp-keys.json in the user's configuration folder."""
    kems: Annotated[tuple[SealKem, ...], Meta(min_length=1)] = ("x25519",)
    """Which kinds of keys are made and published; clients take the first that they know."""
    ciphers: Annotated[tuple[SealCipher, ...], Meta(min_length=1)] = (
        "aes-128-gcm",
        "chacha20-poly1305",
    )
    """What new keys offer; clients take the first that they know."""
    padding: str = "none"
    """What answers are filled up to, so that lengths tell less: ``none``, ``multiple:N``, or
    ``buckets:N,N,…``, in bytes of a chunk."""
    replay_seconds: Annotated[int, Meta(ge=10, le=86_400)] = 300
    """How old a request may be by its date. So long, and twice the next longer, it is remembered,
    that a copy be refused."""
    skew_seconds: Annotated[int, Meta(ge=0, le=3600)] = 60
    """How wrong a client's clock may be."""
    require_date: bool = False
    """Refuse requests without a date: a copy of one is not noticed once it is forgotten."""
    chunk_bytes: Annotated[int, Meta(ge=16_384)] = 64 * 1024
    """Largest chunk of a sealed request. What is inside is held to ``server.body_bytes``."""
    final_bytes: Annotated[int, Meta(ge=16_384)] = 1024 * 1024
    """Largest last chunk of a sealed request: it is kept until the request ends."""
    answer_bytes: Positive = 64 * 1024 * 1024
    """Largest answer to a request that was not sealed in chunks: it is kept until it is whole."""


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One engine: ``[[engines]]``."""

    url: str
    """``http://…``, or ``tiny``, ``scripted``, ``scripted:FILE``, or a name from the registry."""
    kind: str | None = None
    """What it is, if detection should not be relied on."""
    api_key: str | None = None
    """The key it asks for."""
    models: tuple[str, ...] = ()
    """Models to use it for; empty: all that it lists."""
    weight: Annotated[float, Meta(gt=0)] = 1.0
    """Its share of a model's requests, against other engines' weights."""
    concurrent: Annotated[int, Meta(ge=0)] = 0
    """Turns that it takes at a time; 0: as many as come."""


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds for one model: ``[models.NAME]``. Where it is silent, the server's value holds."""

    engine: str | None = None
    """The engine's model name, if it is another."""
    mode: Mode | None = None
    """How it is served."""
    harmony_percent: Percent | None = None
    """Share of conversations in mode ``harmony``; the rest is ``standard``."""
    effort: Effort | None = None
    """Reasoning effort where neither request nor key says one."""
    context_length: Positive | None = None
    """Tokens that prompt and completion may have together, if fewer than the engine takes."""
    output_tokens: Positive | None = None
    """Most tokens of one completion."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """Where the request is silent; so for the next three."""
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    """The share of likely tokens to choose from."""
    top_k: Annotated[int, Meta(ge=0)] | None = None
    """How many likely tokens to choose from; 0: no limit."""
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    """Least probability, as a share of the likeliest token's."""
    aliases: tuple[str, ...] = ()
    """Other names for it."""


class LaunchSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """llama.cpp's server where we start it: ``model``, and models of the registry."""

    server: str = "auto"
    """``embedded`` (the extra ``local``), the path of a ``llama-server``, or ``auto``: embedded if
    that is installed, else the ``llama-server`` on the PATH."""
    context: Annotated[int, Meta(ge=0)] = 32768
    """Tokens for each request that runs at a time, at most what the model was trained with; 0: just
    that."""
    parallel: Positive = 2
    """Requests that run at a time."""
    gpu_layers: Annotated[int, Meta(ge=-1)] = -1
    """Layers that go to the GPU; -1: as many as fit."""
    threads: Annotated[int, Meta(ge=0)] = 0
    """CPU threads; 0: as llama.cpp finds right."""
    extra_args: tuple[str, ...] = ()
    """More arguments for ``llama-server``; the embedded server takes none."""
    start_seconds: Seconds = 600.0
    """How long a model may take to load."""
    restarts: Annotated[int, Meta(ge=0)] = 5
    """How often a server that dies is started again before it is given up. One that has run for
    ten minutes starts counting anew."""
    ttl: Annotated[float, Meta(ge=0)] = 0.0
    """Unload a model of the registry after so many idle seconds; 0: never."""


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Logs and traces."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines that are written."""
    format: Literal["auto", "json", "text"] = "auto"
    """``auto``: text on a terminal, JSON in a pipe."""
    content: bool = False
    """Whether logs may hold what users and models say."""
    trace: str | None = None
    """A file that gets every prompt and raw output, for `antiphon inspect`. Mode 0600."""


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The agent: `antiphon run` and `antiphon chat`. docs/agent.md."""

    turns: Positive = 50
    """Most turns of the model for one question."""
    tokens: Annotated[int, Meta(ge=0)] = 0
    """Most tokens that the model may write for one question; 0: no limit."""
    seconds: Annotated[float, Meta(ge=0)] = 0.0
    """Longest work on one question, without the time that people take to decide; 0: no limit."""
    repeated_failures: Positive = 3
    """A call that was made so often with the same arguments, and failed each time, ends the work on
    the question."""
    result_chars: Positive = 100_000
    """Most characters of a tool's result that the model reads; more is cut in the middle."""
    parallel: Positive = 8
    """Calls that run at the same time."""
    always: tuple[str, ...] = ()
    """Tools whose calls are made without asking; ``*`` is every tool."""
    ask: tuple[str, ...] = ()
    """Tools whose calls are made when a person has agreed."""
    never: tuple[str, ...] = ()
    """Tools whose calls are refused."""
    instructions: str | None = None
    """What the developer message tells the model, where the command line says nothing."""
    sessions: str | None = None
    """The folder of saved sessions; default: sessions in the user's state folder."""
    sync: Literal["normal", "full"] = "normal"
    """What a saved session survives: ``normal``, the end of the process at any moment; ``full``,
    also the machine losing power, at the price of a flush of the disk for each message."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the server runs."""

    engine: str | None = None
    """One engine: ``tiny``, ``scripted[:FILE]``, a URL, or a name from the registry. None: what
    ``engines`` lists, else one that runs on a usual port, else ``tiny``."""
    model: str | None = None
    """A GGUF file, or ``repo:quant``, to start llama.cpp's server with."""
    models_file: str | None = None
    """The registry; default: models.toml in the user's configuration folder."""
    mode: Mode = "auto"
    """``harmony``: prompts are rendered and output parsed here. ``standard``: the engine's own
    routes, passed through. ``auto``: harmony for gpt-oss, standard for other models."""
    strict_parameters: bool = False
    """Refuse parameters without effect here, instead of naming them in ``antiphon-ignored``."""
    server: ServerSettings = ServerSettings()
    cors: CorsSettings = CorsSettings()
    keys: KeySettings = KeySettings()
    limits: LimitSettings = LimitSettings()
    memory: MemorySettings = MemorySettings()
    store: StoreSettings = StoreSettings()
    turn: TurnSettings = TurnSettings()
    prompt: PromptSettings = PromptSettings()
    visibility: VisibilitySettings = VisibilitySettings()
    responses: ResponsesSettings = ResponsesSettings()
    seal: SealSettings = SealSettings()
    launch: LaunchSettings = LaunchSettings()
    agent: AgentSettings = AgentSettings()
    server_tools: ServerToolSettings = ServerToolSettings()
    browser: BrowserSettings = BrowserSettings()
    python: PythonSettings = PythonSettings()
    guard: GuardSettings = GuardSettings()
    mcp: McpSettings = McpSettings()
    log: LogSettings = LogSettings()
    engines: tuple[EngineSettings, ...] = ()
    """Engines to use, each a table ``[[engines]]``."""
    models: dict[str, ModelSettings] = {}
    """What holds for single models, each a table ``[models.NAME]``."""
