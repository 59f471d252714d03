from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.cli.feeding import open_feed
from antiphon.cli.ids import read_ids
from antiphon.cli.source import Source
from antiphon.codec.parse import parse
from antiphon.codec.render import render
from antiphon.model.json import decode_conversation
from antiphon.model.message import Conversation, Message

MARKED = (
    "<|channel|>analysis<|message|>We need the weather.<|end|>"
    "<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json"
    '<|message|>{"city":"Oslo"}<|call|>'
)
STRIPPED = 'analysisWe think.assistantcommentary to=functions.f json{"a":1}assistantfinalHello!'
IDS = render(Conversation.of(Message.user("Hi"), Message.final("Yo")), completion=False)


def messages(out):
    return json.loads(out)["messages"]


def test_json_gives_messages_with_stop_spans_and_fields(antiphon):
    first, second = messages(antiphon("parse", "--json", "-", stdin=MARKED).out)
    assert first["role"] == "assistant"
    assert first["channel"] == "analysis"
    assert first["content"] == [{"type": "text", "text": "We need the weather."}]
    assert first["stop"] == "<|end|>"
    assert second["recipient"] == "functions.get_weather"
    assert second["content_type"] == "<|constrain|>json"
    assert second["stop"] == "<|call|>"
    start, stop = second["span"]["text"]
    assert MARKED[start:stop] == '{"city":"Oslo"}'
    start, stop = second["fields"]["recipient"]
    assert MARKED[start:stop] == "functions.get_weather"


def test_json_is_a_conversation_that_render_reads(antiphon):
    out = antiphon("parse", "--json", "-", stdin=MARKED).out
    conversation = decode_conversation(out)
    assert conversation == parse(MARKED).conversation
    rendered = antiphon("render", "--whole", "--history", "keep", "-o", "text", "-", stdin=out).out
    assert rendered == f"<|start|>assistant{MARKED}\n"


def test_json_lines_hold_one_message_each(antiphon):
    lines = antiphon("parse", "--jsonl", "-", stdin=MARKED).out.splitlines()
    assert [json.loads(line)["channel"] for line in lines] == ["analysis", "commentary"]


def test_diagnostics_stand_with_the_message_they_belong_to(antiphon):
    text = MARKED.replace("commentary to", "commentary<|channel|>commentary to") + "<|return|>"
    result = json.loads(antiphon("parse", "--json", "-", stdin=text).out)
    assert "diagnostics" not in result["messages"][0]
    assert [d["code"] for d in result["messages"][1]["diagnostics"]] == ["repeated-channel"]
    assert [d["code"] for d in result["diagnostics"]] == ["stray-control-token"]


def test_diagnostics_after_the_last_message_are_a_json_line_of_their_own(antiphon):
    lines = antiphon("parse", "--jsonl", "-", stdin=MARKED + "<|return|>").out.splitlines()
    assert list(json.loads(lines[-1])) == ["diagnostics"]


def test_only_so_many_diagnostics_are_kept_for_one_message(antiphon):
    text = "<|channel|>final<|message|>" + "<|constrain|>" * 1500
    [message] = messages(antiphon("parse", "--json", "-", stdin=text).out)
    assert len(message["diagnostics"]) == 1000
    assert message["diagnostics_omitted"] == 500
    assert message["content"][0]["text"] == "<|constrain|>" * 1500


def test_a_message_cut_off_by_the_end_of_input_is_whole_json(antiphon):
    result = messages(antiphon("parse", "--json", "-", stdin="<|channel|>final<|message|>Hel").out)
    assert result[0]["stop"] == "eof"


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(IDS),
        f" {IDS} \n",
        " ".join(map(str, IDS)),
        ",".join(map(str, IDS)),
        "\n".join(map(str, IDS)),
    ],
)
@pytest.mark.parametrize("kind", ["auto", "ids"])
def test_ids_are_read_however_they_are_written(antiphon, text, kind):
    result = messages(antiphon("parse", "--json", "--input", kind, "-", stdin=text).out)
    assert [m["content"][0]["text"] for m in result] == ["Hi", "Yo"]


