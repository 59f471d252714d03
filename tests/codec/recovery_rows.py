"""The catalogue of what gpt-oss really writes, row by row, and what must become of it.

Numbers are the rows of docs/recovery.md. A row whose remedy lies outside the codec (history that a
client sends back, a server's retry) says in `test_recovery.py` what the codec guarantees for it.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.codec.reading import Read

JSON = "<|constrain|>json"


class Row(NamedTuple):
    number: str
    says: str
    written: str
    tools: tuple[str, ...] | None
    expected: list[Read]
    codes: set[str]


def said(text: str, channel: str | None = None, stop: str = "<|end|>") -> Read:
    return Read("assistant", channel, None, None, text, stop)


def thought(text: str, stop: str = "<|end|>") -> Read:
    return said(text, "analysis", stop)


def answer(text: str, stop: str = "<|return|>") -> Read:
    return said(text, "final", stop)


def call(
    recipient: str,
    text: str = "{}",
    content_type: str | None = None,
    *,
    channel: str | None = "commentary",
    stop: str = "<|call|>",
) -> Read:
    return Read("assistant", channel, recipient, content_type, text, stop)


_THEN_FINAL = "<|start|>assistant<|channel|>final<|message|>hi<|return|>"
_THOUGHT = "<|channel|>analysis<|message|>t<|end|>"

ROWS = [
    Row(
        "1",
        "the last channel wins",
        "<|channel|>commentary to=assistant<|channel|>analysis<|message|>I'm\nthinking<|end|>",
        None,
        [thought("I'm\nthinking")],
        {"repeated-channel", "addressed-to-itself"},
    ),
    Row(
        "2",
        "a channel token never becomes part of a recipient, tools declared or not",
        "<|channel|>commentary to=assistant<|channel|>analysis<|message|>"
        '{"command":"./test"}<|call|>',
        ("exec",),
        [thought('{"command":"./test"}', "<|call|>")],
        {"repeated-channel", "addressed-to-itself"},
    ),
    Row(
        "3",
        "a second channel behind the recipient is not glued to it",
        "<|start|>assistant to=functions.manage_cart<|channel|>commentary<|channel|>commentary"
        "<|message|>{}<|call|>",
        ("manage_cart",),
        [call("functions.manage_cart")],
        {"repeated-channel"},
    ),
    Row(
        "4",
        "nor without a tool table",
        "<|channel|>commentary to=functions.mclaw<|channel|>commentary<|message|>{}<|call|>",
        None,
        [call("functions.mclaw")],
        {"repeated-channel"},
    ),
    Row(
        "5",
        "a doubled channel is a call all the same",
        "<|start|>assistant<|channel|>commentary<|channel|>commentary to=functions.f"
        "<|message|>{}<|call|>",
        None,
        [call("functions.f")],
        {"repeated-channel"},
    ),
    Row(
        "6",
        "a tool's name in the channel's place is a call",
        '<|start|>assistant<|channel|>bash<|channel|>commentary<|message|>{"a":1}<|call|>',
        ("bash",),
        [call("functions.bash", '{"a":1}')],
        {"unmarked-recipient", "misspelt-recipient"},
    ),
    Row(
        "7",
        "a qualified name in the channel's place is a call",
        "<|channel|>functions.read<|channel|>commentary to=assistant json<|message|>"
        '{"a":1}<|call|>',
        None,
        [call("functions.read", '{"a":1}', "json")],
        {"unmarked-recipient"},
    ),
    Row(
        "8",
        "a declared name among the header's words is a call",
        '<|channel|>commentary to=assistant plan_approve code<|message|>{"a":1}<|call|>',
        ("plan_approve",),
        [call("functions.plan_approve", '{"a":1}', "code")],
        {"unmarked-recipient", "misspelt-recipient"},
    ),
    Row(
        "9",
        "a recipient written twice counts once",
        "<|channel|>commentary to=functions.f to=functions.f<|message|>{}<|call|>",
        None,
        [call("functions.f")],
        {"repeated-recipient"},
    ),
    Row(
        "10",
        "also around the channel",
        " to=functions.web-browsing<|channel|>commentary to=functions.web-browsing"
        "<|message|>{}<|call|>",
        None,
        [call("functions.web-browsing")],
        {"repeated-recipient"},
    ),
    Row(
        "11",
        "a recipient before and another behind the channel: the last wins",
        "<|start|>assistant to=functions.a<|channel|>commentary to=functions.bash <|constrain|>json"
        "<|message|>{}<|call|>",
        None,
        [call("functions.bash", "{}", JSON)],
        {"repeated-recipient"},
    ),
    Row(
        "12",
        "reasoning in the header of a message without <|message|> stays reasoning",
        "<|channel|>commentary... The user asks: did the Cubs win?<|end|>"
        "<|start|>assistant<|channel|>final<|message|>No, the Cubs fell 0–1<|return|>",
        (),
        [thought("... The user asks: did the Cubs win?"), answer("No, the Cubs fell 0–1")],
        {"missing-message-token"},
    ),
    Row(
        "13",
        "and the call behind it survives",
        '<|channel|>commentary 2? The request "turn on the light" ambiguous.<|end|>'
        "<|start|>assistant<|channel|>commentary to=functions.HassTurnOn<|constrain|>json"
        '<|message|>{"name":"Light"}<|call|>',
        ("HassTurnOn",),
        [
            thought('2? The request "turn on the light" ambiguous.'),
            call("functions.HassTurnOn", '{"name":"Light"}', JSON),
        ],
        {"missing-message-token"},
    ),
    Row(
        "14",
        "text glued to the channel word is text",
        "<|channel|>commentary?commentary?We need temperature difference<|end|>" + _THEN_FINAL,
        None,
        [thought("?commentary?We need temperature difference"), answer("hi")],
        {"missing-message-token"},
    ),
    Row(
        "15",
        "a channel of mere punctuation is content",
        "<|channel|>??<|message|>x<|return|>",
        None,
        [said("x", "??", "<|return|>")],
        {"unknown-channel"},
    ),
    Row(
        "16",
        "dashes before the channel word are looked past",
        "<|channel|>––commentary to=functions.f<|message|>{}<|call|>",
        None,
        [call("functions.f")],
        {"misspelt-channel"},
    ),
    Row(
        "17",
        "an empty channel is content",
        "<|channel|><|message|>x<|return|>",
        None,
        [said("x", None, "<|return|>")],
        {"empty-channel"},
    ),
    Row(
        "18",
        "a mistyped channel is found",
        "<|channel|>fina<|message|>hi<|return|>",
        None,
        [answer("hi")],
        {"misspelt-channel"},
    ),
    Row(
        "19",
        "a cut-off, a foreign and a capitalised channel are found",
        "<|channel|>comment<|message|>a<|end|><|start|>assistant<|channel|>thinking<|message|>b<|end|>"
        "<|start|>assistant<|channel|>Analysis<|message|>c<|end|>",
        None,
        [said("a", "commentary"), thought("b"), thought("c")],
        {"misspelt-channel"},
    ),
    Row(
        "20",
        "an answer without <|message|> is an answer",
        "<|channel|>final hi there<|return|>",
        None,
        [answer("hi there")],
        {"missing-message-token"},
    ),
    Row(
        "21",
        "spaces behind control tokens are tolerated",
        "<|channel|> analysis<|message|> t<|end|> <|start|> assistant<|channel|> final<|message|> a"
        "<|return|>",
        None,
        [thought(" t"), answer(" a")],
        {"stray-white-space"},
    ),
    Row(
        "22",
        "unusual spaces end a recipient",
        "<|channel|>commentary to=functions.f\u202f<|constrain|>json<|message|>{}<|call|>",
        None,
        [call("functions.f", "{}", JSON)],
        set(),
    ),
    Row(
        "23",
        "a tool's name with a space in it is matched",
        "<|channel|>commentary to=functions.Web Search <|constrain|>json<|message|>{}<|call|>",
        ("Web_Search",),
        [call("functions.Web_Search", "{}", JSON)],
        {"misspelt-recipient"},
    ),
    Row(
        "24",
        "a content type glued to the name is taken off",
        "<|channel|>commentary to=functions.shelljson<|message|>{}<|call|>",
        ("shell",),
        [call("functions.shell")],
        {"misspelt-recipient"},
    ),
    Row(
        "25",
        "an unknown recipient is content, with a diagnostic",
        '<|channel|>commentary to=functions<|message|>{"name":"f"}<|call|>',
        ("f",),
        [said('{"name":"f"}', "commentary", "<|call|>")],
        {"unknown-recipient"},
    ),
    Row(
        "26",
        "with no tools on offer nothing is a call",
        "<|channel|>analysis to=functions.f <|constrain|>json<|message|>{}<|call|>",
        (),
        [Read("assistant", "analysis", None, JSON, "{}", "<|call|>")],
        {"unknown-recipient"},
    ),
    Row(
        "27",
        "addressed to the user means addressed to nobody",
        "<|channel|>final to=user<|message|>hi<|return|>",
        None,
        [answer("hi")],
        {"addressed-to-user"},
    ),
    Row(
        "28",
        "a channel in the role's place",
        "<|start|>final<|message|>hi<|return|>",
        None,
        [answer("hi")],
        {"channel-as-role"},
    ),
    Row(
        "29",
        "a doubled <|start|>",
        "<|start|><|start|>assistant<|channel|>final<|message|>hi<|return|>",
        None,
        [answer("hi")],
        {"empty-header"},
    ),
    Row(
        "30",
        "a missing <|start|>",
        _THOUGHT + "assistant<|channel|>final<|message|>hi<|return|>",
        None,
        [thought("t"), answer("hi")],
        {"missing-start", "repeated-role"},
    ),
    Row(
        "31",
        "a missing <|start|>assistant",
        _THOUGHT + "<|channel|>final<|message|>hi<|return|>",
        None,
        [thought("t"), answer("hi")],
        {"missing-start"},
    ),
    Row(
        "32",
        "a missing <|start|>assistant<|channel|>",
        _THOUGHT + "commentary to=functions.f <|constrain|>json<|message|>{}<|call|>",
        None,
        [thought("t"), call("functions.f", "{}", JSON)],
        {"missing-start", "unmarked-channel"},
    ),
    Row(
        "33",
        "text between messages is kept as reasoning",
        _THOUGHT + " 364 " + _THEN_FINAL,
        None,
        [thought("t"), thought("364 ", "restart"), answer("hi")],
        {"text-without-header"},
    ),
    Row(
        "34",
        "a message without a channel is content",
        "<|start|>assistant<|message|>Hi!<|end|>",
        None,
        [said("Hi!")],
        set(),
    ),
    Row(
        "35",
        "text without any markup is content",
        '{"a":1}',
        None,
        [said('{"a":1}', None, "eof")],
        {"text-without-header"},
    ),
    Row(
        "36",
        "a content type without a recipient is legal",
        '<|channel|>final <|constrain|>json<|message|>{"a":1}<|return|>',
        None,
        [Read("assistant", "final", None, JSON, '{"a":1}', "<|return|>")],
        set(),
    ),
    Row(
        "37",
        "on commentary too; the call it may mean is only taken on request",
        '<|channel|>commentary <|constrain|>json<|message|>{"a":1}<|call|>',
        None,
        [Read("assistant", "commentary", None, JSON, '{"a":1}', "<|call|>")],
        set(),
    ),
    Row(
        "38",
        "an unknown content type changes nothing",
        "<|channel|>commentary to=functions.f <|constrain|>response<|message|>{}<|call|>",
        None,
        [call("functions.f", "{}", "<|constrain|>response")],
        {"unknown-content-type"},
    ),
    Row(
        "39",
        "a channel in the content type's place is a channel",
        " to=functions.f <|constrain|>commentary<|message|>{}<|call|>",
        None,
        [call("functions.f")],
        {"channel-as-type"},
    ),
    Row(
        "40",
        "a header that breaks off does not eat the next one",
        "<|channel|>commentary to=functions.f <|constrain|>control<|end|>"
        "<|start|>assistant<|channel|>commentary to=functions.f<|message|>{}<|call|>",
        None,
        [call("functions.f")],
        {"empty-header"},
    ),
    Row(
        "41",
        "reasoning in the content type's place stays reasoning, the call stays",
        "<|channel|>commentary to=functions.f <|constrain|>We need to call f.<|message|>{}<|call|>",
        None,
        [thought("We need to call f.", "restart"), call("functions.f")],
        {"text-in-header"},
    ),
    Row(
        "42",
        "a content type before the recipient",
        "<|channel|>commentary <|constrain|>json to=functions.f<|message|>{}<|call|>",
        None,
        [call("functions.f", "{}", JSON)],
        set(),
    ),
    Row(
        "43",
        "commentary addressed to the assistant itself is reasoning",
        "<|channel|>commentary to=assistant <|constrain|>1<|message|>hm<|end|>",
        None,
        [Read("assistant", "analysis", None, "<|constrain|>1", "hm", "<|end|>")],
        {"addressed-to-itself", "unknown-content-type"},
    ),
    Row(
        "44",
        "<|constrain|> glued to the recipient",
        "<|channel|>commentary to=functions.f<|constrain|>json<|message|>{}<|call|>",
        None,
        [call("functions.f", "{}", JSON)],
        set(),
    ),
    Row(
        "45",
        "a call on analysis with type code",
        '<|channel|>analysis to=functions.ffgrep code<|message|>\n{"path":""}<|call|>',
        ("ffgrep",),
        [call("functions.ffgrep", '\n{"path":""}', "code", channel="analysis")],
        set(),
    ),
    Row(
        "46",
        "a call whose <|message|> is missing",
        '<|channel|>commentary to=functions.get_weather json{"city":"Paris"}<|call|>',
        None,
        [call("functions.get_weather", '{"city":"Paris"}', "json")],
        {"missing-message-token"},
    ),
    Row(
        "47",
        "a recipient counts on any channel",
        "<|channel|>analysis to=functions.f <|constrain|>json<|message|>{}<|call|>",
        ("f",),
        [call("functions.f", "{}", JSON, channel="analysis")],
        set(),
    ),
    Row(
        "48",
        "arguments without a recipient are content unless adopted on request",
        '<|channel|>commentary<|message|>{\n "path": "/"}<|end|>',
        ("f",),
        [said('{\n "path": "/"}', "commentary")],
        set(),
    ),
    Row(
        "49",
        "analysis and then nothing: no answer is made up, the end is told",
        "<|channel|>analysis<|message|>Hm.<|return|>",
        None,
        [thought("Hm.", "<|return|>")],
        set(),
    ),
    Row(
        "50",
        "any number of messages",
        "<|channel|>analysis<|message|>t<|end|>"
        + "<|start|>assistant<|channel|>analysis<|message|>u<|end|>" * 5
        + _THEN_FINAL,
        None,
        [thought("t"), *[thought("u")] * 5, answer("hi")],
        set(),
    ),
    Row(
        "51",
        "two answers are both kept",
        "<|channel|>final<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>",
        None,
        [answer("a", "<|end|>"), answer("b")],
        set(),
    ),
    Row(
        "56",
        "a made-up tool result is a tool message behind a call, to be cut off there",
        "<|channel|>commentary to=functions.f<|message|>{}<|call|>"
        "<|start|>functions.f to=assistant<|channel|>commentary<|message|>42<|end|>",
        ("f",),
        [
            call("functions.f"),
            Read("tool:functions.f", "commentary", "assistant", None, "42", "<|end|>"),
        ],
        set(),
    ),
    Row(
        "57",
        "a call ended by <|return|> is a call",
        "<|channel|>commentary to=functions.f<|message|>{}<|return|>",
        ("f",),
        [call("functions.f", stop="<|return|>")],
        set(),
    ),
    Row(
        "58",
        "a call ended by nothing, the stop token swallowed, is a call",
        "<|channel|>commentary to=functions.f<|message|>{}",
        ("f",),
        [call("functions.f", stop="eof")],
        set(),
    ),
    Row(
        "59",
        "a doubled stop token is ignored",
        "<|channel|>final<|message|>a<|return|><|return|>",
        None,
        [answer("a")],
        {"stray-control-token"},
    ),
    Row(
        "60",
        "<|constrain|> and <|call|> behind a message are ignored",
        "<|channel|>final<|message|>a<|end|><|constrain|><|call|>",
        None,
        [answer("a", "<|end|>")],
        {"stray-control-token"},
    ),
    Row(
        "61",
        "<|endoftext|> ends a message",
        "<|channel|>final<|message|>a<|endoftext|>",
        None,
        [answer("a", "<|endoftext|>")],
        set(),
    ),
    Row(
        "62",
        "a header cut off by the token limit is no content",
        _THOUGHT
        + "<|start|>assistant to=functions.get_weather<|channel|>commentary <|constrain|>json",
        ("get_weather",),
        [thought("t")],
        {"truncated-header"},
    ),
    Row(
        "63",
        "arguments cut off by the token limit are kept, the end is told",
        '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": "b',
        ("f",),
        [call("functions.f", '{"a": "b', JSON, stop="eof")],
        set(),
    ),
    Row(
        "74",
        "a built-in that was not offered is content",
        '<|channel|>commentary to=container.exec code<|message|>{"cmd":["bash"]}<|call|>',
        ("f",),
        [Read("assistant", "commentary", None, "code", '{"cmd":["bash"]}', "<|call|>")],
        {"unknown-recipient"},
    ),
    Row(
        "75",
        "a tool nobody declared is passed on while the tool table is not known",
        '<|channel|>commentary to=functions.ask_followup_question<|message|>{"q":1}<|call|>',
        None,
        [call("functions.ask_followup_question", '{"q":1}')],
        set(),
    ),
    Row(
        "79",
        "no header ever shows in content",
        "<|channel|>commentary<|message|>I will look.<|end|>" + _THEN_FINAL,
        None,
        [said("I will look.", "commentary"), answer("hi")],
        set(),
    ),
]

STRIPPED_ROWS = [
    (
        "76",
        "analysisUser says hi. assistant? No.assistantfinalHello! 👋",
        [thought("User says hi. assistant? No.", "restart"), answer("Hello! 👋", "eof")],
    ),
    (
        "77",
        'analysisNeed it.assistantcommentary to=functions.x json{"a":1}',
        [thought("Need it.", "restart"), call("functions.x", '{"a":1}', JSON, stop="eof")],
    ),
    (
        "77b",
        'assistantcommentary to=functions.x json{"a":1}',
        [call("functions.x", '{"a":1}', JSON, stop="eof")],
    ),
    (
        "77c",
        'analysisNeed it.assistant to=functions.xcommentary json{"a":1}',
        [thought("Need it.", "restart"), call("functions.x", '{"a":1}', JSON, stop="eof")],
    ),
    (
        "46b",
        'commentary to=functions.get_weather json{"city":"Paris"}',
        [call("functions.get_weather", '{"city":"Paris"}', JSON, stop="eof")],
    ),
    (
        "45b",
        'analysisGrep.assistantanalysis to=functions.ffgrep code\n{"path":""}',
        [
            thought("Grep.", "restart"),
            call("functions.ffgrep", '\n{"path":""}', "code", channel="analysis", stop="eof"),
        ],
    ),
    (
        "56b",
        "commentary to=functions.f json{}functions.f to=assistantcommentary42",
        [
            call("functions.f", "{}", JSON, stop="restart"),
            Read("tool:functions.f", "commentary", "assistant", None, "42", "eof"),
        ],
    ),
    (
        "36b",
        'final json{"a":1}',
        [Read("assistant", "final", None, JSON, '{"a":1}', "eof")],
    ),
    ("35b", "The assistant can help.", [said("The assistant can help.", None, "eof")]),
]
