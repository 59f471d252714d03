"""Cold processes: what starting costs, over ``python -c pass``. The minimum of twenty of each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from bench import Bench, Case, Row, Verdict
from processes import Usage, cold

__all__ = ["CASES"]

GROUP: Final = "Cold process"

_PASS: Final = "pass"
_PARSE: Final = "import antiphon\nassert len(antiphon.parse({ids}, role='assistant')) == 2"
_RENDER: Final = """\
import antiphon
ids = antiphon.render([antiphon.Message.user("Hello there")], dialect="reference")
"""
_LIBRARY_RENDER: Final = """\
from {library} import Conversation, Message, Role, load_harmony_encoding
encoding = load_harmony_encoding("HarmonyGptOss")
conversation = Conversation.from_messages([Message.from_role_and_content(Role.USER, "Hello there")])
ids = encoding.render_conversation_for_completion(conversation, Role.ASSISTANT)
"""


def _python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def _rounds(bench: Bench) -> int:
    return 3 if bench.settings.quick else 20


def _measure(bench: Bench, *commands: list[str]) -> list[Usage]:
    environment = {"TIKTOKEN_ENCODINGS_BASE": str(bench.vocabulary)}
    return cold(list(commands), _rounds(bench), environment)


def _absolute(usage: Usage) -> str:
    return f"{usage[0]:.3f} s, {usage[1]:.1f} MB"


def _over_pass(
    work: str, usage: Usage, floor: Usage, cpu: float, memory: float | None, note: str
) -> Row:
    seconds, megabytes = usage[0] - floor[0], usage[1] - floor[1]
    fits = seconds <= cpu and (memory is None or megabytes <= memory)
    verdict: Verdict = "ok" if fits else "short"
    target = f"at most {cpu:.2f} s CPU" + (f" and {memory:g} MB" if memory is not None else "")
    return Row(
        work,
        f"{target} more",
        f"{seconds:.3f} s and {megabytes:.1f} MB more",
        _absolute(usage),
        "",
        f"{_absolute(floor)}: `python -c pass`",
        verdict,
        note,
    )


def _parse(bench: Bench, work: str) -> Row:
    values = [
        {"role": "assistant", "content": "The user adds two numbers.", "channel": "analysis"},
        {"role": "assistant", "content": "2 + 2 = 4.", "channel": "final"},
    ]
    ids = bench.completion(values)
    floor, usage = _measure(bench, _python(_PASS), _python(_PARSE.format(ids=ids)))
    return _over_pass(work, usage, floor, 0.10, 35, f"{len(ids)} tokens")


def _import(bench: Bench, work: str) -> Row:
    """No target: the import alone."""
    floor, usage = _measure(bench, _python(_PASS), _python("import antiphon"))
    seconds, megabytes = usage[0] - floor[0], usage[1] - floor[1]
    return Row(
        work,
        "",
        f"{seconds:.3f} s and {megabytes:.1f} MB more",
        _absolute(usage),
        "",
        f"{_absolute(floor)}: `python -c pass`",
        "",
    )


def _help(bench: Bench, work: str) -> Row:
    script = Path(sys.executable).with_name("antiphon")
    command = [str(script), "--help"]
    if not script.exists():
        command = [sys.executable, "-m", "antiphon.cli", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    if shown.returncode:
        raise RuntimeError(shown.stderr.strip() or f"exited with {shown.returncode}")
    assert "render" in shown.stdout, "this is not our help"
    floor, usage = _measure(bench, _python(_PASS), command)
    note = "" if script.exists() else "as python -m antiphon.cli"
    return _over_pass(work, usage, floor, 0.12, None, note)


def _printed(code: str, bench: Bench) -> str:
    environment = {**os.environ, "TIKTOKEN_ENCODINGS_BASE": str(bench.vocabulary)}
    done = subprocess.run(
        _python(code + "print(ids)"), capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def _render(code: str) -> Any:
    def run(bench: Bench, work: str) -> Row:
        reference = _LIBRARY_RENDER.format(library="openai_harmony")
        assert _printed(code, bench) == _printed(reference, bench), "the outputs differ"
        floor, usage, theirs = _measure(bench, _python(_PASS), _python(code), _python(reference))
        faster, smaller = theirs[0] / usage[0], theirs[1] / usage[1]
        verdict: Verdict = "ok" if faster >= 1 and smaller >= 1 else "short"
        return Row(
            work,
            "no slower and no larger",
            f"{faster:.1f}x as fast, {smaller:.1f}x as small",
            _absolute(usage),
            _absolute(theirs),
            f"{_absolute(floor)}: `python -c pass`",
            verdict,
            "a process each: import, load the vocabulary, render one short message",
        )

    return run


CASES: Final = [
    Case(GROUP, "import antiphon", _import),
    Case(GROUP, "import antiphon and parse one completion", _parse),
    Case(GROUP, "antiphon --help", _help),
    Case(GROUP, "import, load and render one message", _render(_RENDER)),
    Case(
        GROUP,
        "import, load and render one message, drop-in",
        _render(_LIBRARY_RENDER.format(library="antiphon.openai_harmony")),
    ),
]