def test_ids_out_of_range_become_a_diagnostic(antiphon):
    ids = "[200005, 17196, 200008, 3686, 999999, -7, 3686, 200002]"
    [message] = messages(antiphon("parse", "--json", "-", stdin=ids).out)
    assert message["content"][0]["text"] == "hi\ufffd\ufffdhi"
    assert [d["code"] for d in message["diagnostics"]] == ["unknown-token"] * 2


def test_stripped_text_is_recognised(antiphon):
    result = messages(antiphon("parse", "--json", "-", stdin=STRIPPED).out)
    assert [m["channel"] for m in result] == ["analysis", "commentary", "final"]


def test_text_that_spells_nothing_is_an_answer(antiphon):
    [message] = messages(antiphon("parse", "--json", "-", stdin="Hello there, 12").out)
    assert message["content"][0]["text"] == "Hello there, 12"


def test_numbers_without_a_control_token_are_text(antiphon):
    [message] = messages(antiphon("parse", "--json", "-", stdin="1, 2, 3").out)
    assert message["content"][0]["text"] == "1, 2, 3"


def test_the_newline_that_ends_a_file_after_a_control_token_is_left_out(antiphon):
    for newline in ("\n", "\r\n"):
        assert (
            antiphon("parse", "--json", "-", stdin=MARKED + newline).out
            == antiphon("parse", "--json", "-", stdin=MARKED).out
        )


def test_any_other_newline_at_the_end_is_text(antiphon):
    cut = "<|channel|>final<|message|>Hello"
    [message] = messages(antiphon("parse", "--json", "-", stdin=cut + "\n").out)
    assert message["content"][0]["text"] == "Hello\n"


def test_a_byte_order_mark_is_not_text(antiphon):
    text = b"\xef\xbb\xbf" + MARKED.encode()
    [first, _] = messages(antiphon("parse", "--json", "-", stdin=text).out)
    assert "diagnostics" not in first


def test_without_tools_every_recipient_is_believed_and_with_them_only_those(antiphon):
    text = "<|channel|>commentary to=functions.get_wether<|message|>{}<|call|>"

    def recipient(*options):
        [message] = messages(antiphon("parse", "--json", *options, "-", stdin=text).out)
        return message.get("recipient")

    assert recipient() == "functions.get_wether"
    assert recipient("--tools", "get_wether") == "functions.get_wether"
    assert recipient("--tools", "browser,python") is None
    assert recipient("--tools", "") is None


TOOLS = {
    "chat": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "responses": [{"type": "function", "name": "f"}, {"type": "web_search"}],
    "request": {"model": "gpt-oss", "tools": [{"type": "function", "function": {"name": "f"}}]},
    "namespaces": {"functions": {"name": "functions", "tools": [{"name": "f"}]}},
    "names": ["f"],
}


@pytest.mark.parametrize("shape", TOOLS)
def test_tools_are_read_from_a_file_in_every_shape(antiphon, tmp_path, shape):
    path = tmp_path / "tools.json"
    path.write_text(json.dumps(TOOLS[shape]))
    text = (
        "<|channel|>commentary to=functions.F<|message|>{}<|call|>"
        "<|start|>assistant<|channel|>commentary to=functions.g<|message|>{}<|call|>"
    )
    result = messages(antiphon("parse", "--json", "--tools", str(path), "-", stdin=text).out)
    assert [m.get("recipient") for m in result] == ["functions.f", None]


def test_the_role_of_the_first_message_can_be_given(antiphon):
    text = "<|message|>Hi<|end|>"
    [message] = messages(antiphon("parse", "--json", "--role", "user", "-", stdin=text).out)
    assert message["role"] == "user"


def test_strict_accepts_what_is_well_formed_with_and_without_a_start_token(antiphon):
    completion = "<|channel|>final<|message|>Hi<|return|>"
    for text in (completion, f"<|start|>assistant{completion}"):
        result = antiphon("parse", "--strict", "--json", "-", stdin=text)
        assert result.code == 0
        assert [m["channel"] for m in messages(result.out)] == ["final"]


