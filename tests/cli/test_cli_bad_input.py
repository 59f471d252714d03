"""Bad input: one clear line, an exit code, no traceback."""

# ruff: noqa: E501 - one row a case

from __future__ import annotations

import os
import pty
import re
import signal
from pathlib import Path
from typing import NamedTuple

import pytest

USER = '[{"role": "user", "content": "Hi"}]'
MARKED = "<|channel|>final<|message|>Hi<|return|>"


class Case(NamedTuple):
    """A command line, what it reads, and what it must say. ``{d}`` is a directory with files."""

    name: str
    args: tuple[str, ...]
    stdin: bytes
    code: int
    says: str


READERS = ("render", "parse", "inspect")

FILES = {
    "empty": b"",
    "blank": b" \n\n",
    "binary": b"\x7fELF\x02\x01\x01\x00\xff\xfe\xff\xff\x00" * 50,
    "utf16.json": '[{"role":"user","content":"h\u00e9"}]'.encode("utf-16"),
    "late.txt": MARKED.encode() * 4000 + b"\xff",
    "text.json": b"hello",
    "array.json": b"[1, 2",
    "two\nlines \x1b[31m": b"",
}

CASES = [
    *(Case(f"{c} {what}", (c, f"{{d}}/{path}"), b"", code, f"antiphon {c}: {{d}}/{path}: {says}")
      for c in READERS
      for what, path, code, says in (
          ("missing file", "nothing", 2, "no such file"),
          ("file in a file", "empty/nothing", 2, "cannot be read: Not a directory"),
          ("directory", "", 2, "is a directory, not a file"),
          ("empty file", "empty", 1, "the input is empty"),
          ("blank file", "blank", 1, "the input holds nothing but white space"),
          ("binary file", "binary", 1, r"byte 8 \(0xff\) is not UTF-8 text; is this a binary file\?"),
          ("UTF-16 file", "utf16.json", 1, r"byte 0 \(0xff\) is not UTF-8 text; .*"),
      )),
    *(Case(f"{c} nothing on stdin", (c, "-"), b"", 1, f"antiphon {c}: standard input: the input is empty")
      for c in (*READERS, "tokens")),
    *(Case(f"{c} unknown option", (c, "--nope"), b"", 2, rf"antiphon {c}: No such option '--nope'.* \(see: antiphon {c} --help\)")
      for c in (*READERS, "tokens", "demo")),
    *(Case(f"{c} too many files", (c, "a", "b"), b"", 2, rf"antiphon {c}: Got unexpected extra argument.* \(see: antiphon {c} --help\)")
      for c in (*READERS, "tokens")),
    *(Case(f"{c} not UTF-8 after a while", (c, "{d}/late.txt"), b"", 1, rf"antiphon {c}: {{d}}/late.txt: byte {4000 * len(MARKED)} \(0xff\) is not UTF-8 text; .*")
      for c in ("parse", "inspect")),
    *(Case(f"{c} {what}", (c, "--input", "ids", "-"), stdin, 1, f"antiphon {c}: standard input: {says}")
      for c in ("parse", "inspect", "tokens")
      for what, stdin, says in (
          ("ids with a word", b"[200006, 14x8]", r"character 11: expected a token id, found 'x8\]'"),
          ("ids without an end", b"[200006, 1428", "character 13: the JSON array of token ids has no end"),
          ("ids after the end", b"[200006] 7", "character 9: expected a token id, found '7'"),
          ("nested ids", b"[[200006]]", r"character 1: expected a token id, found '\[200006\]\]'"),
          ("fractions", b"[1.5]", r"character 2: expected a token id, found '\.5\]'"),
          ("no ids", b"[]", "no token ids found"),
          ("a huge number", b"1" * 5000, "character 0: expected a token id, found '1{20}'"),
      )),
    Case("tokens ids out of range", ("tokens", "--input", "ids", "5 201089"), b"", 1,
         r"antiphon tokens: TEXT: id 201089 \(number 1, counted from 0\) is not a token; ids go from 0 to 201088"),
    Case("tokens negative id", ("tokens", "--input", "ids", "-"), b"[-1]", 1,
         "antiphon tokens: standard input: id -1 .*"),
    Case("strict id out of range", ("parse", "--strict", "-"), b"[200006, 173781, 200008, 999999, 200007]", 0, ""),
    Case("tokens empty text", ("tokens", ""), b"", 1, "antiphon tokens: TEXT: the text is empty"),
    Case("tokens not UTF-8", ("tokens", "a\udcffb"), b"", 1, "antiphon tokens: TEXT: not UTF-8 text"),
    Case("tokens without text", ("tokens",), b"", 2, r"antiphon tokens: Missing argument 'TEXT\|-' \(see: antiphon tokens --help\)"),
    Case("render without file", ("render",), b"", 2, r"antiphon render: Missing argument .*"),
    Case("no such command", ("rendr",), b"", 2, r"antiphon: No such command 'rendr'\. Did you mean 'render'\? \(see: antiphon --help\)"),
    Case("no such choice", ("render", "--dialect", "latin", "-"), b"", 2, r"antiphon render: Invalid value for '--dialect': 'latin' is not one of 'reference', 'emission' .*"),
    Case("control characters in a name", ("parse", "{d}/two\nlines \x1b[31m"), b"", 1, r"antiphon parse: {d}/two lines \\x1b\[31m: the input is empty"),
    *(Case(f"render {what}", ("render", "-"), stdin, 1, f"antiphon render: standard input: {says}")
      for what, stdin, says in (
          ("not JSON", b"hello", r"not valid JSON: JSON is malformed: invalid character \(byte 0\)"),
          ("not JSON in a list", b'[{"role": "user", "content": "a"', r"not valid JSON: .*"),
          ("number", b"3", "Expected `object`, got `int`"),
          ("no messages", b'{"model": "x"}', "Object missing required field `messages`"),
          ("wrong type", b'{"messages": [{"role": "user", "content": 3}]}', r"messages\[0\]\.content: Expected `str \| array`, got `int`"),
          ("wrong type in a list", b'[{"role": "user", "content": 3}]', r"messages\[0\]\.content: Expected `str \| array`, got `int`"),
          ("unknown role", b'[{"role": "robot", "content": "a"}]', r"messages\[0\]\.role: Invalid enum value 'robot'"),
          ("tool without a name", b'[{"role": "tool", "content": "a"}]', r"messages\[0\]\.name: a tool message needs the tool's name"),
          ("channel with a space", b'[{"role": "assistant", "channel": "a b", "content": "a"}]', r"messages\[0\]\.channel: .*"),
          ("settings in the wrong role", b'[{"role": "user", "content": [{"type": "system_content"}]}]', r"messages\[0\]\.content\[0\]\.type: system_content may only appear in system messages, found in user"),
          ("deep nesting", b"[" * 100_000, r".*"),
      )),
    Case("options that clash", ("render", "--whole", "--training", "-"), USER.encode(), 2,
         "antiphon render: only one of --whole, --training and --role can be given"),
    Case("formats that clash", ("parse", "--json", "--jsonl", "-"), MARKED.encode(), 2,
         "antiphon parse: --json and --jsonl cannot be used together"),
    Case("strict", ("parse", "--strict", "-"), f"{MARKED}{MARKED}".encode(), 1,
         r"antiphon parse: standard input: token 5: .*"),
    Case("strict at the end", ("parse", "--strict", "-"), b"<|channel|>final", 1,
         r"antiphon parse: standard input: the end: .*"),
    *(Case(f"tools {what}", ("parse", "--tools", value, "-"), MARKED.encode(), code, f"antiphon parse: {says}")
      for what, value, code, says in (
          ("missing", "{d}/nothing.json", 2, "{d}/nothing.json: no such file"),
          ("not JSON", "{d}/text.json", 1, "--tools {d}/text.json: not valid JSON: .*"),
          ("cut JSON", "{d}/array.json", 1, "--tools {d}/array.json: not valid JSON: .*"),
          ("binary", "{d}/binary", 1, "{d}/binary: byte 8 .*"),
          ("not a name", "get weather", 2, "--tools: 'get weather' is neither a file nor a tool name"),
      )),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("bad")
    for name, data in FILES.items():
        (made / name).write_bytes(data)
    return made


def check(case, folder, code, err):
    assert code == case.code, err
    if code:
        assert err.count("\n") == 1
        assert re.fullmatch(case.says.replace("{d}", re.escape(str(folder))), err.rstrip("\n"))
    else:
        assert err == ""
    assert "Traceback" not in err


# What names no command is told by none, but a process of tests has had others before.
HERE = [case for case in CASES if case.name != "no such command"]


@pytest.mark.parametrize("case", HERE, ids=lambda case: case.name)
def test_bad_input_is_one_clear_line_and_an_exit_code(antiphon, folder, case):
    args = [arg.replace("{d}", str(folder)) for arg in case.args]
    code, _, err = antiphon(*args, stdin=case.stdin)
    check(case, folder, code, err)


@pytest.mark.parametrize("name", ["no such command", "parse binary file", "strict"])
def test_so_it_is_by_the_real_console_command(spawn, folder, name):
    case = next(case for case in CASES if case.name == name)
    process = spawn(*(arg.replace("{d}", str(folder)) for arg in case.args))
    _, err = process.communicate(case.stdin, timeout=60)
    check(case, folder, process.returncode, err.decode())


def test_case_names_are_distinct():
    assert len({case.name for case in CASES}) == len(CASES)


LONG = (MARKED * 20_000).encode()

PIPED = {
    "tokens": (("tokens", "-"), b"word " * 100_000),
    "tokens json": (("tokens", "--json", "-"), b"word " * 100_000),
    "render": (("render", "-o", "text", "-"), b'[{"role":"user","content":"%b"}]' % (b"word\\n" * 100_000)),
    "parse": (("parse", "-"), LONG),
    "parse json": (("parse", "--json", "-"), LONG),
    "parse jsonl": (("parse", "--jsonl", "-"), LONG),
    "inspect": (("inspect", "-"), LONG),
    "inspect html": (("inspect", "--html", "-"), LONG),
}  # fmt: skip


@pytest.mark.parametrize("name", PIPED)
def test_a_reader_that_goes_away_ends_the_command_quietly(spawn, tmp_path, name):
    args, data = PIPED[name]
    path = tmp_path / "input"
    path.write_bytes(data)
    with path.open("rb") as stdin:
        process = spawn(*args, stdin=stdin)
    process.stdout.read(1)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


@pytest.mark.parametrize("args", [("--help",), ("parse", "--help"), ("tokens", "a")])
def test_a_reader_that_was_never_there_is_no_error(spawn, args):
    reading, writing = os.pipe()
    os.close(reading)
    process = spawn(*args, stdout=writing)
    os.close(writing)
    assert process.communicate()[1] == b""
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said(spawn):
    with Path("/dev/full").open("wb") as full:
        process = spawn("tokens", "hello", stdout=full)
        err = process.communicate()[1]
    assert err == b"antiphon tokens: cannot write the output: No space left on device\n"
    assert process.returncode == 1


@pytest.mark.parametrize(
    "args", [("render", "-"), ("parse",), ("inspect", "--html"), ("tokens", "-")]
)
def test_ctrl_c_is_one_line_and_130(spawn, args):
    leader, follower = pty.openpty()
    process = spawn(*args, stdin=follower)
    os.close(follower)
    assert process.stderr.readline().startswith(b"reading from the terminal")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    os.close(leader)
    assert err.decode() == f"antiphon {args[0]}: interrupted\n"
    assert process.returncode == 130


def test_a_closed_standard_input_is_said(spawn, command):
    process = spawn("parse", stdin=None, preexec_fn=lambda: os.close(0))
    _, err = process.communicate()
    assert err == b"antiphon parse: standard input is closed\n"
    assert process.returncode == 2


def test_closed_outputs_are_no_error(spawn):
    process = spawn("tokens", "a", preexec_fn=lambda: os.closerange(1, 3))
    process.communicate()
    assert process.returncode == 0


def test_an_error_of_ours_is_one_line_that_asks_for_a_report(antiphon, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr("antiphon.cli.tokens.Terminal", broken)
    result = antiphon("tokens", "a")
    assert result.code == 1
    assert result.err == (
        "antiphon tokens: internal error, please report it (ANTIPHON_TRACEBACK=1 shows where): "
        "RuntimeError: first second\n"
    )
    monkeypatch.setenv("ANTIPHON_TRACEBACK", "1")
    with pytest.raises(RuntimeError):
        antiphon("tokens", "a")