def test_strict_refuses_and_still_prints_json(antiphon):
    text = f"{MARKED} stray <|end|>"
    result = antiphon("parse", "--strict", "--json", "-", stdin=text)
    assert result.code == 1
    assert "standard input: token " in json.loads(result.out)["error"]
    assert result.err.count("\n") == 1


def test_blocks_name_what_a_header_holds(antiphon):
    out = antiphon("parse", "-", stdin=MARKED).out
    assert "#1 assistant  channel=analysis\n  │ We need the weather.\n" in out
    assert "#2 assistant  channel=commentary  to=functions.get_weather  type=<|constrain|>" in out
    assert "\x1b" not in out


CHUNKS = st.lists(st.integers(1, 7), min_size=1, max_size=40)


def cut(text, sizes):
    at = 0
    for i in range(len(text)):
        if at >= len(text):
            return
        size = sizes[i % len(sizes)]
        yield text[at : at + size]
        at += size


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 201_088), min_size=1, max_size=30),
    st.sampled_from(["[{}]", " [ {} ] ", "{}", "{}\n"]),
    st.sampled_from([",", ", ", " ", "\n", " ,\n"]),
    CHUNKS,
)
def test_ids_are_the_same_however_their_text_is_split(ids, frame, separator, sizes):
    text = frame.format(separator.join(map(str, ids)))
    assert [i for part in read_ids(cut(text, sizes), "x") for i in part] == ids


class _Pieces(Source):
    """An input that arrives in given pieces."""

    def __init__(self, pieces):
        super().__init__(None, "x", None)  # type: ignore[arg-type]
        self._pieces = iter(pieces)

    def _read(self):
        return next(self._pieces, b"")


@pytest.mark.parametrize("text", [MARKED, f"{MARKED}\n", STRIPPED, str(IDS), "\u00e9 \U0001f600\n"])
@settings(deadline=None)
@given(sizes=CHUNKS)
def test_what_an_input_is_does_not_depend_on_how_it_arrives(text, sizes):
    whole = open_feed(_Pieces([text.encode()]), "auto")
    parts = open_feed(_Pieces(cut(text.encode(), sizes)), "auto")
    assert parts.kind == whole.kind
    assert parts.begins_with_start == whole.begins_with_start
    if whole.kind == "ids":
        assert [i for c in parts.chunks for i in c] == [i for c in whole.chunks for i in c]
    else:
        assert "".join(map(str, parts.chunks)) == "".join(map(str, whole.chunks))


def test_a_live_pipe_is_parsed_as_it_comes(spawn):
    process = spawn("parse", "--jsonl")
    process.stdin.write(MARKED.encode())
    process.stdin.flush()
    line = process.stdout.readline()
    assert json.loads(line)["channel"] == "analysis"
    process.stdin.close()
    # Not communicate(): it would miss what readline() has read ahead.
    assert json.loads(process.stdout.readline())["stop"] == "<|call|>"
    assert (process.stdout.read(), process.stderr.read(), process.wait()) == (b"", b"", 0)
    process.stdout.close()
    process.stderr.close()


# The high-water mark of the process itself: that of getrusage counts its parent's as well.
PEAK = """
import sys
from pathlib import Path
from antiphon.cli.main import main
code = main(sys.argv[1:])
status = Path("/proc/self/status").read_text()
sys.stderr.write(status.split("VmHWM:")[1].split()[0])
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    "options", [("parse", "--json"), ("parse", "--jsonl"), ("parse",), ("inspect", "--html")]
)
@pytest.mark.parametrize("shape", ["one message", "many messages"])
def test_memory_does_not_grow_with_the_input(tmp_path, options, shape):
    def megabytes(size):
        path = tmp_path / str(size)
        text = "We need to think about what this is, naturally. " * 20
        if shape == "many messages":
            text = f"<|start|>assistant<|channel|>final<|message|>{text}<|end|>"
        path.write_text(f"<|start|>user<|message|>{text * (size // len(text))}")
        result = subprocess.run(
            [sys.executable, "-c", PEAK, *options, str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=True,
        )
        return int(result.stderr) / 1024

    assert megabytes(12_000_000) - megabytes(1_000_000) < 6
